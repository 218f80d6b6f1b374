"""The cache: a forward in pieces gives what one forward over everything gives."""

import pytest
import torch

from groundup.kernels.cpu.kv_cache import CpuKVCache
from groundup.kernels.kv_cache import BLOCK_SIZE, CacheChunk, KVCache, TorchKVCache
from groundup.model import cost
from groundup.model.transformer import Transformer
from tests.generate.generate_helpers import native_model
from tests.random_models import random_model

# fp32, three layers: sums of about 100 terms of size 1 in another order differ by a few units of 1e-6.
TOLERANCE = 2e-5


def whole(model: Transformer, ids: list[int]) -> torch.Tensor:
    """States of one sequence in one forward without a cache, [T, D]."""
    with torch.no_grad():
        return model(torch.tensor([ids]), torch.arange(len(ids))[None])[0]


def made(native: bool, **changes: object) -> tuple[Transformer, KVCache]:
    if native:
        model, backend = native_model(**changes)
        return model, CpuKVCache(model.cache_specs, model.config, 12, torch.float32, backend, 128)
    model = random_model(**changes)
    return model, TorchKVCache(model.cache_specs, 12, torch.device("cpu"), torch.float32)


def random_rows(lengths: list[int]) -> list[list[int]]:
    generator = torch.Generator().manual_seed(3)
    return [torch.randint(0, 300, (length,), generator=generator).tolist() for length in lengths]


@pytest.mark.parametrize("native", [False, True])
@pytest.mark.parametrize("kv_heads", [1, 2, 4])
def test_sequences_fed_in_uneven_pieces_equal_one_forward_each(native, kv_heads):
    model, cache = made(native, kv_heads=kv_heads)
    rows = random_rows([20, 31, 46])
    block_tables = [[7, 2], [4, 0], [3, 9, 1]]
    cuts = [(0, 5, 6, 7, 20), (0, 11, 12, 13, 31), (0, 1, 30, 31, 46)]
    for turn in range(4):
        spans = [(cut[turn], cut[turn + 1]) for cut in cuts]
        positions = cache.begin(
            [CacheChunk(start, stop - start, held) for (start, stop), held in zip(spans, block_tables, strict=True)]
        )
        ids = [id for row, (start, stop) in zip(rows, spans, strict=True) for id in row[start:stop]]
        assert positions.tolist() == [[place for start, stop in spans for place in range(start, stop)]]
        with torch.no_grad():
            states = iter(model(torch.tensor([ids]), positions, cache=cache)[0])
        for row, (start, stop) in zip(rows, spans, strict=True):
            expected = whole(random_model(kv_heads=kv_heads), row)[start:stop]
            torch.testing.assert_close(
                torch.stack([next(states) for _ in range(start, stop)]), expected, rtol=0, atol=TOLERANCE
            )


@pytest.mark.parametrize("native", [False, True])
def test_bytes_equal_what_the_shape_predicts(native):
    model, cache = made(native)
    held = sum(value.nbytes for value in vars(cache).values() if isinstance(value, torch.Tensor) and value.dim() >= 4)
    assert held == cost.cache_bytes(model.config, 12 * BLOCK_SIZE, 4)
