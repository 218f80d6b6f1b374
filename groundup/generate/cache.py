"""The key/value cache: one slot for each position of each row.

Shapes: L layers, B rows in use, T new tokens, S slots looked at, K key/value heads, E features a head.
"""

import torch
from torch import Tensor

from groundup.model.shape import Shape


class DenseCache:
    """Keys and values of up to `rows` sequences of up to `length` tokens each, all allocated at once.

    A token's slot is its position, so rows of any lengths lie side by side. Whatever stands behind the last token of a
    row (the padding of a shorter prompt) is masked, and written over when the row grows. `lengths` counts the tokens of
    the rows in use. Memory: `shape.cache_bytes(rows * length, dtype.itemsize)`.
    """

    def __init__(self, shape: Shape, rows: int, length: int, device: torch.device, dtype: torch.dtype):
        size = (shape.depth, rows, shape.kv_heads, length, shape.head_dim)
        # Zeros, as a masked slot has weight 0, and 0 times what memory happens to hold may not be a number.
        self._k_LBKSE = torch.zeros(size, device=device, dtype=dtype)
        self._v_LBKSE = torch.zeros(size, device=device, dtype=dtype)
        self.lengths = [0] * rows
        self._rows_B1 = torch.arange(rows, device=device)[:, None]
        self._slots_BT = self._rows_B1[:, :0]
        self._reach = 0

    def place(self, counts: list[int]) -> tuple[Tensor, Tensor | None]:
        """Make room for the next `counts[b]` tokens of each row, of max(counts) = T columns given.

        Returns their positions [B, T] and who may look at which slot, [B, T, S], or None where that is plain causal.
        """
        device, fresh = self._k_LBKSE.device, not any(self.lengths)
        start_B1 = torch.tensor(self.lengths, device=device)[:, None]
        self._slots_BT = start_B1 + torch.arange(max(counts), device=device)
        self._reach = max(self.lengths) + max(counts)
        self.lengths = [length + count for length, count in zip(self.lengths, counts, strict=True)]
        return self._slots_BT, None if fresh else self._slots_BT[:, :, None] >= torch.arange(self._reach, device=device)

    def update(self, layer: int, k_BKTE: Tensor, v_BKTE: Tensor) -> tuple[Tensor, Tensor]:
        """Store the keys and values of the tokens placed last; return those of all slots in reach, [B, K, S, E]."""
        rows = self._rows_B1[: len(self.lengths)]
        kept = []
        for whole, new in ((self._k_LBKSE, k_BKTE), (self._v_LBKSE, v_BKTE)):
            whole[layer][rows, :, self._slots_BT] = new.transpose(1, 2)
            kept.append(whole[layer, : len(self.lengths), :, : self._reach])
        return kept[0], kept[1]

    def drop(self, row: int) -> None:
        """Give up a row; the last row in use takes its place."""
        last = len(self.lengths) - 1
        if row < last:
            for whole in (self._k_LBKSE, self._v_LBKSE):
                whole[:, row, :, : self._reach] = whole[:, last, :, : self._reach]
        self.lengths[row] = self.lengths[last]
        self.lengths.pop()
