"""What lies where: things with boxes, as location tokens inside an answer and as one label a patch; both are read back
to boxes.

A box is left, top, right, bottom in shares of the image's width and height, 0 to 1.
"""

import re
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from groundup.codecs.patches import PatchGrid

CELLS = 1000  # of the location grid, in each direction
LOCATIONS = tuple(f"<loc{cell}>" for cell in range(CELLS))
_THING = re.compile(r"([^<>;]+?)\s*" + r"<loc(\d{1,3})>" * 4)

Floats = npt.NDArray[np.float32]
LEAST, OVERLAP = (
    0.05,
    0.5,
)  # probability from which a patch counts, and intersection over union from which two boxes are one
VALUES = 4  # numbers a labelled patch has beside its kind: centre's offset and extent


@dataclass(frozen=True)
class Detection:
    """Something in an image: its kind, its box, and how sure the model is (1: it is so)."""

    kind: str
    box: tuple[float, float, float, float]
    score: float = 1.0


# --- as tokens in an answer -----------------------------------------------------------------------------------------


def write(things: list[Detection]) -> str:
    """Things as an answer's text, from top left to bottom right: `kind<loc..><loc..><loc..><loc..>; ...`, or "nothing".

    >>> write([Thing("cup", (0.1, 0.25, 0.5, 1.0))])
    'cup<loc100><loc250><loc500><loc999>'
    """
    ordered = sorted(things, key=lambda thing: (thing.box[1], thing.box[0], thing.kind))
    return (
        "; ".join(thing.kind + "".join(LOCATIONS[_cell(value)] for value in thing.box) for thing in ordered)
        or "nothing"
    )


def read(text: str) -> list[Detection]:
    """The things of an answer: what `write` wrote, to half a cell. What cannot be read, or has no area, is left out."""
    found = []
    for kind, *cells in _THING.findall(text):
        left, top, right, bottom = ((int(cell) + 0.5) / CELLS for cell in cells)
        if left < right and top < bottom:
            found.append(Detection(kind.strip(), (left, top, right, bottom)))
    return found


def _cell(value: float) -> int:
    return min(CELLS - 1, max(0, int(value * CELLS)))


# --- as one label a patch ---------------------------------------------------------------------------------------------


def to_labels(boxes: Floats, kinds: npt.NDArray[np.int64], grid: PatchGrid) -> tuple[npt.NDArray[np.int64], Floats]:
    """One label a patch: its kind [N], 0 for background, and values [N, 4] that say where the thing lies.

    A patch belongs to the smallest box whose inner half (each way) holds the patch's middle, or, for a thing that no
    middle lies in, to the box whose own middle the patch holds (cf. FCOS, arXiv:1904.01355). Values: the centre's
    offset from the patch's middle in patches, and the logarithm of the extent in patches. `boxes` [K, 4], `kinds` [K]
    from 1.
    """
    N = grid.patches
    labels, values = np.zeros(N, np.int64), np.zeros((N, VALUES), np.float32)
    scale = np.array([grid.columns, grid.rows, grid.columns, grid.rows], np.float32)
    scaled = boxes.reshape(-1, 4) * scale
    x = np.tile(np.arange(grid.columns) + 0.5, grid.rows)
    y = np.repeat(np.arange(grid.rows) + 0.5, grid.columns)
    extents = np.maximum(scaled[:, 2:] - scaled[:, :2], 1e-3)
    centres = (scaled[:, 2:] + scaled[:, :2]) / 2
    for number in np.argsort(-extents.prod(1), kind="stable"):  # the smallest last, so that it stays on top
        (cx, cy), (w, h) = centres[number], extents[number]
        inside = (np.abs(x - cx) <= max(w / 4, 0.5)) & (np.abs(y - cy) <= max(h / 4, 0.5))
        labels[inside] = kinds[number]
        values[inside] = np.stack([cx - x, cy - y, np.full(N, np.log(w)), np.full(N, np.log(h))], 1)[inside]
    return labels, values


def from_labels(
    shares: Floats, values: Floats, grid: PatchGrid, names: list[str], least: float = LEAST, overlap: float = OVERLAP
) -> list[Detection]:
    """Things, the surest first, from the probabilities of the kinds [N, 1 + K] and the values [N, 4] of an image's
    patches.

    Each patch that sees a kind with at least the probability `least` proposes a box; of those of one kind that overlap
    by more than `overlap` (intersection over union), the surest stays, its box the mean of theirs by probability.
    """
    x = np.tile(np.arange(grid.columns) + 0.5, grid.rows)
    y = np.repeat(np.arange(grid.rows) + 0.5, grid.columns)
    half = np.exp(np.clip(values[:, 2:], -4, 6)) / 2
    centre = np.stack([x, y], 1) + values[:, :2]
    size = np.array([grid.columns, grid.rows, grid.columns, grid.rows], np.float32)
    proposed = np.clip(np.concatenate([centre - half, centre + half], 1) / size, 0, 1).astype(np.float32)
    found = []
    for number, name in enumerate(names, 1):
        sure = np.flatnonzero(shares[:, number] >= least)
        sure = sure[np.argsort(-shares[sure, number], kind="stable")]
        while len(sure):
            best = sure[0]
            same = overlaps(proposed[best], proposed[sure]) > overlap
            same[0] = True
            weights = shares[sure[same], number]
            left, top, right, bottom = (
                float(value) for value in (proposed[sure[same]] * weights[:, None]).sum(0) / weights.sum()
            )
            if left < right and top < bottom:
                found.append(Detection(name, (left, top, right, bottom), float(shares[best, number])))
            sure = sure[~same]
    return sorted(found, key=lambda thing: -thing.score)


def overlaps(box: Floats, others: Floats) -> Floats:
    """Intersection over union of one box with each of others [K, 4]."""
    low, high = np.maximum(box[:2], others[:, :2]), np.minimum(box[2:], others[:, 2:])
    shared = np.clip(high - low, 0, None).prod(1)
    areas = (others[:, 2:] - others[:, :2]).prod(1)
    result: Floats = shared / np.maximum((box[2:] - box[:2]).prod() + areas - shared, 1e-9)
    return result
