"""Parameter roles: each parameter's optimizer and initialisation, declared as `roles` by the module that owns it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn


def _zeros(weight: Tensor, generator: torch.Generator) -> None:
    weight.zero_()


def _ones(weight: Tensor, generator: torch.Generator) -> None:
    weight.fill_(1)


def _normal(weight: Tensor, generator: torch.Generator) -> None:
    weight.copy_(torch.randn(weight.shape, generator=generator) * 0.02)


def _uniform(weight: Tensor, generator: torch.Generator) -> None:
    """Variance 1 / inputs."""
    weight.copy_((torch.rand(weight.shape, generator=generator) * 2 - 1) * (3 / weight.shape[1]) ** 0.5)


@dataclass(frozen=True)
class Role:
    """The role of a parameter: optimizer and initialisation."""

    optimizer: Literal["muon", "adamw"]
    initialise: Callable[[Tensor, torch.Generator], None]


MATRIX = Role("muon", _uniform)
OUTPUT_MATRIX = Role("muon", _zeros)  # output of attention or feed-forward: each block starts as the identity
EMBEDDING = Role("adamw", _normal)
POSITIONS = Role("adamw", _uniform)
HEAD = Role("adamw", _zeros)
NORM = Role("adamw", _ones)
BIAS = Role("adamw", _zeros)


def roles_of(module: nn.Module) -> dict[str, Role]:
    """The role of each parameter of a module, by its name, in the order of `named_parameters`."""
    owners = dict(module.named_modules())
    named = (name.rpartition(".") for name, _ in module.named_parameters())
    return {f"{owner}.{name}" if owner else name: owners[owner].roles[name] for owner, _, name in named}


def matrices_of(module: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that Muon trains, by name."""
    roles = roles_of(module)
    return {name: each for name, each in module.named_parameters() if roles[name].optimizer == "muon"}


@torch.no_grad()
def initialise(module: nn.Module, seed: int) -> None:
    """Fill the parameters of a module from a seed, the same on every device."""
    generator = torch.Generator().manual_seed(seed)
    roles = roles_of(module)
    for name, weight in module.named_parameters():
        roles[name].initialise(weight, generator)
