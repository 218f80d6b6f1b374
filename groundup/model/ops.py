"""The operations of the forward pass in plain torch: the reference, and the interface of every backend.

A backend of `groundup.kernels` computes the same in the same precision, summed in another order. Weights it packs
replace the parameters and come back as `weight`.
Shapes: B rows, T tokens, D width, H heads, E features a head, F features of the feed-forward, V vocabulary.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from groundup.model.rotary import Rotary


class Ops:
    """Differentiable, compiled by torch, on every device. Weights are tensors. Results have the dtype of `x`."""

    def embedding(self, ids_BT: Tensor, weight: Any, scale: float, precision: torch.dtype) -> Tensor:
        """Rows of a table times a scale, [B, T, D], in a precision."""
        x_BTD = F.embedding(ids_BT, weight).to(precision)
        return x_BTD if scale == 1 else x_BTD * scale

    def linear(self, x: Tensor, weight: Any, bias: Tensor | None = None) -> Tensor:
        """x weight^T + bias; a weight is [outputs, inputs]."""
        return F.linear(x, weight.to(x.dtype), None if bias is None else bias.to(x.dtype))

    def rms_norm(self, x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
        """x / rms(x) * weight over the last dimension (arXiv:1910.07467), in fp32."""
        wide = x.float()
        normed = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + epsilon)
        return (weight.float() * normed.to(x.dtype)).to(x.dtype)

    def rotary_angles(self, positions_BT: Tensor, rotary: Rotary) -> tuple[Tensor, Tensor]:
        """Cosines and sines of a rotary embedding, [B, T, E], fp32."""
        return rotary.angles(positions_BT)

    def rotary_embedding(self, x_BTHE: Tensor, cos_BTE: Tensor, sin_BTE: Tensor) -> Tensor:
        """Rotate each pair of features (e, e + E/2) of every head by its position's angle."""
        first, second = x_BTHE.chunk(2, dim=-1)
        turned = torch.cat((-second, first), dim=-1)
        return (x_BTHE * cos_BTE[:, :, None] + turned * sin_BTE[:, :, None]).to(x_BTHE.dtype)

    def swiglu(self, gate_BTF: Tensor, up_BTF: Tensor) -> Tensor:
        """silu(gate) * up (arXiv:2002.05202)."""
        return F.silu(gate_BTF) * up_BTF

    def geglu(self, gate_BTF: Tensor, up_BTF: Tensor) -> Tensor:
        """gelu(gate) * up, with gelu's approximation by tanh (arXiv:1606.08415)."""
        return F.gelu(gate_BTF, approximate="tanh") * up_BTF

    def residual_add(self, residual_BTD: Tensor, x_BTD: Tensor) -> Tensor:
        """The residual stream with the output of a layer added."""
        return residual_BTD + x_BTD


TORCH = Ops()
