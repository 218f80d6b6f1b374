"""The paged KV cache of all sequences, in blocks of BLOCK_SIZE tokens: the reference in plain torch.

One forward takes the new tokens of several sequences in one row. Shapes: R tokens of the step, N sequences,
S positions, L layers, H query heads, K key/value heads, E features a head.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from groundup.model.attention import KVCacheSpec

BLOCK_SIZE = 16  # tokens of a block


@dataclass(frozen=True)
class CacheChunk:
    """The next `count` tokens of one sequence from position `start`, with its block table.

    `image_spans`: begin and end of the complete images among them, whose patches attend in both directions.
    """

    start: int
    count: int
    block_table: list[int]
    image_spans: Sequence[tuple[int, int]] = ()

    def attended(self) -> np.ndarray:
        """How many positions each of the tokens attends to; never decreasing, on which the kernels rely."""
        attended = np.arange(self.start, self.start + self.count) + 1
        for first, last in self.image_spans:
            attended[max(0, first - self.start) : last - self.start] = last
        return attended


class KVCache(Protocol):
    """The engine's interface of a KV cache: `begin` a step, then the model calls `attend` layer by layer."""

    def begin(self, chunks: Sequence[CacheChunk]) -> Tensor:
        """Prepare for a step's tokens; returns their positions, [1, R]."""

    def attend(self, layer: int, q_BTHE: Tensor, k_BTKE: Tensor, v_BTKE: Tensor) -> Tensor:
        """As `model.attention.Cache`, with B = 1 and T = R."""


class TorchKVCache:
    """Blocks in tensors of any device, attended to by torch's scaled dot-product attention: the reference."""

    def __init__(self, specs: Sequence[KVCacheSpec], blocks: int, device: torch.device, dtype: torch.dtype):
        self._windows = [spec.window for spec in specs]
        size = (len(specs), blocks * BLOCK_SIZE, specs[0].heads, specs[0].features)
        # Zeros: a masked slot has weight 0, and 0 times uninitialised memory may be NaN.
        self._k_LSKE = torch.zeros(size, device=device, dtype=dtype)
        self._v_LSKE = torch.zeros(size, device=device, dtype=dtype)
        self._groups: list[tuple[slice, Tensor, dict[int | None, Tensor]]] = []

    def begin(self, chunks: Sequence[CacheChunk]) -> Tensor:
        """Prepare the step; neighbouring sequences with one new token each attend in one batch."""
        device = self._k_LSKE.device
        positions = np.concatenate([np.arange(chunk.start, chunk.start + chunk.count) for chunk in chunks])
        slots = [_slots(chunk.block_table, chunk.start + chunk.count) for chunk in chunks]
        self._new_R = torch.from_numpy(
            np.concatenate([each[chunk.start :] for each, chunk in zip(slots, chunks, strict=True)])
        ).to(device)
        self._groups, row = [], 0
        for first, last in _runs([chunk.count for chunk in chunks]):
            longest = max(len(each) for each in slots[first:last])
            table = torch.from_numpy(
                np.stack([np.pad(each, (0, longest - len(each))) for each in slots[first:last]])
            ).to(device)
            count = chunks[first].count
            attended_NT = torch.from_numpy(np.stack([chunk.attended() for chunk in chunks[first:last]])).to(device)
            rows = slice(row, row + count * (last - first))
            positions_NT = torch.from_numpy(positions[rows].reshape(-1, count)).to(device)
            keys_S = torch.arange(longest, device=device)
            masks = {
                window: (keys_S < attended_NT[..., None]) & (keys_S > positions_NT[..., None] - (window or longest))
                for window in set(self._windows)
            }
            self._groups.append((rows, table, masks))
            row = rows.stop
        return torch.from_numpy(positions)[None].to(device)

    def attend(self, layer: int, q_BTHE: Tensor, k_BTKE: Tensor, v_BTKE: Tensor) -> Tensor:
        """Store, then gather the blocks of each sequence."""
        keys, values = self._k_LSKE[layer], self._v_LSKE[layer]
        keys[self._new_R], values[self._new_R] = k_BTKE[0], v_BTKE[0]
        outputs = []
        for rows, table_NS, masks in self._groups:
            mask_NTS = masks[self._windows[layer]]
            q_NHTE = q_BTHE[0, rows].view(*mask_NTS.shape[:2], *q_BTHE.shape[2:]).transpose(1, 2)
            k_NKSE, v_NKSE = keys[table_NS].transpose(1, 2), values[table_NS].transpose(1, 2)
            o_NHTE = F.scaled_dot_product_attention(
                q_NHTE, k_NKSE, v_NKSE, attn_mask=mask_NTS[:, None], enable_gqa=True
            )
            outputs.append(o_NHTE.transpose(1, 2).flatten(0, 1))
        return torch.cat(outputs)[None]


def _slots(block_table: list[int], length: int) -> np.ndarray:
    """The slot in the cache of each position of a sequence, [S]."""
    positions = np.arange(length)
    return np.asarray(block_table)[positions // BLOCK_SIZE] * BLOCK_SIZE + positions % BLOCK_SIZE


def _runs(counts: list[int]) -> list[tuple[int, int]]:
    """Groups of sequences whose attention is one batch: neighbours with one new token each; any other alone."""
    runs, start = [], 0
    for index in range(1, len(counts) + 1):
        if index == len(counts) or not counts[index] == counts[start] == 1:
            runs.append((start, index))
            start = index
    return runs
