"""The paged KV cache of the CPU kernels. Shapes: R tokens, L layers, H query heads, K key/value heads, E features."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from groundup.kernels.cpu.backend import GROUP, CpuBackend, paged_attention, store
from groundup.kernels.cpu.kernels import Table
from groundup.kernels.kv_cache import BLOCK_SIZE, CacheChunk
from groundup.model.attention import KVCacheSpec
from groundup.model.config import ModelConfig


class CpuKVCache:
    """The kernels' layout: keys [L, blocks, K, E, BLOCK_SIZE], values [L, blocks, K, BLOCK_SIZE, E].

    The tables that `begin` fills, for up to `tokens` tokens, keep their addresses, as a captured graph needs.
    """

    def __init__(
        self,
        specs: Sequence[KVCacheSpec],
        config: ModelConfig,
        blocks: int,
        dtype: torch.dtype,
        backend: CpuBackend,
        tokens: int,
    ):
        self._backend = backend
        self._windows = [spec.window or 0 for spec in specs]
        L, K, E = len(specs), specs[0].heads, specs[0].features
        self.keys = torch.zeros((L, blocks, K, E, BLOCK_SIZE), dtype=dtype)
        self.values = torch.zeros((L, blocks, K, BLOCK_SIZE, E), dtype=dtype)
        width = -(-config.context // BLOCK_SIZE)
        self._block_tables, self._tiles = np.zeros((tokens, width), np.int32), np.zeros((tokens, 2), np.int32)
        self._sequence, self._attended = np.zeros(tokens, np.int32), np.zeros(tokens, np.int32)
        self._positions_R, self._slots_R = (torch.zeros(tokens, dtype=torch.int64) for _ in range(2))
        self._positions, self._slots = self._positions_R.numpy(), self._slots_R.numpy()
        space = GROUP * (E + width * BLOCK_SIZE)
        self._space = torch.empty(backend.threads * space)
        tables = (self._block_tables, self._sequence, self._attended, self._positions, self._tiles)
        self._table = Table(*(each.ctypes.data for each in tables), 0, width, config.heads, K, E, space)
        self._tile_rows = GROUP // (config.heads // K)

    def begin(self, chunks: Sequence[CacheChunk]) -> Tensor:
        """Fill in the tables."""
        counts = np.array([chunk.count for chunk in chunks])
        ends = np.cumsum(counts)
        R = int(ends[-1])
        for index, chunk in enumerate(chunks):
            self._block_tables[index, : len(chunk.block_table)] = chunk.block_table
        sequence = self._sequence[:R] = np.repeat(np.arange(len(chunks)), counts)
        offsets = ends - counts - [chunk.start for chunk in chunks]
        positions = self._positions[:R] = np.arange(R) - np.repeat(offsets, counts)
        self._attended[:R] = positions + 1
        for chunk, end in zip(chunks, ends, strict=True):
            if chunk.image_spans:
                self._attended[end - chunk.count : end] = chunk.attended()
        block = self._block_tables[sequence, positions // BLOCK_SIZE].astype(np.int64)
        self._slots[:R] = block * BLOCK_SIZE + positions % BLOCK_SIZE
        self._tile(counts, ends)
        return self._positions_R[None, :R]

    def _tile(self, counts: np.ndarray, ends: np.ndarray) -> None:
        """Cut the rows into tiles of neighbouring rows."""
        each = -(-counts // self._tile_rows)
        count = int(each.sum())
        place = np.arange(count) - np.repeat(np.cumsum(each) - each, each)
        first = np.repeat(ends - counts, each) + place * self._tile_rows
        self._tiles[:count, 0] = first
        self._tiles[:count, 1] = np.minimum(self._tile_rows, np.repeat(ends, each) - first)
        self._table.count = count

    def attend(self, layer: int, q_BTHE: Tensor, k_BTKE: Tensor, v_BTKE: Tensor) -> Tensor:
        """Store, then attend in place."""
        blocks = self.keys[layer], self.values[layer]
        store(self._backend, (k_BTKE, v_BTKE), blocks, self._slots_R)
        return paged_attention(self._backend, q_BTHE, blocks, self._table, self._windows[layer], self._space)
