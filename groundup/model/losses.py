"""Cross-entropy of a linear head, without ever holding all the scores.

Shapes: N positions, D width, V vocabulary.
"""

from typing import Any

import torch
from torch import Tensor

CHUNK = 512  # positions at a time: their scores stay in the processor's cache


def _chunk(x_ND: Tensor, head_VD: Tensor, targets_N: Tensor, weights_N: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Loss of some positions, and its gradient by states and by head."""
    scores_NV = (x_ND @ head_VD.T).float()
    norm_N = scores_NV.logsumexp(-1)
    loss = ((norm_N - scores_NV.gather(1, targets_N[:, None])[:, 0]) * weights_N).sum()
    hit_NV = torch.arange(scores_NV.shape[1], device=x_ND.device) == targets_N[:, None]
    slope_NV = (((scores_NV - norm_N[:, None]).exp() - hit_NV.float()) * weights_N[:, None]).to(x_ND.dtype)
    return loss, slope_NV @ head_VD, slope_NV.T @ x_ND


class _LinearCrossEntropy(torch.autograd.Function):
    """Computes the gradients together with the loss, chunk by chunk, as they need the same scores."""

    @staticmethod
    def forward(ctx: Any, x_ND: Tensor, head_VD: Tensor, targets_N: Tensor, weights_N: Tensor) -> Tensor:
        head = head_VD.to(x_ND.dtype)
        loss = torch.zeros((), device=x_ND.device)
        slope_x, slope_head = torch.empty_like(x_ND), torch.zeros_like(head_VD)
        for start in range(0, len(x_ND), CHUNK):
            part = slice(start, start + CHUNK)
            chunk_loss, slope_x[part], chunk_head = _chunk(x_ND[part], head, targets_N[part], weights_N[part])
            loss += chunk_loss
            slope_head += chunk_head
        ctx.save_for_backward(slope_x, slope_head)
        return loss

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor, Tensor, None, None]:
        slope_x, slope_head = ctx.saved_tensors
        return slope_x * slopes[0].to(slope_x.dtype), slope_head * slopes[0].to(slope_head.dtype), None, None


def linear_cross_entropy(x_ND: Tensor, head_VD: Tensor, targets_N: Tensor, weights_N: Tensor) -> Tensor:
    """Sum over positions of weight * -log softmax(x head^T)[target], in nats: a scalar in fp32."""
    return _LinearCrossEntropy.apply(x_ND, head_VD, targets_N, weights_N)  # type: ignore[no-untyped-call]
