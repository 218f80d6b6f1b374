"""The operations of the forward pass: the interface `Ops`, and `TorchOps`, the reference in plain torch.

A backend of `groundup.kernels` computes the same in the same precision, with another order of summation. Its packed
weights replace the parameters, and modules pass them as `weight`.
Shapes: B rows, T tokens, D width, H heads, E features a head, F features of the feed-forward, V vocabulary.
"""

from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor


class Ops(Protocol):
    """The interface of a backend. Results have the dtype of `x`."""

    def embedding(self, ids_BT: Tensor, weight: Any, precision: torch.dtype) -> Tensor:
        """Token embeddings: rows of a table, [B, T, D], in a precision."""

    def linear(self, x: Tensor, weight: Any) -> Tensor:
        """x weight^T; a weight is [outputs, inputs]."""

    def rms_norm(self, x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
        """x / rms(x) * weight over the last dimension (arXiv:1910.07467), in fp32."""

    def rotary_angles(self, positions_BT: Tensor, features: int, base: float) -> tuple[Tensor, Tensor]:
        """Cosines and sines of the rotary embedding (arXiv:2104.09864), [B, T, features], fp32."""

    def rotary_embedding(self, x_BTHE: Tensor, cos_BTE: Tensor, sin_BTE: Tensor) -> Tensor:
        """Rotate each pair of features (e, e + E/2) of every head by its position's angle."""

    def swiglu(self, gate_BTF: Tensor, up_BTF: Tensor) -> Tensor:
        """silu(gate) * up (arXiv:2002.05202)."""

    def residual_add(self, residual_BTD: Tensor, x_BTD: Tensor) -> Tensor:
        """The residual stream with the output of a layer added."""


class TorchOps:
    """`Ops` in plain torch: differentiable, compiled by torch, on every device. Weights are tensors."""

    def embedding(self, ids_BT: Tensor, weight: Tensor, precision: torch.dtype) -> Tensor:
        return F.embedding(ids_BT, weight).to(precision)

    def linear(self, x: Tensor, weight: Tensor) -> Tensor:
        return F.linear(x, weight.to(x.dtype))

    def rms_norm(self, x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
        wide = x.float()
        normed = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + epsilon)
        return (weight.float() * normed.to(x.dtype)).to(x.dtype)

    def rotary_angles(self, positions_BT: Tensor, features: int, base: float) -> tuple[Tensor, Tensor]:
        exponents = torch.arange(0, features, 2, device=positions_BT.device, dtype=torch.float32) / features
        angles = positions_BT[..., None].float() * base**-exponents
        cos, sin = angles.cos(), angles.sin()
        return torch.cat((cos, cos), dim=-1), torch.cat((sin, sin), dim=-1)

    def rotary_embedding(self, x_BTHE: Tensor, cos_BTE: Tensor, sin_BTE: Tensor) -> Tensor:
        first, second = x_BTHE.chunk(2, dim=-1)
        turned = torch.cat((-second, first), dim=-1)
        return (x_BTHE * cos_BTE[:, :, None] + turned * sin_BTE[:, :, None]).to(x_BTHE.dtype)

    def swiglu(self, gate_BTF: Tensor, up_BTF: Tensor) -> Tensor:
        return F.silu(gate_BTF) * up_BTF

    def residual_add(self, residual_BTD: Tensor, x_BTD: Tensor) -> Tensor:
        return residual_BTD + x_BTD


TORCH = TorchOps()
