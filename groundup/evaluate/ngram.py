"""An n-gram model of bytes with modified Kneser-Ney smoothing (Chen and Goodman 1999), interpolated.

Counts of one order are one sorted array, searched by bisection. A gram of k bytes is 8k bits, its last byte lowest.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Grams = npt.NDArray[np.uint64]
BOUNDARY = b"\xff"  # the document boundary: a byte that UTF-8 never uses
LEAST = 0.1  # discount of a count


@dataclass(frozen=True)
class _Order:
    """One order: grams with discounted counts, and back-off weights of their contexts (all bytes but the last)."""

    grams: Grams  # [G], sorted
    discounted: npt.NDArray[np.float64]  # [G], discounted count by the total of the context
    contexts: Grams  # [C], sorted
    rest: npt.NDArray[np.float64]  # [C], weight of the order below

    @staticmethod
    def of(grams: Grams, counts: npt.NDArray[np.int64]) -> "_Order":
        """Discount the counts of sorted, distinct grams."""
        contexts, starts, place = np.unique(grams >> np.uint64(8), return_index=True, return_inverse=True)
        discounts = _discounts(counts)[np.minimum(counts, 3)]
        totals = np.add.reduceat(counts, starts)
        return _Order(
            grams, (counts - discounts) / totals[place], contexts, np.add.reduceat(discounts, starts) / totals
        )

    def interpolate(self, grams: Grams, below: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Probability of the last byte of each gram, given that by the order below."""
        contexts = grams >> np.uint64(8)
        context, known = _find(self.contexts, contexts)
        gram, seen = _find(self.grams, grams)
        mixed = np.where(seen, self.discounted[gram], 0.0) + self.rest[context] * below
        return np.where(known, mixed, below)


class NGram:
    """Predicts each byte from the `order` - 1 bytes before it (`order` at most 8), learned from documents."""

    def __init__(self, documents: list[bytes], order: int = 6):
        grams, counts = np.unique(_grams(documents, order), return_counts=True)
        self._orders = [_Order.of(grams, counts)]
        for length in range(order - 1, 0, -1):
            # A lower order counts in how many ways a gram was preceded, not how often it occurred.
            grams, counts = np.unique(_last(grams, length), return_counts=True)
            self._orders.insert(0, _Order.of(grams, counts))

    def bits(self, documents: list[bytes]) -> list[float]:
        """-log2 p of the bytes of each document; its end costs nothing."""
        grams = _grams(documents, len(self._orders))
        probabilities = np.full(len(grams), 1 / 256)
        for length, order in enumerate(self._orders, 1):
            probabilities = order.interpolate(_last(grams, length), probabilities)
        pieces = np.split(-np.log2(probabilities), np.cumsum([len(document) + 1 for document in documents])[:-1])
        return [float(piece[:-1].sum()) for piece in pieces]


def _grams(documents: list[bytes], order: int) -> Grams:
    """The gram that ends at each byte of the documents and at the boundary behind each; boundaries precede each."""
    margin = order - 1
    text = b"".join(BOUNDARY * margin + document + BOUNDARY for document in documents)
    symbols = np.frombuffer(text, np.uint8).astype(np.uint64)
    grams = np.zeros(len(symbols) - margin, np.uint64)
    for place in range(order):
        grams = grams << np.uint64(8) | symbols[place : place + len(grams)]
    lengths = np.array([len(document) + 1 for document in documents])
    across = np.cumsum(lengths + margin)[:-1, None] - 1 - np.arange(margin)  # grams that end in a later margin
    return np.delete(grams, across)


def _last(grams: Grams, length: int) -> Grams:
    return grams & np.uint64(256**length - 1)


def _discounts(counts: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Discounts of a count of 0, 1, 2 and 3 or more, from how many grams have a count of 1 to 4; at least LEAST.

    Where one of these is missing (few different grams, as in the lowest order), half of one is taken off every count.
    """
    ones, twos, threes, fours = np.bincount(np.minimum(counts, 5), minlength=6)[1:5].tolist()
    if not (ones and twos and threes and fours):
        return np.array([0.0, 0.5, 0.5, 0.5])
    ratio = ones / (ones + 2 * twos)
    wanted = [0.0, 1 - 2 * ratio * twos / ones, 2 - 3 * ratio * threes / twos, 3 - 4 * ratio * fours / threes]
    return np.array(wanted).clip([0.0, LEAST, LEAST, LEAST], [0.0, 1.0, 2.0, 3.0])


def _find(table: Grams, wanted: Grams) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """The index of each wanted number in a sorted table, and whether it is there."""
    places = np.minimum(np.searchsorted(table, wanted), len(table) - 1)
    return places, table[places] == wanted
