"""Token log-probabilities and cross-entropy of a linear head, in chunks: the logits are never all in memory.

`linear_cross_entropy` computes gradients together with the loss, which saves one product of states and head.
`token_log_probabilities` is for losses whose weights depend on the probabilities.
Shapes: N positions, D width, V vocabulary.
"""

from typing import Any

import torch
from torch import Tensor

CHUNK = 512  # positions at a time: their logits fit the processor's cache


def _scores(x_ND: Tensor, head_VD: Tensor, targets_N: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Logits of some positions, the logarithm of their normaliser, and the negative log-likelihood of the targets."""
    scores_NV = (x_ND @ head_VD.T).float()
    norm_N = scores_NV.logsumexp(-1)
    return scores_NV, norm_N, norm_N - scores_NV.gather(1, targets_N[:, None])[:, 0]


def _slope(scores_NV: Tensor, norm_N: Tensor, targets_N: Tensor, weights_N: Tensor, dtype: torch.dtype) -> Tensor:
    """The gradient of the weighted negative log-likelihood by the logits."""
    hit_NV = torch.arange(scores_NV.shape[1], device=scores_NV.device) == targets_N[:, None]
    return (((scores_NV - norm_N[:, None]).exp() - hit_NV.float()) * weights_N[:, None]).to(dtype)


def _chunk(
    x_ND: Tensor, head_VD: Tensor, targets_N: Tensor, weights_N: Tensor, rows: slice = slice(None)
) -> tuple[Tensor, Tensor, Tensor]:
    """Loss of some positions, and its gradient by states and by rows of the head."""
    scores_NV, norm_N, nll_N = _scores(x_ND, head_VD, targets_N)
    loss = (nll_N * weights_N).sum()
    slope_NV = _slope(scores_NV, norm_N, targets_N, weights_N, x_ND.dtype)
    return loss, slope_NV @ head_VD, slope_NV[:, rows].T @ x_ND


class _TokenLogProbabilities(torch.autograd.Function):
    """Recomputes the logits in the backward pass, chunk by chunk: only there the gradient of each position is known."""

    @staticmethod
    def forward(ctx: Any, x_ND: Tensor, head_VD: Tensor, targets_N: Tensor) -> Tensor:
        ctx.save_for_backward(x_ND, head_VD, targets_N)
        head = head_VD.to(x_ND.dtype)
        logs_N = torch.empty(len(x_ND), device=x_ND.device)
        for start in range(0, len(x_ND), CHUNK):
            part = slice(start, start + CHUNK)
            logs_N[part] = -_scores(x_ND[part], head, targets_N[part])[2]
        return logs_N

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        x_ND, head_VD, targets_N = ctx.saved_tensors
        head, slope_x, slope_head = head_VD.to(x_ND.dtype), torch.empty_like(x_ND), torch.zeros_like(head_VD)
        for start in range(0, len(x_ND), CHUNK):
            part = slice(start, start + CHUNK)
            _, slope_x[part], chunk_head = _chunk(x_ND[part], head, targets_N[part], -gradients[0][part])
            slope_head += chunk_head
        return slope_x, slope_head, None


def token_log_probabilities(x_ND: Tensor, head_VD: Tensor, targets_N: Tensor) -> Tensor:
    """log softmax(x head^T)[target] of each position, in nats, [N], fp32; differentiable by states and head."""
    return _TokenLogProbabilities.apply(x_ND, head_VD, targets_N)  # type: ignore[no-untyped-call]


class _LinearCrossEntropy(torch.autograd.Function):
    """Computes the gradients together with the loss, chunk by chunk, as they need the same logits."""

    @staticmethod
    def forward(
        ctx: Any, x_ND: Tensor, head_VD: Tensor, targets_N: Tensor, weights_N: Tensor, active_RD: Tensor, rows: slice
    ) -> Tensor:
        head = head_VD.to(x_ND.dtype)
        loss = torch.zeros((), device=x_ND.device)
        slope_x, slope_head = torch.empty_like(x_ND), torch.zeros_like(active_RD)
        for start in range(0, len(x_ND), CHUNK):
            part = slice(start, start + CHUNK)
            chunk = _chunk(x_ND[part], head, targets_N[part], weights_N[part], rows)
            loss += chunk[0]
            slope_x[part] = chunk[1]
            slope_head += chunk[2]
        ctx.save_for_backward(slope_x, slope_head)
        return loss

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor, None, None, None, Tensor, None]:
        slope_x, slope_head = ctx.saved_tensors
        return (
            slope_x * slopes[0].to(slope_x.dtype),
            None,
            None,
            None,
            slope_head * slopes[0].to(slope_head.dtype),
            None,
        )


def linear_cross_entropy(
    x_ND: Tensor, head_VD: Tensor, targets_N: Tensor, weights_N: Tensor, active: tuple[Tensor, slice] | None = None
) -> Tensor:
    """Sum over positions of weight * -log softmax(x head^T)[target], in nats: a scalar in fp32.

    `active`: master weights of some rows of a frozen head, which get the gradient in its place.
    """
    if active is None:
        active = (head_VD if head_VD.requires_grad else head_VD[:0], slice(None if head_VD.requires_grad else 0))
    return _LinearCrossEntropy.apply(x_ND, head_VD.detach(), targets_N, weights_N, *active)  # type: ignore[no-untyped-call]
