"""Weights packed for the kernels. Shapes: N outputs, K inputs, G inputs that share a scale."""

import ctypes
import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from groundup.kernels.cpu.kernels import Matrix

Weights = Literal["full", "int8", "int4"]
LANES = 16
_KINDS = {torch.float32: 0, torch.bfloat16: 1}
_INT8, _INT4 = 2, 3


def fits(inputs: int) -> bool:
    """Whether rows of this length can be multiplied: in whole vectors."""
    return inputs % LANES == 0


class Packed:
    """A copy of a matrix [N, K] for `linear`: fp32, bf16, or integers with a scale for each G inputs."""

    def __init__(self, weight_NK: Tensor, weights: Weights):
        N, K = weight_NK.shape
        panels = -(-N // LANES)
        padded = F.pad(weight_NK.detach(), (0, 0, 0, panels * LANES - N))
        group, self._scales = 0, None
        if weights == "full":
            kind, deep = _KINDS[padded.dtype], 4 // padded.element_size()
            self._content = padded.view(panels, LANES, K // deep, deep).transpose(1, 2).contiguous()
        else:
            kind, group = (_INT8, _group(K, 64)) if weights == "int8" else (_INT4, _group(K, 32))
            whole, scales = quantise(padded, group, 127 if weights == "int8" else 7)
            self._content = _bytes(whole.view(panels, LANES, K), weights)
            self._scales = scales.view(panels, LANES, K // group).transpose(1, 2).contiguous()
        scales_at = None if self._scales is None else self._scales.data_ptr()
        self.outputs, self.inputs = N, K
        self.bytes = self._content.nbytes + (0 if self._scales is None else self._scales.nbytes)
        self._matrix = Matrix(N, K, kind, group, self._content.data_ptr(), scales_at)
        self.address = ctypes.addressof(self._matrix)
        self.row_bytes = 4 * K + (8 * K // group if group else 0)  # scratch bytes that linear needs for a row


def quantise(weight_NK: Tensor, group: int, steps: int) -> tuple[Tensor, Tensor]:
    """Integers in -steps..steps, [N, K], and each group's scale, [N, K/G]: rounded to nearest, the largest exact."""
    parts = weight_NK.float().view(weight_NK.shape[0], -1, group)
    scales = (parts.abs().amax(-1) / steps).clamp_min(torch.finfo(torch.float32).tiny)
    return (parts / scales[..., None]).round().view(weight_NK.shape), scales


def _group(inputs: int, most: int) -> int:
    """Inputs that share a scale: the largest number up to `most` that divides the row."""
    return math.gcd(inputs, most)


def _bytes(whole_PLK: Tensor, weights: Weights) -> Tensor:
    panels, lanes, K = whole_PLK.shape
    if weights == "int8":
        return (whole_PLK + 128).to(torch.uint8).view(panels, lanes, K // 4, 4).transpose(1, 2).contiguous()
    halves = (whole_PLK + 8).to(torch.uint8).view(panels, lanes, K // 8, 2, 4)
    return (halves[:, :, :, 0] | halves[:, :, :, 1] << 4).transpose(1, 2).contiguous()
