"""Detections: objects with a class and a box, as location tokens in an answer or as targets of a dense detection head.

A box is left, top, right, bottom in fractions of the image's width and height, 0 to 1; a rotated box also has its
corners.
Shapes: N patches, K objects, C classes.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import numpy.typing as npt

from groundup.codecs import rotated_boxes
from groundup.codecs.patches import PatchGrid

CELLS = 1000  # cells of the location grid in each direction
LOCATIONS = tuple(f"<loc{cell}>" for cell in range(CELLS))
_OBJECT = re.compile(r"([^<>;]+?)\s*((?:<loc\d{1,3}>){8}|(?:<loc\d{1,3}>){4})")

Floats = npt.NDArray[np.float32]
MIN_SCORE = 0.05  # probability from which a patch proposes a box
MAX_IOU = 0.5  # intersection over union above which two boxes of a class are one object
BOX_VALUES = 4  # regressed by a patch: offset of the box's centre, and logarithms of its width and height


@dataclass(frozen=True)
class Detection:
    """An object in an image: its class, its box and its score (1 for an annotation).

    A rotated one also has `corners`, x1, y1 to x4, y4, clockwise. They may lie outside of the image; the box does not.
    """

    class_name: str
    box: tuple[float, float, float, float]
    score: float = 1.0
    corners: tuple[float, ...] | None = None

    @staticmethod
    def rotated(class_name: str, corners_42: rotated_boxes.Array, score: float = 1.0) -> "Detection":
        """A detection with a rotated box."""
        left, top, right, bottom = np.clip(rotated_boxes.bounds(corners_42[None])[0], 0, 1).tolist()
        return Detection(class_name, (left, top, right, bottom), score, tuple(corners_42.flatten().tolist()))

    @property
    def outline(self) -> rotated_boxes.Array:
        """The corners, [4, 2], also of an upright box."""
        if self.corners is None:
            [outline] = rotated_boxes.upright(np.array([self.box]))
            return np.asarray(outline, np.float64)
        return np.array(self.corners, np.float64).reshape(4, 2)


# --- as tokens in an answer -----------------------------------------------------------------------------------------


def to_text(detections: list[Detection]) -> str:
    """Detections as an answer, from top left to bottom right: `class<loc..><loc..><loc..><loc..>; ...`, or "nothing".

    A rotated box is written as its four corners, with eight location tokens.

    >>> to_text([Detection("cup", (0.1, 0.25, 0.5, 1.0))])
    'cup<loc100><loc250><loc500><loc999>'
    """
    ordered = sorted(detections, key=lambda each: (each.box[1], each.box[0], each.class_name))
    return "; ".join(each.class_name + _located(each.corners or each.box) for each in ordered) or "nothing"


def _located(values: Sequence[float]) -> str:
    return "".join(LOCATIONS[_cell(value)] for value in values)


def from_text(text: str) -> list[Detection]:
    """Parse the detections of an answer (to half a cell); malformed objects and those without area are left out."""
    detections = []
    for name, written in _OBJECT.findall(text):
        left, top, right, bottom, *more = ((int(cell) + 0.5) / CELLS for cell in re.findall(r"\d+", written))
        if more:
            corners = rotated_boxes.ordered(np.array([left, top, right, bottom, *more]).reshape(4, 2))
            if corners is not None and rotated_boxes.areas(corners[None])[0] > 0:
                detections.append(Detection.rotated(name.strip(), corners))
        elif left < right and top < bottom:
            detections.append(Detection(name.strip(), (left, top, right, bottom)))
    return detections


def _cell(value: float) -> int:
    return min(CELLS - 1, max(0, int(value * CELLS)))


# --- as targets of a detection head, one a patch ----------------------------------------------------------------------


def to_targets(boxes: Floats, classes: npt.NDArray[np.int64], grid: PatchGrid) -> tuple[npt.NDArray[np.int64], Floats]:
    """Per-patch class [N] (0: background) and box regression targets [N, 4] of `boxes` [K, 4], `classes` [K] (from 1).

    A patch belongs to the smallest box whose inner half (each way) holds the patch's centre; a box without such a
    patch takes the one at its own centre (cf. FCOS, arXiv:1904.01355). The targets are the offset of the box's centre
    from the patch's, and the logarithms of the box's width and height, all in patches.
    """
    N = grid.patches
    labels, values = np.zeros(N, np.int64), np.zeros((N, BOX_VALUES), np.float32)
    scale = np.array([grid.columns, grid.rows, grid.columns, grid.rows], np.float32)
    scaled = boxes.reshape(-1, 4) * scale
    x, y = _centres(grid)
    extents = np.maximum(scaled[:, 2:] - scaled[:, :2], 1e-3)
    centres = (scaled[:, 2:] + scaled[:, :2]) / 2
    for number in np.argsort(-extents.prod(1), kind="stable"):  # the smallest last: it overwrites larger ones
        (cx, cy), (w, h) = centres[number], extents[number]
        inside = (np.abs(x - cx) <= max(w / 4, 0.5)) & (np.abs(y - cy) <= max(h / 4, 0.5))
        labels[inside] = classes[number]
        values[inside] = np.stack([cx - x, cy - y, np.full(N, np.log(w)), np.full(N, np.log(h))], 1)[inside]
    return labels, values


def to_rotated_targets(
    corners: rotated_boxes.Array, classes: npt.NDArray[np.int64], grid: PatchGrid
) -> tuple[npt.NDArray[np.int64], Floats]:
    """As `to_targets` for rotated boxes of `corners` [K, 4, 2], whose inner half lies along their own sides.

    The targets [N, 7] are those of `rotated_boxes.to_values`, the centre as an offset from the patch's.
    """
    N = grid.patches
    labels, values = np.zeros(N, np.int64), np.zeros((N, rotated_boxes.VALUES), np.float32)
    scaled = corners.reshape(-1, 4, 2) * np.array([grid.columns, grid.rows])
    places = np.stack(_centres(grid), 1)
    regressed, (centres, sides, angles) = rotated_boxes.to_values(scaled), rotated_boxes.rectangles(scaled)
    for number in np.argsort(-sides.prod(1), kind="stable"):
        cos, sin = np.cos(angles[number]), np.sin(angles[number])
        along = np.abs((places - centres[number]) @ np.array([[cos, -sin], [sin, cos]]))
        inside = (along <= np.maximum(sides[number] / 4, 0.5)).all(1)
        inside |= (np.abs(places - np.clip(centres[number], 0.5, [grid.columns - 0.5, grid.rows - 0.5])) <= 0.5).all(1)
        labels[inside] = classes[number]
        values[inside] = regressed[number]
        values[inside, :2] -= places[inside].astype(np.float32)
    return labels, values


def from_predictions(
    probabilities: Floats,
    values: Floats,
    grid: PatchGrid,
    names: list[str],
    min_score: float = MIN_SCORE,
    max_iou: float = MAX_IOU,
) -> list[Detection]:
    """Detections, sorted by score, from an image's per-patch class probabilities [N, 1 + C] and box regressions.

    The regressions are [N, 4], of rotated boxes [N, 7].
    A patch proposes a box for each class with at least the probability `min_score`. Suppression: of a class's boxes
    that overlap by more than `max_iou`, one stays, with the best score and the mean of the boxes (of rotated ones, the
    mean of the regression values), weighted by probability.
    """
    rotated = values.shape[1] == rotated_boxes.VALUES
    proposals: _Proposals = _Rotated(values, grid) if rotated else _Upright(values, grid)
    detections = []
    for number, name in enumerate(names, 1):
        left_over = np.flatnonzero(probabilities[:, number] >= min_score)
        left_over = left_over[np.argsort(-probabilities[left_over, number], kind="stable")]
        while len(left_over):
            best = left_over[0]
            same = proposals.iou(best, left_over) > max_iou
            same[0] = True
            merged = proposals.merged(left_over[same], probabilities[left_over[same], number])
            left, top, right, bottom = merged.box
            if left < right and top < bottom:
                detections.append(replace(merged, class_name=name, score=float(probabilities[best, number])))
            left_over = left_over[~same]
    return sorted(detections, key=lambda each: -each.score)


class _Proposals(Protocol):
    """The boxes that the patches of an image propose."""

    def iou(self, one: int, others: npt.NDArray[np.int64]) -> npt.NDArray[np.floating]:
        """Intersection over union of one with each of others."""

    def merged(self, chosen: npt.NDArray[np.int64], weights: Floats) -> Detection:
        """The weighted mean of some boxes, without a class."""


class _Upright:
    def __init__(self, values: Floats, grid: PatchGrid):
        x, y = _centres(grid)
        half = np.exp(np.clip(values[:, 2:], -4, 6)) / 2
        centre = np.stack([x, y], 1) + values[:, :2]
        size = np.array([grid.columns, grid.rows, grid.columns, grid.rows], np.float32)
        self._boxes = np.clip(np.concatenate([centre - half, centre + half], 1) / size, 0, 1).astype(np.float32)

    def iou(self, one: int, others: npt.NDArray[np.int64]) -> Floats:
        return box_iou(self._boxes[one], self._boxes[others])

    def merged(self, chosen: npt.NDArray[np.int64], weights: Floats) -> Detection:
        mean = (self._boxes[chosen] * weights[:, None]).sum(0) / weights.sum()
        left, top, right, bottom = (float(value) for value in mean)
        return Detection("", (left, top, right, bottom))


class _Rotated:
    def __init__(self, values: Floats, grid: PatchGrid):
        self._values = values.astype(np.float64)
        self._values[:, :2] += np.stack(_centres(grid), 1)
        self._corners, self._size = rotated_boxes.from_values(self._values), np.array([grid.columns, grid.rows])

    def iou(self, one: int, others: npt.NDArray[np.int64]) -> rotated_boxes.Array:
        return rotated_boxes.iou(self._corners[one], self._corners[others])

    def merged(self, chosen: npt.NDArray[np.int64], weights: Floats) -> Detection:
        mean = (self._values[chosen] * weights[:, None]).sum(0) / weights.sum()
        return Detection.rotated("", rotated_boxes.from_values(mean[None])[0] / self._size)


def iou(one: Detection, others: Sequence[Detection]) -> npt.NDArray[np.floating]:
    """Intersection over union of one detection with each of others; of rotated boxes where there is one."""
    if all(each.corners is None for each in (one, *others)):
        return box_iou(np.array(one.box, np.float32), np.array([each.box for each in others], np.float32))
    return rotated_boxes.iou(one.outline, np.array([each.outline for each in others]))


def box_iou(box: Floats, others: Floats) -> Floats:
    """Intersection over union of one box with each of others [K, 4]."""
    low, high = np.maximum(box[:2], others[:, :2]), np.minimum(box[2:], others[:, 2:])
    shared = np.clip(high - low, 0, None).prod(1)
    areas = (others[:, 2:] - others[:, :2]).prod(1)
    result: Floats = shared / np.maximum((box[2:] - box[:2]).prod() + areas - shared, 1e-9)
    return result


def _centres(grid: PatchGrid) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """x and y of the centres of the patches, in patches, [N] each."""
    return np.tile(np.arange(grid.columns) + 0.5, grid.rows), np.repeat(np.arange(grid.rows) + 0.5, grid.columns)
