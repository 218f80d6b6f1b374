"""Where attention keeps keys and values: pages of PAGE tokens, handed out by `Pages`.

One forward takes the new tokens of several sequences, one sequence after the other in one long row. Shapes: R tokens of
the step, N sequences, P pages of the longest, S positions, L layers, H query heads, K key/value heads, E features a
head.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from groundup.generate.block_table import PAGE
from groundup.kernels.cpu.kernels import Table
from groundup.kernels.cpu.modules import GROUP, Tape, Workshop, attend, best, store
from groundup.model.config import ModelConfig
from groundup.model.transformer import Transformer


@dataclass(frozen=True)
class Stretch:
    """The next tokens of one sequence: `count` from position `start`, with the pages of all its tokens in order.

    `blocks` are begin and end of the images among them, none of which goes on after the last token: their patches see
    each other.
    """

    start: int
    count: int
    pages: list[int]
    blocks: Sequence[tuple[int, int]] = ()

    def seen(self) -> np.ndarray:
        """How many positions each of the tokens looks at; it never falls, on which the kernels rely."""
        seen = np.arange(self.start, self.start + self.count) + 1
        for first, last in self.blocks:
            seen[max(0, first - self.start) : last - self.start] = last
        return seen


class Store(Protocol):
    """A cache as the engine uses it: `begin` a step, then let the model `attend` layer by layer."""

    def begin(self, step: Sequence[Stretch]) -> Tensor:
        """Prepare for the step's tokens; returns their positions, [1, R]."""

    def attend(self, layer: int, q_BTHE: Tensor, k_BTKE: Tensor, v_BTKE: Tensor) -> Tensor:
        """As `model.transformer.Cache`, with B = 1 and T = R."""


class PlainStore:
    """Pages in tensors of any device, attended to by the library's kernel."""

    def __init__(self, config: ModelConfig, pages: int, device: torch.device, dtype: torch.dtype):
        size = (config.depth, pages * PAGE, config.kv_heads, config.head_dim)
        # Zeros, as a masked slot has weight 0, and 0 times what memory happens to hold may not be a number.
        self._k_LSKE = torch.zeros(size, device=device, dtype=dtype)
        self._v_LSKE = torch.zeros(size, device=device, dtype=dtype)
        self._groups: list[tuple[slice, Tensor, Tensor]] = []

    def begin(self, step: Sequence[Stretch]) -> Tensor:
        """Sequences with one new token each that stand side by side are attended to together."""
        device = self._k_LSKE.device
        positions = np.concatenate([np.arange(part.start, part.start + part.count) for part in step])
        slots = [_slots(part.pages, part.start + part.count) for part in step]
        self._new_R = torch.from_numpy(
            np.concatenate([each[part.start :] for each, part in zip(slots, step, strict=True)])
        ).to(device)
        self._groups, row = [], 0
        for first, last in _runs([part.count for part in step]):
            longest = max(len(each) for each in slots[first:last])
            table = torch.from_numpy(
                np.stack([np.pad(each, (0, longest - len(each))) for each in slots[first:last]])
            ).to(device)
            count = step[first].count
            seen_NT = torch.from_numpy(np.stack([part.seen() for part in step[first:last]])).to(device)
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
            o_NHTE = F.scaled_dot_product_attention(
                q_NHTE, k_NKSE, v_NKSE, attn_mask=mask_NTS[:, None], enable_gqa=True
            )
            found.append(o_NHTE.transpose(1, 2).flatten(0, 1))
        return torch.cat(found)[None]


class NativeStore:
    """Pages laid out for the kernels, keys [L, pages, K, E, PAGE] and values [L, pages, K, PAGE, E]; attention reads
    them where they lie.

    What `begin` prepares for up to `tokens` tokens lies in one place for good, so that a recorded forward finds it.
    """

    def __init__(self, config: ModelConfig, pages: int, dtype: torch.dtype, shop: Workshop, tokens: int):
        self._shop = shop
        keys = torch.zeros((config.depth, pages, config.kv_heads, config.head_dim, PAGE), dtype=dtype)
        self.keys, self.values = (
            keys,
            torch.zeros_like(keys).view(config.depth, pages, config.kv_heads, PAGE, config.head_dim),
        )
        width = -(-config.context // PAGE)
        self._pages, self._tiles = np.zeros((tokens, width), np.int32), np.zeros((tokens, 2), np.int32)
        self._sequence, self._seen = np.zeros(tokens, np.int32), np.zeros(tokens, np.int32)
        self._positions_R, self._slots_R = (
            torch.zeros(tokens, dtype=torch.int64),
            torch.zeros(tokens, dtype=torch.int64),
        )
        self._positions, self._slots = self._positions_R.numpy(), self._slots_R.numpy()
        space = GROUP * (config.head_dim + width * PAGE)
        self._space = torch.empty(shop.threads * space)
        addresses = (each.ctypes.data for each in (self._pages, self._sequence, self._seen, self._tiles))
        self._table = Table(*addresses, 0, width, config.heads, config.kv_heads, config.head_dim, space)
        self._neighbours = GROUP // (config.heads // config.kv_heads)

    def begin(self, step: Sequence[Stretch]) -> Tensor:
        """Fill in the tables."""
        counts = np.array([part.count for part in step])
        ends = np.cumsum(counts)
        R = int(ends[-1])
        for place, part in enumerate(step):
            self._pages[place, : len(part.pages)] = part.pages
        sequence = self._sequence[:R] = np.repeat(np.arange(len(step)), counts)
        positions = self._positions[:R] = np.arange(R) - np.repeat(
            ends - counts - [part.start for part in step], counts
        )
        self._seen[:R] = positions + 1
        for part, end in zip(step, ends, strict=True):
            if part.blocks:
                self._seen[end - part.count : end] = part.seen()
        self._slots[:R] = self._pages[sequence, positions // PAGE].astype(np.int64) * PAGE + positions % PAGE
        self._lay(counts, ends)
        return self._positions_R[None, :R]

    def _lay(self, counts: np.ndarray, ends: np.ndarray) -> None:
        """Cut the rows into tiles of neighbours."""
        each = -(-counts // self._neighbours)
        count = int(each.sum())
        place = np.arange(count) - np.repeat(np.cumsum(each) - each, each)
        first = np.repeat(ends - counts, each) + place * self._neighbours
        self._tiles[:count, 0] = first
        self._tiles[:count, 1] = np.minimum(self._neighbours, np.repeat(ends, each) - first)
        self._table.count = count

    def attend(self, layer: int, q_BTHE: Tensor, k_BTKE: Tensor, v_BTKE: Tensor) -> Tensor:
        """Store, then attend in place."""
        pages = self.keys[layer], self.values[layer]
        store(self._shop, (k_BTKE, v_BTKE), pages, self._slots_R)
        return attend(self._shop, q_BTHE, pages, self._table, self._space)


class Decoder:
    """The forward of a step in which each sequence has one new token: made once, then played from its tape.

    It is the model's own forward; only the program around the kernels is left out. `size` ids may be chosen.
    """

    def __init__(self, model: Transformer, cache: NativeStore, shop: Workshop, rows: int, size: int):
        self._ids_BT = torch.zeros((1, rows), dtype=torch.int64)
        self._ids = self._ids_BT.numpy()[0]
        self._tape = shop.tape = Tape()
        x_BTD = model(self._ids_BT, cache.begin([Stretch(0, 1, [0])] * rows), cache=cache)
        scores_NV = model.logits(x_BTD)[0]
        self._best_N = best(shop, scores_NV, size)
        self._scores_NV = scores_NV[:, :size]
        shop.tape = None
        self._tape.wind(shop)

    def next(self, ids: list[int]) -> tuple[list[int], Tensor]:
        """The likeliest to follow each id of the step that the cache has begun, and the scores of all, [N, V], until
        the next call.
        """
        self._ids[: len(ids)] = ids
        self._tape.play(len(ids))
        return self._best_N[: len(ids)].tolist(), self._scores_NV[: len(ids)]


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
