"""Grouped-query attention over the keys and values of the row, or of a KV cache; the attention mask of packed rows.

Shapes: B rows, T tokens, A selected positions, S keys, D width, H query heads, K key/value heads, E features a head.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch.nn.functional as F
from torch import Tensor, nn

from groundup.model.config import ModelConfig
from groundup.model.linear import Linear, NoNorm, RMSNorm
from groundup.model.ops import Ops
from groundup.model.parameters import OUTPUT_MATRIX

Attend = Callable[[Tensor, Tensor, Tensor, Tensor | None], Tensor]


@dataclass(frozen=True)
class KVCacheSpec:
    """A layer's KV cache: `heads` heads of `features` for keys and values; only the last `window` are attended to."""

    heads: int
    features: int
    window: int | None = None

    def bytes(self, tokens: int, itemsize: int) -> int:
        """Bytes of keys and values."""
        return 2 * self.heads * self.features * tokens * itemsize


class Cache(Protocol):
    """A KV cache: keeps keys and values between forwards, and attends to them."""

    def attend(self, layer: int, q_BTHE: Tensor, k_BTKE: Tensor, v_BTKE: Tensor) -> Tensor:
        """Store new keys and values; return the queries' attention over the keys allowed to them, [B, T, H, E]."""


@dataclass(frozen=True)
class Context:
    """What all layers of one kind have in common in one forward."""

    ops: Ops
    attend: Attend
    angles: tuple[Tensor, Tensor] | None  # cosines and sines, [B, T, E]; None: no rotary embedding
    mask_BTS: Tensor | None  # True where a query attends to a key; None: causal
    cache: Cache | None
    selected_BA: Tensor | None = None  # positions that the layer computes; None: all

    def select(self, x_BTX: Tensor) -> Tensor:
        """The selected positions of a tensor, [B, A, X]."""
        if self.selected_BA is None:
            return x_BTX
        return x_BTX.gather(1, self.selected_BA[..., None].expand(-1, -1, x_BTX.shape[2]))


class Attention(nn.Module):
    """Grouped-query attention (arXiv:2305.13245); queries and keys may be normalised, a head or all heads at a time."""

    def __init__(self, config: ModelConfig, layer: int):
        super().__init__()
        self.layer, self.head_dim = layer, config.head_dim
        biased, inner, shared = config.bias != "none", config.heads * config.head_dim, config.kv_heads * config.head_dim
        self.q_proj = Linear(config.width, inner, bias=biased)
        self.k_proj = Linear(config.width, shared, bias=biased)
        self.v_proj = Linear(config.width, shared, bias=biased)
        self.o_proj = Linear(inner, config.width, OUTPUT_MATRIX, config.bias == "qkvo")
        norm, self.norms_width = NoNorm if config.qk_norm == "none" else RMSNorm, config.qk_norm == "width"
        self.q_norm = norm(inner if self.norms_width else config.head_dim, config.norm_epsilon)
        self.k_norm = norm(shared if self.norms_width else config.head_dim, config.norm_epsilon)
        self.cache_spec = KVCacheSpec(config.kv_heads, config.head_dim, config.kind(layer).window)

    def forward(self, x_BTD: Tensor, context: Context) -> Tensor:
        ops = context.ops
        q_BTHE = self._heads(self.q_proj(context.select(x_BTD), ops), self.q_norm, ops)
        if context.angles is not None:
            q_BTHE = ops.rotary_embedding(q_BTHE, *map(context.select, context.angles))
        k_BTKE = self._heads(self.k_proj(x_BTD, ops), self.k_norm, ops)
        if context.angles is not None:
            k_BTKE = ops.rotary_embedding(k_BTKE, *context.angles)
        v_BTKE = self._split(self.v_proj(x_BTD, ops))
        if context.cache is None:
            mask_BTS = None if context.mask_BTS is None else context.select(context.mask_BTS)
            o_BTHE = context.attend(q_BTHE, k_BTKE, v_BTKE, mask_BTS)
        else:
            o_BTHE = context.cache.attend(self.layer, q_BTHE, k_BTKE, v_BTKE)
        return self.o_proj(o_BTHE.flatten(2), ops)

    def _heads(self, x_BTX: Tensor, norm: nn.Module, ops: Ops) -> Tensor:
        """Normalised heads, [B, T, heads, E]."""
        return self._split(norm(x_BTX, ops)) if self.norms_width else norm(self._split(x_BTX), ops)

    def _split(self, x_BTX: Tensor) -> Tensor:
        return x_BTX.view(*x_BTX.shape[:2], -1, self.head_dim)


def fused_attention(q_BTHE: Tensor, k_BSKE: Tensor, v_BSKE: Tensor, mask_BTS: Tensor | None) -> Tensor:
    """Attention by torch's fused kernel, which never stores all attention weights: suits long rows."""
    mask = None if mask_BTS is None else mask_BTS[:, None]
    q, k, v = (each.transpose(1, 2) for each in (q_BTHE, k_BSKE, v_BSKE))
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=mask is None, enable_gqa=True).transpose(
        1, 2
    )


def document_mask(segments_BT: Tensor, blocks_BT: Tensor | None = None) -> Tensor:
    """The attention mask of packed rows, [B, T, T]: causal within a document, bidirectional in an image's `blocks`."""
    same = segments_BT[:, :, None] == segments_BT[:, None, :]
    if blocks_BT is None:
        return same.tril()
    return same.tril() | ((blocks_BT[:, :, None] == blocks_BT[:, None, :]) & (blocks_BT > 0)[:, :, None])


def window_mask(positions_BT: Tensor, window: int | None, mask_BTS: Tensor | None) -> Tensor | None:
    """A mask (None: the causal one) without the keys that lie `window` positions or more before a query."""
    if window is None:
        return mask_BTS
    near_BTT = positions_BT[:, :, None] - positions_BT[:, None, :] < window
    return near_BTT.tril() if mask_BTS is None else near_BTT & mask_BTS
