"""Packing: pieces of documents into rows of one length, with little padding and no needless cuts."""

from collections import deque
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from groundup.data.image_shards import TrainingImage

OPEN_TOKENS = 1 << 20  # total size of the open rows, which bounds the memory; more than 64 open rows fill no better
OPEN_ROWS_IMAGES = 64  # the number of open rows if they hold pixels, which are a hundred times as large


class Piece(NamedTuple):
    """A run of one document's tokens, with its images."""

    ids: npt.NDArray[np.uint32]  # [n]
    flags: npt.NDArray[np.uint8]  # [n]
    images: tuple[TrainingImage, ...] = ()


class Packer:
    """Best-fit packing: a piece goes into the open row with the least sufficient space, else into a new row.

    Documents that fit a row are never cut, which keeps facts with the text that they follow from (Ding et al. 2024,
    "Fewer Truncations Improve Language Modeling"). That paper sorts the whole corpus by length first; here documents
    are streamed past a bounded number of open rows, and the fullest row is closed when there are too many. Rows are
    queued by free space; the bits of `_spaces` mark non-empty queues, so a shift finds the best one. Its oldest row is
    taken, which makes the result deterministic.
    """

    def __init__(self, context: int, most_open: int):
        self.context = context
        self.most_open = most_open
        self._open: dict[int, deque[list[Piece]]] = {}
        self._spaces = 0
        self._count = 0

    def add(self, piece: Piece) -> list[list[Piece]]:
        """Add a piece of at most `context` tokens; returns the row that this completed or pushed out, if any."""
        length = len(piece.ids)
        fitting = self._spaces >> length
        space = length + _lowest_bit(fitting) if fitting else self.context
        row = self._take(space) if fitting else []
        row.append(piece)
        if space == length:
            return [row]
        self._put(space - length, row)
        return [self._take(_lowest_bit(self._spaces))] if self._count > self.most_open else []

    def rest(self) -> Iterator[list[Piece]]:
        """The rows still open, fullest first."""
        while self._count:
            yield self._take(_lowest_bit(self._spaces))

    def _put(self, space: int, row: list[Piece]) -> None:
        self._open.setdefault(space, deque()).append(row)
        self._spaces |= 1 << space
        self._count += 1

    def _take(self, space: int) -> list[Piece]:
        queue = self._open[space]
        row = queue.popleft()
        self._count -= 1
        if not queue:
            self._spaces &= ~(1 << space)
        return row


def pack(pieces: Iterable[Piece], context: int, images: bool = False) -> Iterator[list[Piece]]:
    """Stream pieces into rows of at most `context` tokens; `images`: there may be images in them."""
    packer = Packer(context, OPEN_ROWS_IMAGES if images else max(1, OPEN_TOKENS // context))
    for piece in pieces:
        yield from packer.add(piece)
    yield from packer.rest()


def _lowest_bit(bits: int) -> int:
    return (bits & -bits).bit_length() - 1
