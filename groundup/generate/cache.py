"""Where attention keeps keys and values: pages of PAGE tokens, handed out by `Pages`.

One forward takes the new tokens of several sequences, one sequence after the other in one long row. Shapes: R tokens of the
step, N sequences, P pages of the longest, S positions, L layers, H query heads, K key/value heads, E features a head.
"""

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from groundup.generate.native.kernels import Attention
from groundup.generate.native.leaves import Workshop
from groundup.generate.pages import PAGE
from groundup.model.shape import Shape


@dataclass(frozen=True)
class Stretch:
    """The next tokens of one sequence: `count` from position `start`, with the pages of all its tokens in order."""

    start: int
    count: int
    pages: list[int]


class Store(Protocol):
    """A cache as the engine uses it: `begin` a step, then let the trunk `attend` layer by layer."""

    def begin(self, step: Sequence[Stretch]) -> Tensor:
        """Prepare for the step's tokens; returns their positions, [1, R]."""

    def attend(self, layer: int, q_BTHE: Tensor, k_BTKE: Tensor, v_BTKE: Tensor) -> Tensor:
        """As `model.trunk.Cache`, with B = 1 and T = R."""


class PlainStore:
    """Pages in tensors of any device, attended to by the library's kernel."""

    def __init__(self, shape: Shape, pages: int, device: torch.device, dtype: torch.dtype):
        size = (shape.depth, pages * PAGE, shape.kv_heads, shape.head_dim)
        # Zeros, as a masked slot has weight 0, and 0 times what memory happens to hold may not be a number.
        self._k_LSKE = torch.zeros(size, device=device, dtype=dtype)
        self._v_LSKE = torch.zeros(size, device=device, dtype=dtype)
        self._groups: list[tuple[slice, Tensor, Tensor]] = []

    def begin(self, step: Sequence[Stretch]) -> Tensor:
        """Sequences with one new token each that stand side by side are attended to together."""
        device = self._k_LSKE.device
        positions = np.concatenate([np.arange(part.start, part.start + part.count) for part in step])
        slots = [_slots(part.pages, part.start + part.count) for part in step]
        self._new_R = torch.from_numpy(np.concatenate([each[part.start :] for each, part in zip(slots, step, strict=True)])).to(device)
        self._groups, row = [], 0
        for first, last in _runs([part.count for part in step]):
            longest = max(len(each) for each in slots[first:last])
            table = torch.from_numpy(np.stack([np.pad(each, (0, longest - len(each))) for each in slots[first:last]])).to(device)
            count = step[first].count
            seen_NT = torch.tensor([[part.start + place for place in range(1, count + 1)] for part in step[first:last]], device=device)
            mask_NTS = torch.arange(longest, device=device) < seen_NT[..., None]
            self._groups.append((slice(row, row + count * (last - first)), table, mask_NTS))
            row += count * (last - first)
        return torch.from_numpy(positions)[None].to(device)

    def attend(self, layer: int, q_BTHE: Tensor, k_BTKE: Tensor, v_BTKE: Tensor) -> Tensor:
        """Store, then gather the pages of each sequence."""
        keys, values = self._k_LSKE[layer], self._v_LSKE[layer]
        keys[self._new_R], values[self._new_R] = k_BTKE[0], v_BTKE[0]
        found = []
        for rows, table_NS, mask_NTS in self._groups:
            q_NHTE = q_BTHE[0, rows].view(*mask_NTS.shape[:2], *q_BTHE.shape[2:]).transpose(1, 2)
            k_NKSE, v_NKSE = keys[table_NS].transpose(1, 2), values[table_NS].transpose(1, 2)
            o_NHTE = F.scaled_dot_product_attention(q_NHTE, k_NKSE, v_NKSE, attn_mask=mask_NTS[:, None], enable_gqa=True)
            found.append(o_NHTE.transpose(1, 2).flatten(0, 1))
        return torch.cat(found)[None]


class NativeStore:
    """Pages laid out for the kernels, keys [L, pages, K, E, PAGE] and values [L, pages, K, PAGE, E]; attention reads them where they lie."""

    def __init__(self, shape: Shape, pages: int, dtype: torch.dtype, shop: Workshop):
        self._shop, self._wide = shop, dtype == torch.float32
        self._keys = torch.zeros((shape.depth, pages, shape.kv_heads, shape.head_dim, PAGE), dtype=dtype)
        self._values = torch.zeros((shape.depth, pages, shape.kv_heads, PAGE, shape.head_dim), dtype=dtype)
        self._layers = [(k.data_ptr(), v.data_ptr()) for k, v in zip(self._keys, self._values, strict=True)]
        self._call = Attention(H=shape.heads, K=shape.kv_heads, E=shape.head_dim, wide=self._wide)
        self._pointer = ctypes.pointer(self._call)

    def begin(self, step: Sequence[Stretch]) -> Tensor:
        """Tables for the kernel; their memory lives until the next step."""
        counts = np.array([part.count for part in step])
        starts = np.array([part.start for part in step])
        sequence = np.repeat(np.arange(len(step), dtype=np.int32), counts)
        positions = np.arange(len(sequence)) - np.repeat(np.cumsum(counts) - counts - starts, counts)
        width = max(len(part.pages) for part in step)
        tables = np.array([part.pages + [0] * (width - len(part.pages)) for part in step], dtype=np.int32)
        self._slots = tables[sequence, positions // PAGE].astype(np.int64) * PAGE + positions % PAGE
        self._kept = sequence, tables, seen = sequence, tables, (positions + 1).astype(np.int32)
        call = self._call
        call.tables, call.sequence, call.seen, call.width = tables.ctypes.data, sequence.ctypes.data, seen.ctypes.data, width
        self._each = 8 * (call.E + width * PAGE)
        return torch.from_numpy(positions)[None]

    def attend(self, layer: int, q_BTHE: Tensor, k_BTKE: Tensor, v_BTKE: Tensor) -> Tensor:
        """Store, then attend in place."""
        call, shop, rows = self._call, self._shop, q_BTHE.shape[1]
        keys, values = self._layers[layer]
        o_BTHE = torch.empty_like(q_BTHE)
        shop.kernels.store(k_BTKE.data_ptr(), v_BTKE.data_ptr(), keys, values, self._slots.ctypes.data, rows, call.K, call.E, self._wide)
        call.q, call.o, call.keys, call.values = q_BTHE.data_ptr(), o_BTHE.data_ptr(), keys, values
        shop.kernels.attend(self._pointer, rows, shop.threads, shop.space(4 * shop.threads * self._each), self._each)
        return o_BTHE


def _slots(pages: list[int], length: int) -> np.ndarray:
    """The slot of each position of a sequence, [S]."""
    places = np.arange(length)
    return np.asarray(pages)[places // PAGE] * PAGE + places % PAGE


def _runs(counts: list[int]) -> list[tuple[int, int]]:
    """Sequences in groups to be attended to together: neighbours with one new token each; any other alone."""
    runs, start = [], 0
    for place in range(1, len(counts) + 1):
        if place == len(counts) or not counts[place] == counts[start] == 1:
            runs.append((start, place))
            start = place
    return runs
