"""Detections: objects with a class and a box, as location tokens in an answer or as targets of a dense detection head.

A box is left, top, right, bottom in fractions of the image's width and height, 0 to 1.
Shapes: N patches, K objects, C classes.
"""

import re
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from groundup.codecs.patches import PatchGrid

CELLS = 1000  # of the location grid, in each direction
LOCATIONS = tuple(f"<loc{cell}>" for cell in range(CELLS))
_OBJECT = re.compile(r"([^<>;]+?)\s*" + r"<loc(\d{1,3})>" * 4)

Floats = npt.NDArray[np.float32]
MIN_SCORE = 0.05  # probability from which a patch proposes a box
MAX_IOU = 0.5  # intersection over union above which two boxes of a class are one object
BOX_VALUES = 4  # regressed by a patch: offset of the box's centre, and logarithms of its width and height


@dataclass(frozen=True)
class Detection:
    """An object in an image: its class, its box and its score (1 for an annotation)."""

    class_name: str
    box: tuple[float, float, float, float]
    score: float = 1.0


# --- as tokens in an answer -----------------------------------------------------------------------------------------


def to_text(detections: list[Detection]) -> str:
    """Detections as an answer, from top left to bottom right: `class<loc..><loc..><loc..><loc..>; ...`, or "nothing".

    >>> to_text([Detection("cup", (0.1, 0.25, 0.5, 1.0))])
    'cup<loc100><loc250><loc500><loc999>'
    """
    ordered = sorted(detections, key=lambda each: (each.box[1], each.box[0], each.class_name))
    return "; ".join(each.class_name + "".join(LOCATIONS[_cell(x)] for x in each.box) for each in ordered) or "nothing"


def from_text(text: str) -> list[Detection]:
    """The detections of an answer, to half a cell; malformed objects and those without area are left out."""
    detections = []
    for name, *cells in _OBJECT.findall(text):
        left, top, right, bottom = ((int(cell) + 0.5) / CELLS for cell in cells)
        if left < right and top < bottom:
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
    for number in np.argsort(-extents.prod(1), kind="stable"):  # the smallest last: it stays on top
        (cx, cy), (w, h) = centres[number], extents[number]
        inside = (np.abs(x - cx) <= max(w / 4, 0.5)) & (np.abs(y - cy) <= max(h / 4, 0.5))
        labels[inside] = classes[number]
        values[inside] = np.stack([cx - x, cy - y, np.full(N, np.log(w)), np.full(N, np.log(h))], 1)[inside]
    return labels, values


def from_predictions(
    probabilities: Floats,
    values: Floats,
    grid: PatchGrid,
    names: list[str],
    min_score: float = MIN_SCORE,
    max_iou: float = MAX_IOU,
) -> list[Detection]:
    """Detections, sorted by score, from an image's per-patch class probabilities [N, 1 + C] and box regressions [N, 4].

    A patch proposes a box for each class of at least the probability `min_score`. Of a class's boxes that overlap by
    more than `max_iou`, the best score stays, with the mean of the boxes weighted by probability.
    """
    x, y = _centres(grid)
    half = np.exp(np.clip(values[:, 2:], -4, 6)) / 2
    centre = np.stack([x, y], 1) + values[:, :2]
    size = np.array([grid.columns, grid.rows, grid.columns, grid.rows], np.float32)
    proposed = np.clip(np.concatenate([centre - half, centre + half], 1) / size, 0, 1).astype(np.float32)
    detections = []
    for number, name in enumerate(names, 1):
        left_over = np.flatnonzero(probabilities[:, number] >= min_score)
        left_over = left_over[np.argsort(-probabilities[left_over, number], kind="stable")]
        while len(left_over):
            best = left_over[0]
            same = box_iou(proposed[best], proposed[left_over]) > max_iou
            same[0] = True
            weights = probabilities[left_over[same], number]
            mean = (proposed[left_over[same]] * weights[:, None]).sum(0) / weights.sum()
            left, top, right, bottom = (float(value) for value in mean)
            if left < right and top < bottom:
                detections.append(Detection(name, (left, top, right, bottom), float(probabilities[best, number])))
            left_over = left_over[~same]
    return sorted(detections, key=lambda each: -each.score)


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
