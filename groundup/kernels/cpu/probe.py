"""Compares compiled kernels with torch: `python -m groundup.kernels.cpu.probe LIBRARY` exits with 1 if one is wrong.

`native.library` runs it for each new library, in a process of its own, as miscompiled code may crash.
"""

import ctypes
import math
import sys
from collections.abc import Iterator

import torch
from torch import Tensor

from groundup.kernels.cpu import backend as cpu
from groundup.kernels.cpu import kernels
from groundup.kernels.cpu.backend import CpuBackend
from groundup.kernels.cpu.kv_cache import CpuKVCache
from groundup.kernels.cpu.matrix import Packed, Weights, quantise
from groundup.kernels.kv_cache import BLOCK_SIZE, CacheChunk, TorchKVCache
from groundup.model.attention import KVCacheSpec
from groundup.model.config import ModelConfig
from groundup.model.ops import TORCH
from groundup.model.rotary import Rotary

# Tolerance relative to the largest number: a few roundings; int8 activations add 1/254 of their largest.
CLOSE = {torch.float32: 1e-4, torch.bfloat16: 2**-6}
WHOLE = 0.02
MATRICES = (
    (16, 16),
    (17, 80),
    (40, 64),
    (33, 208),
    (300, 48),
)  # outputs and inputs: full and partial panels, even and odd groups
ROWS = (*range(1, 18), 33)  # the kernels have separate code for each number of rows up to a tile
WIDTHS = (16, 48, 80, 208)
HEADS = ((4, 4, 16), (8, 2, 32), (6, 2, 48), (8, 1, 64), (3, 1, 80))  # of queries, of keys, features
LENGTHS = (
    (1, 1),
    (3, 14),
    (16, 16),
    (37, 1),
    (33, 9),
)  # cached and new tokens of a sequence: within a block, across blocks
WINDOWS = (None, 20, 1)


def main(path: str) -> int:
    """Exit code for the library at a path."""
    torch.manual_seed(0)
    torch.set_num_threads(
        1
    )  # of both sides: one thread runs the same code as many, and does not wait for a busy neighbour
    backend = CpuBackend(kernels.typed(ctypes.CDLL(path)))
    return int(not all(right for dtype in CLOSE for right in _findings(backend, dtype)))


def _findings(backend: CpuBackend, dtype: torch.dtype) -> Iterator[bool]:
    yield from _products(backend, dtype)
    yield from _rows(backend, dtype)
    yield from _choices(backend, dtype)
    yield from _attention(backend, dtype)


def _close(found: Tensor, expected: Tensor, tolerance: float) -> bool:
    """Whether two results agree; a NaN agrees with nothing."""
    return bool((found.float() - expected.float()).abs().max() <= tolerance * expected.float().abs().max())


def _products(backend: CpuBackend, dtype: torch.dtype) -> Iterator[bool]:
    kinds: tuple[Weights, ...] = ("full", "int8", "int4")
    for outputs, inputs in MATRICES:
        weight = (torch.randn(outputs, inputs) / inputs**0.5).to(dtype)
        for weights in kinds:
            packed, meant, bias = Packed(weight, weights), _meant(weight, weights), torch.randn(outputs)
            for rows in ROWS:
                x = torch.randn(rows, inputs).to(dtype)
                product, tolerance = x.float() @ meant.T, CLOSE[dtype] + (WHOLE if weights != "full" else 0)
                yield _close(backend.linear(x, packed), product, tolerance)
                yield _close(backend.linear(x, packed, bias), product + bias, tolerance)


def _meant(weight_NK: Tensor, weights: Weights) -> Tensor:
    """The dequantised matrix in fp32: integers times their scales."""
    if weights == "full":
        return weight_NK.float()
    group, steps = (
        (math.gcd(weight_NK.shape[1], 64), 127) if weights == "int8" else (math.gcd(weight_NK.shape[1], 32), 7)
    )
    whole_NK, scales_NG = quantise(weight_NK, group, steps)
    return whole_NK * scales_NG.repeat_interleave(group, 1)


@torch.no_grad()
def _rows(backend: CpuBackend, dtype: torch.dtype) -> Iterator[bool]:
    for width in WIDTHS:
        weight, table = torch.randn(width), torch.randn(23, width).to(dtype)
        x, y = torch.randn(1, 11, width).to(dtype), 20 * torch.randn(1, 11, width).to(dtype)
        yield _close(backend.rms_norm(x, weight, 1e-6), TORCH.rms_norm(x, weight, 1e-6), CLOSE[dtype])
        yield _close(backend.swiglu(y, x), TORCH.swiglu(y, x), CLOSE[dtype])
        yield _close(backend.geglu(y, x), TORCH.geglu(y, x), CLOSE[dtype])
        yield torch.equal(backend.residual_add(x, y), x + y)  # one rounding, which is the same everywhere
        ids = torch.randint(0, 23, (2, 7))
        yield torch.equal(backend.embedding(ids, table, 1.0, dtype), TORCH.embedding(ids, table, 1.0, dtype))
    for heads, _, features in HEADS:
        x, positions = torch.randn(2, 9, heads, features).to(dtype), torch.arange(18).view(2, 9)
        rotary = Rotary(features, 10_000.0)
        found, angles = backend.rotary_angles(positions, rotary), rotary.angles(positions)
        yield all(torch.equal(one, other) for one, other in zip(found, angles, strict=True))
        yield _close(backend.rotary_embedding(x, *angles), TORCH.rotary_embedding(x, *angles), CLOSE[dtype])


def _choices(backend: CpuBackend, dtype: torch.dtype) -> Iterator[bool]:
    scores = torch.randn(40, 300).to(dtype)
    scores[3, 17] = scores[3, 250] = 9.0  # of equal values, argmax is the first
    for width in (1, 15, 16, 290, 300):
        yield torch.equal(cpu.argmax(backend, scores, width), scores[:, :width].argmax(-1))


def _attention(backend: CpuBackend, dtype: torch.dtype) -> Iterator[bool]:
    """Several sequences in one step: old tokens are stored first, then the new ones attend to all."""
    for heads, kv_heads, features in HEADS:
        config = ModelConfig(
            depth=1, width=16, heads=heads, kv_heads=kv_heads, head_dim=features, ffn=16, vocab=16, context=64
        )
        specs = [KVCacheSpec(kv_heads, features, window) for window in WINDOWS]
        count = sum(before + new for before, new in LENGTHS)
        pages = [
            list(range(4 * n, 4 * n + -(-(before + new) // BLOCK_SIZE))) for n, (before, new) in enumerate(LENGTHS)
        ]
        native = CpuKVCache(specs, config, 4 * len(LENGTHS), dtype, backend, count)
        plain = TorchKVCache(specs, 4 * len(LENGTHS), torch.device("cpu"), dtype)
        begun = [CacheChunk(0, before, own) for (before, _), own in zip(LENGTHS, pages, strict=True)]
        for step in (begun, [CacheChunk(before, new, own) for (before, new), own in zip(LENGTHS, pages, strict=True)]):
            R = sum(part.count for part in step)
            q, k, v = (torch.randn(1, R, n, features).to(dtype) for n in (heads, kv_heads, kv_heads))
            yield torch.equal(native.begin(step), plain.begin(step))
            for layer in range(len(specs)):
                yield _close(native.attend(layer, q, k, v), plain.attend(layer, q, k, v), CLOSE[dtype])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
