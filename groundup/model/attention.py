"""Grouped-query attention over the keys and values of the row, or of a KV cache; the attention mask of packed rows.

Shapes: B rows, T tokens, A selected positions, S keys, D width, H query heads, K key/value heads, E features a head.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from groundup.model.config import ModelConfig
from groundup.model.linear import Linear, RMSNorm
from groundup.model.ops import Ops
from groundup.model.parameters import OUTPUT_MATRIX

Attend = Callable[[Tensor, Tensor, Tensor, Tensor | None], Tensor]


@dataclass(frozen=True)
class KVCacheSpec:
    """A layer's KV cache: `heads` heads of `features` for keys and values; `window` of tokens, None for all."""

    heads: int
    features: int
    window: int | None = None

    def bytes(self, tokens: int, itemsize: int) -> int:
        """Bytes of keys and values."""
        return 2 * self.heads * self.features * min(tokens, self.window or tokens) * itemsize


class Cache(Protocol):
    """A KV cache: keeps keys and values between forwards, and attends to them."""

    def attend(self, layer: int, q_BTHE: Tensor, k_BTKE: Tensor, v_BTKE: Tensor) -> Tensor:
        """Store new keys and values; return the queries' attention over the keys allowed to them, [B, T, H, E]."""


@dataclass(frozen=True)
class Context:
    """The inputs that all layers share in one forward."""

    ops: Ops
    attend: Attend
    cos_BTE: Tensor
    sin_BTE: Tensor
    mask_BTS: Tensor | None  # True where a query attends to a key; None: causal
    cache: Cache | None
    selected_BA: Tensor | None = None  # positions that the layer computes; None: all

    def select(self, x_BTX: Tensor) -> Tensor:
        """The selected positions of a tensor, [B, A, X]."""
        if self.selected_BA is None:
            return x_BTX
        return x_BTX.gather(1, self.selected_BA[..., None].expand(-1, -1, x_BTX.shape[2]))


class Attention(nn.Module):
    """Grouped-query attention (arXiv:2305.13245) with normalised queries and keys."""

    def __init__(self, config: ModelConfig, layer: int):
        super().__init__()
        self.layer, self.head_dim = layer, config.head_dim
        self.q_proj = Linear(config.width, config.heads * config.head_dim)
        self.k_proj = Linear(config.width, config.kv_heads * config.head_dim)
        self.v_proj = Linear(config.width, config.kv_heads * config.head_dim)
        self.o_proj = Linear(config.heads * config.head_dim, config.width, OUTPUT_MATRIX)
        self.q_norm = RMSNorm(config.head_dim, config.norm_epsilon)
        self.k_norm = RMSNorm(config.head_dim, config.norm_epsilon)
        self.cache_spec = KVCacheSpec(config.kv_heads, config.head_dim)

    def forward(self, x_BTD: Tensor, context: Context) -> Tensor:
        ops = context.ops
        q_BTHE = self._heads(ops.linear(context.select(x_BTD), self.q_proj.weight))
        q_BTHE = ops.rms_norm(q_BTHE, self.q_norm.weight, self.q_norm.epsilon)
        q_BTHE = ops.rotary_embedding(q_BTHE, context.select(context.cos_BTE), context.select(context.sin_BTE))
        k_BTKE = self._heads(ops.linear(x_BTD, self.k_proj.weight))
        k_BTKE = ops.rms_norm(k_BTKE, self.k_norm.weight, self.k_norm.epsilon)
        k_BTKE = ops.rotary_embedding(k_BTKE, context.cos_BTE, context.sin_BTE)
        v_BTKE = self._heads(ops.linear(x_BTD, self.v_proj.weight))
        if context.cache is None:
            mask_BTS = None if context.mask_BTS is None else context.select(context.mask_BTS)
            o_BTHE = context.attend(q_BTHE, k_BTKE, v_BTKE, mask_BTS)
        else:
            o_BTHE = context.cache.attend(self.layer, q_BTHE, k_BTKE, v_BTKE)
        return ops.linear(o_BTHE.flatten(2), self.o_proj.weight)

    def _heads(self, x_BTX: Tensor) -> Tensor:
        return x_BTX.view(*x_BTX.shape[:2], -1, self.head_dim)


def fused_attention(q_BTHE: Tensor, k_BSKE: Tensor, v_BSKE: Tensor, mask_BTS: Tensor | None) -> Tensor:
    """Attention by torch's fused kernel, which never stores all attention weights: suits long rows."""
    mask = None if mask_BTS is None else mask_BTS[:, None]
    q, k, v = (each.transpose(1, 2) for each in (q_BTHE, k_BSKE, v_BSKE))
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=mask is None, enable_gqa=True).transpose(
        1, 2
    )


def dense_attention(q_BTHE: Tensor, k_BSKE: Tensor, v_BSKE: Tensor, mask_BTS: Tensor | None) -> Tensor:
    """Attention as two matrix products around a softmax: if compiled, faster than the kernel for short rows.

    The query heads that share a key head are stacked into one taller matrix.
    """
    q_BHTE, k_BKSE, v_BKSE = (each.transpose(1, 2) for each in (q_BTHE, k_BSKE, v_BSKE))
    (B, H, T, E), (K, S) = q_BHTE.shape, k_BKSE.shape[1:3]
    mask_BTS = torch.ones(1, T, S, dtype=torch.bool, device=q_BHTE.device).tril(S - T) if mask_BTS is None else mask_BTS
    scores = torch.bmm(q_BHTE.reshape(B * K, -1, E), k_BKSE.reshape(B * K, S, E).transpose(1, 2)).view(B, K, -1, T, S)
    weights: Tensor = _AttentionWeights.apply(scores, mask_BTS, E**-0.5)  # type: ignore[no-untyped-call]
    return torch.bmm(weights.view(B * K, -1, S), v_BKSE.reshape(B * K, S, E)).view(B, H, T, E).transpose(1, 2)


class _AttentionWeights(torch.autograd.Function):
    """Masked softmax in fp32; for the backward pass it stores only the weights, in the precision of the product."""

    @staticmethod
    def forward(context: Any, scores_BKGTS: Tensor, mask_BTS: Tensor, scale: float) -> Tensor:
        masked = (scores_BKGTS.float() * scale).masked_fill(~mask_BTS[:, None, None], float("-inf"))
        weights = masked.softmax(-1).to(scores_BKGTS.dtype)
        context.save_for_backward(weights)
        context.scale = scale
        return weights

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (weights,), gradient = context.saved_tensors, gradients[0].float()
        product = gradient * weights.float()
        return ((product - weights * product.sum(-1, keepdim=True)) * context.scale).to(weights.dtype), None, None


def document_mask(segments_BT: Tensor, blocks_BT: Tensor | None = None) -> Tensor:
    """The attention mask of packed rows, [B, T, T]: causal within a document, bidirectional in an image's `blocks`."""
    same = segments_BT[:, :, None] == segments_BT[:, None, :]
    if blocks_BT is None:
        return same.tril()
    return same.tril() | ((blocks_BT[:, :, None] == blocks_BT[:, None, :]) & (blocks_BT > 0)[:, :, None])
