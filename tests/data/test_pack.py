"""Packing: nothing lost, little padding, bounded, and the same every time."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from groundup.data.pack import Packer, Piece, pack


def pieces(lengths: list[int]) -> list[Piece]:
    """Pieces whose ids are their number."""
    return [
        Piece(np.full(length, number, np.uint32), np.zeros(length, np.uint8)) for number, length in enumerate(lengths)
    ]


@given(st.lists(st.integers(1, 16), max_size=80), st.integers(1, 10))
@settings(deadline=None, derandomize=True, max_examples=200)
def test_every_piece_lies_whole_in_one_row(lengths: list[int], most_open: int) -> None:
    packer = Packer(16, most_open)
    rows = [row for piece in pieces(lengths) for row in packer.add(piece)] + list(packer.rest())
    assert sorted((int(piece.ids[0]), len(piece.ids)) for row in rows for piece in row) == list(enumerate(lengths))
    assert all(sum(len(piece.ids) for piece in row) <= 16 for row in rows)


@given(st.lists(st.integers(1, 15), max_size=80), st.integers(1, 10))
@settings(deadline=None, derandomize=True, max_examples=100)
def test_no_more_rows_stay_open_than_allowed(lengths: list[int], most_open: int) -> None:
    packer = Packer(16, most_open)
    for piece in pieces(lengths):
        packer.add(piece)
        assert sum(map(len, packer._open.values())) <= most_open


def test_a_piece_goes_where_it_fits_most_nearly() -> None:
    packer = Packer(10, 5)
    for piece in pieces([8, 4, 5]):  # leaves 2; then 6 in a new row; then 1 of that one
        packer.add(piece)
    [row] = packer.add(Piece(np.full(1, 9, np.uint32), np.zeros(1, np.uint8)))
    assert [len(piece.ids) for piece in row] == [4, 5, 1]


def test_rows_are_nearly_full_on_realistic_lengths() -> None:
    """Document lengths spread like a log-normal (median 300 tokens), cut into pieces of at most 512."""
    rng = np.random.default_rng(3)
    documents = np.maximum(8, rng.lognormal(np.log(300), 1.1, 5000).astype(int))
    lengths = [min(512, length - start) for length in documents for start in range(0, length, 512)]
    rows = list(pack(pieces(lengths), 512))
    assert sum(lengths) / (512 * len(rows)) > 0.97


def test_short_conversations_fill_rows_too() -> None:
    lengths = np.random.default_rng(4).integers(20, 90, 5000).tolist()
    rows = list(pack(pieces(lengths), 256))
    assert sum(lengths) / (256 * len(rows)) > 0.96
