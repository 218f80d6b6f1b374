"""Batches: `batches[step]` is a pure function of the shards, the mix, the seed and the step.

It depends neither on earlier calls nor on the number of processes: a run that resumes, or continues with another number
of processes, trains on the same tokens in the same order.
"""

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from groundup.core.errors import InputError
from groundup.core.files import digest
from groundup.data.image_examples import ImageExample, ImageObjective
from groundup.data.image_shards import TrainingImage
from groundup.data.order import assign, mixing_tree, shuffled, stream_key
from groundup.data.shards import IMAGE, LOSS, PADDING, START, Shards

SELECTED_STEP = 16  # columns: sizes that kernels like
HELDOUT_ROWS = 64  # rows a source for the held-out loss during training: enough for a trend, little time
HELDOUT_PIECE = 16  # of these rows in one forward
CHECK_ROWS = 64  # read at a time to check whether a source has targets


@dataclass(frozen=True, eq=False)
class Batch:
    """Rows of packed tokens, ready for one forward pass; B rows of T tokens."""

    ids: npt.NDArray[np.int64]  # [B, T]
    targets: npt.NDArray[np.int64]  # [B, T], the id that follows in the row
    weights: npt.NDArray[np.float32]  # [B, T], 1 where the target counts in the loss, else 0
    segments: npt.NDArray[np.int32]  # [B, T], number of the document (or padding) in its row: attention stays inside
    positions: npt.NDArray[np.int64]  # [B, T], from 0 in each document
    blocks: npt.NDArray[np.int32]  # [B, T], patches of one number (from 1) attend to each other in both directions
    images: tuple[tuple[ImageExample, ...], ...] = ()  # of each row
    selected: npt.NDArray[np.int64] | None = None  # [B, A], columns that include all with a loss, ascending; None: all
    pairs: npt.NDArray[np.int64] | None = None  # [B], preference pairs: the segments are chosen, rejected in turn

    @property
    def count(self) -> float:
        """How many predictions (tokens and patches), or else preference pairs, count in the loss."""
        if self.pairs is not None:
            return float(self.pairs.sum())
        return float(self.weights.sum()) + sum(image.count for row in self.images for image in row)

    @property
    def patches(self) -> int:
        """Patches of all images."""
        return sum(image.grid.patches for row in self.images for image in row)

    def part(self, rank: int, world: int) -> "Batch":
        """The contiguous rows of one of `world` processes; joined in order of rank they are the batch."""
        rows = len(self.ids)
        return self._rows(rows * rank // world, rows * (rank + 1) // world)

    def micro(self, rows: int) -> list["Batch"]:
        """The batch in micro-batches of at most `rows` rows, in order."""
        return [self._rows(start, start + rows) for start in range(0, len(self.ids), rows)]

    def _rows(self, start: int, stop: int) -> "Batch":
        parts: dict[str, Any] = {field.name: getattr(self, field.name) for field in fields(self)}
        cut: dict[str, Any] = {name: None if part is None else part[start:stop] for name, part in parts.items()}
        return Batch(**cut)


class Batches:
    """The endless training data of one stage.

    `mix` gives the fraction of the tokens of each source. Padding does not count: a source with emptier rows gives more
    rows. After any number of rows a source is at most two rows off its fraction; with two sources, half a row
    (`order.deviation` is the exact bound). Each source is read in epochs, each row once, in a new order. The loss mask
    `weights`: with `assistant_only` (instruction tuning) only tokens flagged LOSS, else all. The image objective
    `images` gives the targets of images; None without images. With `pairs`, the sources hold preference pairs.

    Raises InputError for a source without rows, or shards of different contexts.
    """

    def __init__(
        self, shards: dict[str, Shards], mix: dict[str, float], rows: int, seed: int, assistant_only: bool,
        images: ImageObjective | None = None, pairs: bool = False
    ):  # fmt: skip
        self.names = sorted(mix)
        self.shards = [shards[name] for name in self.names]
        self.rows, self.seed = rows, seed
        self.assistant_only, self.images, self.pairs = assistant_only, images, pairs
        self._check()
        most = max(part.supervised for part in self.shards)
        self._selected = _rounded(most, self.context) if assistant_only else None
        self._keys = [stream_key(seed, name) for name in self.names]
        tokens_a_row = [part.tokens / part.rows for part in self.shards]
        self._tree = mixing_tree([mix[name] / tokens for name, tokens in zip(self.names, tokens_a_row, strict=True)])
        self.fingerprint = digest(
            {
                "shards": {name: part.digest for name, part in zip(self.names, self.shards, strict=True)},
                "mix": {name: float(mix[name]) for name in self.names},
                "rows": rows,
                "seed": seed,
                "assistant_only": assistant_only,
                "lesson": images.fingerprint() if images is not None else None,
            }
        )

    @property
    def context(self) -> int:
        """Tokens of a row."""
        return self.shards[0].context

    def _check(self) -> None:
        for name, part in zip(self.names, self.shards, strict=True):
            if not part.rows:
                raise InputError(
                    f"source {name!r} has no rows to train on; leave it out of the mix or give it more documents"
                )
            if part.context != self.shards[0].context:
                raise InputError(
                    f"source {name!r} is packed in rows of {part.context} tokens, {self.names[0]!r} in rows of"
                    f" {self.shards[0].context}; pack both with the same context"
                )

    def require_lessons(self) -> None:
        """Raise InputError for a source whose rows have no targets: nothing would be learnt from its tokens."""
        for name, part in zip(self.names, self.shards, strict=True):
            if not any(self._teach(part, start) for start in range(0, part.rows, CHECK_ROWS)):
                raise InputError(
                    f"source {name!r}: nothing can be learnt from any of its {part.rows:,} rows of {part.context:,}"
                    " tokens: "
                    + (
                        f"no answer with words in it lies within model.context = {part.context}; raise it, give the"
                        " conversations answers, "
                        if self.assistant_only
                        else (
                            "they hold no text in which a token follows another, nor an image that is predicted; give"
                            " it longer documents, "
                        )
                    )
                    + "or leave the source out of the stage's mix"
                )

    def _teach(self, part: Shards, start: int) -> bool:
        """Whether rows have targets: patches or tokens; of answers two different tokens, as an empty answer has one."""
        numbers = np.arange(start, min(start + CHECK_ROWS, part.rows))
        ids, flags = part.take(numbers)
        batch = _batch(ids, flags, self.assistant_only, self._examples([(part, int(each)) for each in numbers], 0))
        targets = np.unique(batch.targets[batch.weights > 0])
        return len(targets) > self.assistant_only or any(image.count for row in batch.images for image in row)

    def __getitem__(self, step: int) -> Batch:
        """The batch of a step (from 0): `rows` rows."""
        if step < 0:
            raise IndexError(f"step {step} is negative")
        ids, flags, places = self._take(np.arange(step * self.rows, (step + 1) * self.rows))
        batch = _batch(ids, flags, self.assistant_only, self._examples(places, step * self.rows))
        if self.pairs:
            batch = replace(batch, pairs=_pairs(batch))
        return batch if self._selected is None else replace(batch, selected=_selected(batch, self._selected))

    def _examples(self, rows: list[tuple[Shards, int]], first: int) -> tuple[tuple[ImageExample, ...], ...]:
        """The images of rows, each given as a shard and a row; `first` is the number of the first row in the stream.

        Augmentation follows from the seed, the row's number and the position in it.
        """
        return tuple(
            tuple(self._example(image, shards, number) for image in shards.images.of(row)) if shards.images else ()
            for number, (shards, row) in enumerate(rows, first)
        )

    def _example(self, image: TrainingImage, shards: Shards, number: int) -> ImageExample:
        assert self.images is not None and shards.images is not None, "shards with images need an objective of images"
        return self.images.example(image, shards.images, np.random.default_rng([self.seed, number, image.position]))

    def _take(
        self, rows: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8], list[tuple[Shards, int]]]:
        shape = (len(rows), self.shards[0].context)
        ids, flags = np.empty(shape, np.int64), np.empty(shape, np.uint8)
        sources, indices = assign(rows, self._tree)
        for number, (part, key) in enumerate(zip(self.shards, self._keys, strict=True)):
            if (mine := sources == number).any():
                indices[mine] = shuffled(indices[mine], part.rows, key)
                ids[mine], flags[mine] = part.take(indices[mine])
        return ids, flags, [(self.shards[source], int(index)) for source, index in zip(sources, indices, strict=True)]


def heldout(
    name: str, shards: Shards, assistant_only: bool, images: ImageObjective, pairs: bool = False
) -> list[Batch]:
    """Batches of held-out rows for the loss during training, without augmentation. Raises InputError without rows."""
    rows = min(HELDOUT_ROWS, shards.rows)
    batches = Batches({name: shards}, {name: 1.0}, rows, 0, assistant_only, images.without_augmentation(), pairs)
    return batches[0].micro(HELDOUT_PIECE)


def _batch(
    ids: npt.NDArray[np.int64],
    flags: npt.NDArray[np.uint8],
    assistant_only: bool,
    images: tuple[tuple[ImageExample, ...], ...],
) -> Batch:
    padding = (flags & PADDING) > 0
    starts = (flags & START) > 0
    starts[:, 1:] |= padding[:, 1:] & ~padding[:, :-1]  # padding counts as a separate document
    targets, counts = np.zeros_like(ids), np.zeros(ids.shape, bool)
    targets[:, :-1] = ids[:, 1:]
    counts[:, :-1] = ~starts[:, 1:] & ~padding[:, 1:] & ((flags[:, 1:] & IMAGE) == 0)
    if assistant_only:
        counts[:, :-1] &= (flags[:, 1:] & LOSS) > 0
    columns = np.arange(ids.shape[1])
    return Batch(
        ids=ids,
        targets=targets,
        weights=counts.astype(np.float32),
        segments=np.cumsum(starts, axis=1, dtype=np.int32) - np.int32(1),
        positions=columns - np.maximum.accumulate(np.where(starts, columns, 0), axis=1),
        blocks=_blocks(images, ids.shape),
        images=images,
    )


def _pairs(batch: Batch) -> npt.NDArray[np.int64]:
    """The pairs of each row, [B]: those of its segments, but padding, that count in the loss."""
    last: npt.NDArray[np.int64] = np.where(batch.weights > 0, batch.segments, -1).max(axis=1).astype(np.int64)
    return (last + 1) // 2


def _blocks(images: tuple[tuple[ImageExample, ...], ...], shape: tuple[int, ...]) -> npt.NDArray[np.int32]:
    """The prefix of each image, [B, T], under the position of its first patch; 0 elsewhere."""
    blocks = np.zeros(shape, np.int32)
    for row, of_row in enumerate(images):
        for image in of_row:
            blocks[row, image.position : image.position + image.prefix] = image.position
    return blocks


def _rounded(most: int, context: int) -> int | None:
    """The number of columns to select in each row, constant for compiled code; None if it is nearly all columns."""
    columns = -(-max(most, 1) // SELECTED_STEP) * SELECTED_STEP
    return columns if columns <= 0.75 * context else None


def _selected(batch: Batch, most: int) -> npt.NDArray[np.int64]:
    """Columns with a loss, filled up with others to `most` in every row, [B, most]."""
    silent = batch.weights == 0
    for row, images in enumerate(batch.images):
        for image in images:
            silent[row, image.position + np.flatnonzero(image.supervised)] = False
    columns: npt.NDArray[np.int64] = np.sort(np.argsort(silent, axis=1, kind="stable")[:, :most], axis=1)
    return columns
