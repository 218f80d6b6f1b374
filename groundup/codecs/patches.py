"""Images as grids of square patches: the grid that fits an image, and its pixels as patches, with numpy only.

An image of any size is scaled to whole patches, as many as a budget allows; the aspect ratio is kept but for rounding
(NaViT, arXiv:2307.06304). Patches are numbered row by row.
Shapes: H, W pixels; N patches; P values of a patch, side * side * 3.
"""

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]  # [H, W, 3]
Patches = npt.NDArray[np.uint8]  # [N, P]


class PatchGrid(NamedTuple):
    """The rows and columns of patches of an image."""

    rows: int
    columns: int

    @property
    def patches(self) -> int:
        """The number of patches."""
        return self.rows * self.columns

    def coordinates(self) -> npt.NDArray[np.int64]:
        """Row and column of each patch, [N, 2]."""
        return np.stack(np.unravel_index(np.arange(self.patches), self), 1).astype(np.int64)


def fit(width: int, height: int, side: int, budget: int) -> PatchGrid:
    """The patch grid of an image: as fine as `budget` patches of `side` pixels allow, never finer than its pixels.

    Of the integer grids around the exact one, the one with the nearest aspect ratio.

    >>> fit(320, 240, 16, 192)
    PatchGrid(rows=12, columns=16)
    >>> fit(20, 20, 16, 192)
    PatchGrid(rows=2, columns=2)
    """
    exact = math.sqrt(budget * height / width)
    most_rows, most_columns = math.ceil(height / side), math.ceil(width / side)
    candidates = []
    for rows in {math.floor(exact), math.ceil(exact)}:
        rows = max(1, min(rows, most_rows, budget))
        columns = max(1, min(round(rows * width / height), most_columns, budget // rows))
        distortion = abs(math.log(columns * height / (rows * width)))
        candidates.append((round(distortion, 2), -rows * columns, PatchGrid(rows, columns)))
    return min(candidates)[2]


def to_patches(pixels: Pixels, side: int) -> Patches:
    """Pixels [rows * side, columns * side, 3] as patches [rows * columns, side * side * 3], row by row."""
    rows, columns = pixels.shape[0] // side, pixels.shape[1] // side
    return np.ascontiguousarray(pixels.reshape(rows, side, columns, side, 3).swapaxes(1, 2)).reshape(rows * columns, -1)


class Frame(NamedTuple):
    """An image in a batch of patches: its grid, and the number of patches of its bidirectional prefix."""

    rows: int
    columns: int
    together: int

    @property
    def patches(self) -> int:
        """The number of patches."""
        return self.rows * self.columns


def frames(grid: npt.NDArray[np.int64], together: npt.NDArray[np.bool_]) -> tuple[Frame, ...]:
    """The images of patches at `grid` [N, 2]; `together` [N]: whether the patch is in its bidirectional prefix."""
    starts = np.flatnonzero((grid == 0).all(1))
    last = grid[np.append(starts[1:], len(grid)) - 1] + 1
    return tuple(
        Frame(int(rows), int(columns), int(count))
        for (rows, columns), count in zip(last, np.add.reduceat(together, starts, dtype=np.int64), strict=True)
    )
