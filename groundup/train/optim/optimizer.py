"""Muon for the parameters whose modules declare it, AdamW for the rest, and the schedule of their rates."""

from typing import Any

import torch
from torch import Tensor, nn

from groundup.config.derived import Schedule
from groundup.model.parameters import matrices_of
from groundup.train.distributed.mesh import ProcessMesh
from groundup.train.optim.matrix_owners import MatrixShardOwners
from groundup.train.optim.muon import Muon


def factor(schedule: Schedule, step: int, steps: int) -> float:
    """The factor of the rates at a step: warm-up, stable, decay (arXiv:2404.06395).

    It rises linearly over the first `warmup` fraction of the steps, stays at 1, and falls linearly to zero over the
    last `decay` fraction.
    """
    rising, falling = schedule.warmup * steps, schedule.decay * steps
    return min(1.0, (step + 1) / rising if rising else 1.0, (steps - step) / falling if falling else 1.0)


class Optimizer:
    """Muon and torch's AdamW (arXiv:1711.05101) over the parameters of a module that get gradients, with one schedule.

    AdamW alone, with weight decay on matrices, where the schedule says so. Owners update sharded matrices. Muon
    multiplies in `precision`.
    """

    def __init__(
        self,
        module: nn.Module,
        schedule: Schedule,
        steps: int,
        mesh: ProcessMesh,
        precision: torch.dtype = torch.bfloat16,
    ):
        self.schedule, self.steps = schedule, steps
        self.named = {name: each for name, each in module.named_parameters() if each.requires_grad}
        matrices = {name: each for name, each in matrices_of(module).items() if name in self.named}
        others = [parameter for name, parameter in self.named.items() if name not in matrices]
        groups: list[dict[str, Any]] = [{"params": others, "weight_decay": 0.0}]
        if schedule.optimizer != "muon" and matrices:
            groups.append({"params": list(matrices.values()), "weight_decay": schedule.weight_decay})
            matrices = {}
        self.owners = MatrixShardOwners(matrices, mesh)
        self.muon = Muon(self.owners.full, schedule.weight_decay, precision)
        self.adamw = torch.optim.AdamW(groups, lr=schedule.adamw_lr, betas=(0.9, 0.95), eps=1e-10)

    def factor(self, step: int) -> float:
        """The schedule's factor at a step, 0 to 1."""
        return factor(self.schedule, step, self.steps)

    def step(self, step: int) -> None:
        """Update every parameter from its gradient and clear the gradients; every process must call it."""
        self._update(self.factor(step))

    def _update(self, factor: float) -> None:
        for group in self.adamw.param_groups:
            group["lr"] = self.schedule.adamw_lr * factor
        with self.owners.gathered():
            self.muon.step(self.schedule.muon_lr * factor)
        self.adamw.step()
        for parameter in [*self.named.values(), *self.owners.full.values()]:
            parameter.grad = None

    def state(self) -> dict[str, Tensor]:
        """The state tensors that this process holds, named `<parameter>/<part>`; AdamW's step counts included."""
        momentum = {f"{name}/momentum": value for name, value in self.muon.state().items()}
        moments = {
            f"{name}/{part}": value
            for name, each in self.named.items()
            for part, value in self.adamw.state.get(each, {}).items()
        }
        return momentum | moments

    def prepare(self, step: int) -> None:
        """Create every state tensor (the same at each step), to read a checkpoint into, by an update at rate zero."""
        for parameter in self.named.values():
            parameter.grad = torch.zeros_like(parameter)
        self._update(0.0)
