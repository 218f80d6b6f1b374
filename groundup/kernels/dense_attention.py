"""Attention for short rows in compiled training, and for graphs without a fused kernel.

Shapes: B rows, T tokens, S keys, H query heads, K key/value heads, G query heads a key head, E features a head.
"""

from typing import Any

import torch
from torch import Tensor


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
