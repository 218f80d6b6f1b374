"""Training where most weights are frozen, in another precision than the activations, and some rows of a table are not.

Shapes: B rows, T tokens, V rows of a table, R of them active, D width.
"""

from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from groundup.model.ops import Ops
from groundup.model.parameters import EMBEDDING


class ActiveRows(nn.Module):
    """fp32 master weights of some rows of a frozen table, the embedding or the head, or of both where they are tied."""

    roles: ClassVar = {"weight": EMBEDDING}

    def __init__(self, table_VD: Tensor, rows: slice, embeds: bool, scores: bool):
        super().__init__()
        self.rows, self.embeds, self.scores = rows, embeds, scores
        self.shown_RD = table_VD.detach()[rows]  # a view
        self.weight = nn.Parameter(self.shown_RD.float())

    @torch.no_grad()
    def show(self) -> None:
        """Copy the masters into the table."""
        self.shown_RD.copy_(self.weight)


class BlockOps(Ops):
    """`Ops` in plain torch for a model whose weights are mostly frozen; `rows`: those that are not, of a table."""

    def __init__(self) -> None:
        self.rows: ActiveRows | None = None

    def embedding(self, ids_BT: Tensor, weight: Any, scale: float, precision: torch.dtype) -> Tensor:
        x_BTD = super().embedding(ids_BT, weight, scale, precision)
        if self.rows is None or not self.rows.embeds:
            return x_BTD
        start, stop = self.rows.rows.start, self.rows.rows.stop
        active_BT = (ids_BT >= start) & (ids_BT < stop)
        own_BTD = super().embedding((ids_BT - start).clamp(0, stop - start - 1), self.rows.weight, scale, precision)
        return torch.where(active_BT[..., None], own_BTD, x_BTD)

    def linear(self, x: Tensor, weight: Any, bias: Tensor | None = None) -> Tensor:
        if weight.requires_grad or weight.dtype == x.dtype:
            return super().linear(x, weight, bias)
        y: Tensor = _FrozenLinear.apply(x, weight)  # type: ignore[no-untyped-call]
        return y if bias is None else y + bias.to(x.dtype)


class _FrozenLinear(torch.autograd.Function):
    """x weight^T. For the backward pass it keeps the weight as it is stored, not the copy in the precision of x."""

    @staticmethod
    def forward(context: Any, x: Tensor, weight: Tensor) -> Tensor:
        context.save_for_backward(weight)
        return F.linear(x, weight.to(x.dtype))

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (weight,) = context.saved_tensors
        return gradients[0] @ weight.to(gradients[0].dtype), None
