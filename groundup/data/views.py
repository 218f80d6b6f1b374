"""The images of a batch as the model sees them: patches, where they stand, who looks at whom, and what is to be learnt
from them.

Shapes: B rows of T tokens, N patches of P values.
"""

from dataclasses import dataclass, fields
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from groundup.codecs import boxes
from groundup.codecs.patches import PatchGrid, Pixels, to_patches
from groundup.data.augment import augment, mixed
from groundup.data.shards import Shards

HIDDEN = 0.6  # share of the patches that are hidden where hidden ones are predicted (cf. arXiv:2111.06377)


@dataclass(frozen=True)
class ImageObjective:
    """What a stage learns from images, and how it varies them.

    `predict`: "next" patch, behind a beginning of random length in which all patches look at each other (AIM,
    arXiv:2401.08541); "masked", hidden ones among those that are seen; "none", for instruction tuning, where the whole
    image is seen and patches learn only what lies in them. `kinds` are all names the model knows, in order.
    """

    predict: Literal["next", "masked", "none"]
    augment: float
    kinds: tuple[str, ...]


BLIND = ImageObjective("none", 0.0, ())  # for batches without images


@dataclass(frozen=True, eq=False)
class Views:
    """The patches of a batch, in the order of its rows."""

    patches: npt.NDArray[np.uint8]  # [N, P]
    places: npt.NDArray[np.int64]  # [N], in the flattened rows: row * T + column
    grid: npt.NDArray[np.int64]  # [N, 2], row and column in the image
    hidden: npt.NDArray[np.bool_]  # [N], the model does not see the pixels
    ahead: int  # a patch predicts the one so many further on
    weights: npt.NDArray[np.float32]  # [N], 1 where what a patch predicts counts
    labels: npt.NDArray[np.int64]  # [N], kind of the thing (0: none, from 1: `kinds`); -1: nobody looked
    values: npt.NDArray[np.float32]  # [N, 4], where it lies (`codecs.boxes.to_labels`)

    def of(self, start: int, stop: int, context: int) -> "Views":
        """Those of rows start to stop."""
        first, last = np.searchsorted(self.places, [start * context, stop * context])
        parts = {field.name: getattr(self, field.name) for field in fields(self)}
        cut = {name: part[first:last] if isinstance(part, np.ndarray) else part for name, part in parts.items()}
        return Views(**cut | {"places": cut["places"] - start * context})

    @property
    def count(self) -> float:
        """How many predictions of patches, and labels, count in the loss."""
        return float(self.weights.sum() + (self.labels >= 0).sum())


@dataclass(frozen=True, eq=False)
class _View:
    """One image's part of a batch, and up to which of its patches all look at each other."""

    patches: npt.NDArray[np.uint8]
    grid: PatchGrid
    hidden: npt.NDArray[np.bool_]
    weights: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]
    values: npt.NDArray[np.float32]
    prefix: int


def look(
    rows: list[tuple[Shards, int]], context: int, lesson: ImageObjective, key: tuple[int, int]
) -> tuple[Views | None, npt.NDArray[np.int32]]:
    """The images of a batch of rows (each a shard and a row of it), and `blocks` [B, T]: patches of one block look at
    each other, 0 looks back only.

    `key` is the seed and the number of the first row in the stream: all that is random follows from them. None where no
    row has an image.
    """
    blocks = np.zeros((len(rows), context), np.int32)
    found: list[tuple[int, _View]] = []
    for number, (shards, row) in enumerate(rows):
        for place, grid, pixels, things in shards.pictures.of(row) if shards.pictures is not None else ():
            random = np.random.default_rng([key[0], key[1] + number, place])
            view = _view(pixels, grid, things, shards, lesson, random)
            blocks[number, place : place + view.prefix] = place
            found.append((number * context + place, view))
    return _joined(found, lesson) if found else None, blocks


def _view(
    pixels: Pixels,
    grid: PatchGrid,
    things: npt.NDArray[Any] | None,
    shards: Shards,
    lesson: ImageObjective,
    random: np.random.Generator,
) -> _View:
    assert shards.pictures is not None
    side, N = shards.pictures.side, grid.patches
    if lesson.augment:
        pixels, things = augment(pixels, grid, side, things, lesson.augment, random)
        if (
            lesson.predict == "none" and things is None
        ):  # two images at once are none to predict, and the other's things would have no label
            pixels = mixed(pixels, shards.pictures.any(random), grid, side, lesson.augment, random)
    labels, values = np.full(N, -1, np.int64), np.zeros((N, boxes.VALUES), np.float32)
    if lesson.predict == "none" and things is not None and lesson.kinds:
        numbers = np.array([lesson.kinds.index(name) + 1 for name in shards.pictures.kinds], np.int64)
        labels, values = boxes.to_labels(things["box"], numbers[things["kind"]], grid)
    hidden, weights, prefix = np.zeros(N, bool), np.zeros(N, np.float32), N
    if lesson.predict == "next":
        prefix = int(random.integers(0, N))
        weights[max(0, prefix - 1) : N - 1] = 1
    elif lesson.predict == "masked":
        hidden[random.permutation(N)[: round(HIDDEN * N)]] = True
        weights[hidden] = 1
    return _View(to_patches(pixels, side), grid, hidden, weights, labels, values, prefix)


def _joined(found: list[tuple[int, _View]], lesson: ImageObjective) -> Views:
    parts = {
        name: np.concatenate([getattr(view, name) for _, view in found])
        for name in ("patches", "hidden", "weights", "labels", "values")
    }
    places = np.concatenate([start + np.arange(view.grid.patches) for start, view in found])
    return Views(
        places=places,
        grid=np.concatenate([view.grid.coordinates() for _, view in found]),
        ahead=int(lesson.predict == "next"),
        **parts,
    )
