"""The cache: a forward in pieces gives what one forward over everything gives."""

import pytest
import torch

from groundup.generate.cache import DenseCache
from groundup.model.trunk import Trunk, dense_attention, fused_attention
from tests.random_models import random_trunk

# fp32, three layers: sums of about 100 terms of size 1 in another order differ by a few units of 1e-6.
TOLERANCE = 2e-5


def whole(trunk: Trunk, ids: list[int]) -> torch.Tensor:
    """States of one sequence in one forward without a cache, [T, D]."""
    with torch.no_grad():
        return trunk(torch.tensor([ids]), torch.arange(len(ids))[None])[0]


def feed(trunk: Trunk, cache: DenseCache, pieces: list[list[int]]) -> list[torch.Tensor]:
    """States of each row's piece after what the cache holds."""
    counts = [len(piece) for piece in pieces]
    positions, mask = cache.place(counts)
    ids = torch.tensor([piece + [7] * (max(counts) - len(piece)) for piece in pieces])
    with torch.no_grad():
        states = trunk(ids, positions, mask, cache)
    return [row[:count] for row, count in zip(states, counts, strict=True)]


def random_rows(lengths: list[int]) -> list[list[int]]:
    generator = torch.Generator().manual_seed(3)
    return [torch.randint(0, 300, (length,), generator=generator).tolist() for length in lengths]


@pytest.mark.parametrize("attend", [fused_attention, dense_attention])
@pytest.mark.parametrize("kv_heads", [1, 2, 4])
def test_rows_fed_in_uneven_pieces_equal_one_forward_each(attend, kv_heads):
    trunk = random_trunk(kv_heads=kv_heads)
    trunk.attend = attend
    rows = random_rows([20, 31, 26])
    cache = DenseCache(trunk.shape, 3, 40, torch.device("cpu"), torch.float32)
    cuts = [(0, 5, 6, 12, 20), (0, 11, 12, 13, 31), (0, 1, 9, 10, 26)]
    for turn in range(4):
        states = feed(trunk, cache, [row[cut[turn] : cut[turn + 1]] for row, cut in zip(rows, cuts, strict=True)])
        for row, cut, found in zip(rows, cuts, states, strict=True):
            torch.testing.assert_close(found, whole(trunk, row)[cut[turn] : cut[turn + 1]], rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("dropped", [0, 1, 2])
def test_rows_that_stay_go_on_as_before_when_one_is_dropped(dropped):
    trunk = random_trunk()
    rows = random_rows([9, 14, 11])
    cache = DenseCache(trunk.shape, 3, 20, torch.device("cpu"), torch.float32)
    feed(trunk, cache, [row[:-1] for row in rows])
    cache.drop(dropped)
    rows[dropped] = rows[-1]
    rows.pop()
    for row, found in zip(rows, feed(trunk, cache, [row[-1:] for row in rows]), strict=True):
        torch.testing.assert_close(found, whole(trunk, row)[-1:], rtol=0, atol=TOLERANCE)


def test_bytes_equal_what_the_shape_predicts():
    shape = random_trunk().shape
    cache = DenseCache(shape, 5, 33, torch.device("cpu"), torch.bfloat16)
    held = sum(value.untyped_storage().nbytes() for value in vars(cache).values() if isinstance(value, torch.Tensor) and value.dim() == 5)
    assert held == shape.cache_bytes(5 * 33, 2)
