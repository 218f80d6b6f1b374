"""Linear layer, RMS norm and embedding: the modules that own most parameters."""

from typing import ClassVar

import torch
from torch import Tensor, nn

from groundup.model.ops import TORCH, Ops
from groundup.model.parameters import BIAS, MATRIX, NORM, Role


class Linear(nn.Linear):
    """A matrix kept in the master precision and multiplied in the precision of the input."""

    def __init__(self, inputs: int, outputs: int, role: Role = MATRIX, bias: bool = False):
        super().__init__(inputs, outputs, bias)
        self.roles = {"weight": role, "bias": BIAS}

    def forward(self, x: Tensor, ops: Ops = TORCH) -> Tensor:
        return ops.linear(x, self.weight, self.bias)


class RMSNorm(nn.Module):
    """An RMS norm over the last dimension."""

    roles: ClassVar = {"weight": NORM}

    def __init__(self, width: int, epsilon: float):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.epsilon = epsilon

    def forward(self, x: Tensor, ops: Ops = TORCH) -> Tensor:
        return ops.rms_norm(x, self.weight, self.epsilon)


class NoNorm(nn.Module):
    """In the place of a norm where an architecture has none."""

    def __init__(self, width: int, epsilon: float):
        super().__init__()

    def forward(self, x: Tensor, ops: Ops = TORCH) -> Tensor:
        return x


class Embedding(nn.Embedding):
    """A table of vectors."""

    def __init__(self, rows: int, width: int, role: Role):
        super().__init__(rows, width)
        self.roles = {"weight": role}

    def reset_parameters(self) -> None:  # of meta tensors torch would load its compiler
        if not self.weight.is_meta:
            super().reset_parameters()
