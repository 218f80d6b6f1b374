"""Muon over many matrices at once. Shapes: N matrices of one shape, R rows, C columns."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

A, B, C = 3.4445, -4.7750, 2.0315  # of the quintic that lifts singular values towards 1 fastest (Jordan et al. 2024)
ITERATIONS = 5
TINY = 1e-7  # smallest norm to divide by
TOGETHER = 1 << 22  # most elements that are multiplied at once: more gain no speed, and their copies take memory


@dataclass(frozen=True)
class _Alike:
    """Matrices of one shape by name, with their momentum in one tensor."""

    names: list[str]
    momentum_NRC: Tensor


class Muon:
    """Muon (Jordan et al. 2024): orthogonalised momentum is a matrix's update, with decoupled weight decay.

    As `torch.optim.Muon`, but matrices of one shape are multiplied together, in 3/5 of the time (`benchmarks/muon.py`),
    and in `precision`: bf16 as torch, or fp32 where bf16 products are emulated, up to 30 times as slow.
    """

    def __init__(
        self, matrices: Mapping[str, Tensor], weight_decay: float, precision: torch.dtype, momentum: float = 0.95
    ):
        self.matrices, self.weight_decay, self.precision, self.momentum = matrices, weight_decay, precision, momentum
        self._alike = [
            _Alike(names, torch.stack([torch.zeros_like(matrices[name]) for name in names]))
            for names in _batches(matrices)
        ]

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """Update every matrix from its gradient."""
        for alike in self._alike:
            matrices = [self.matrices[name] for name in alike.names]
            gradient_NRC = torch.stack([matrix.grad for matrix in matrices if matrix.grad is not None])
            alike.momentum_NRC.lerp_(gradient_NRC, 1 - self.momentum)
            update_NRC = orthogonal(gradient_NRC.lerp_(alike.momentum_NRC, self.momentum), self.precision)
            rows, columns = update_NRC.shape[1:]
            taller = max(1.0, rows / columns) ** 0.5
            for matrix, update in zip(matrices, update_NRC, strict=True):
                matrix.mul_(1 - rate * self.weight_decay).add_(update, alpha=-rate * taller)

    def state(self) -> dict[str, Tensor]:
        """The momentum of each matrix, by its name: views, to be read and filled."""
        return {name: each for alike in self._alike for name, each in zip(alike.names, alike.momentum_NRC, strict=True)}


def orthogonal(matrices_NRC: Tensor, precision: torch.dtype) -> Tensor:
    """Each matrix with its singular values brought near 1, by Newton-Schulz iterations in `precision`."""
    if matrices_NRC.shape[1] > matrices_NRC.shape[2]:
        return orthogonal(matrices_NRC.mT, precision).mT
    x_NRC = matrices_NRC.to(precision)
    x_NRC = x_NRC / x_NRC.norm(dim=(1, 2), keepdim=True).clamp(min=TINY)
    for _ in range(ITERATIONS):
        gram_NRR = x_NRC @ x_NRC.mT
        powers_NRR = torch.baddbmm(gram_NRR, gram_NRR, gram_NRR, beta=B, alpha=C)
        x_NRC = torch.baddbmm(x_NRC, powers_NRR, x_NRC, beta=A)
    return x_NRC


def _batches(matrices: Mapping[str, Tensor]) -> list[list[str]]:
    """Names of matrices of one shape, in order, at most `TOGETHER` elements of them each."""
    found: dict[torch.Size, list[list[str]]] = {}
    for name, matrix in matrices.items():
        batches = found.setdefault(matrix.shape, [[]])
        if (len(batches[-1]) + 1) * matrix.numel() > TOGETHER and batches[-1]:
            batches.append([])
        batches[-1].append(name)
    return [batch for batches in found.values() for batch in batches]
