"""Muon for the parameters whose modules declare it, AdamW for the rest, and the schedule of their rates."""

import torch
from torch import Tensor, nn

from groundup.config.derived import Schedule
from groundup.model.parameters import matrices_of
from groundup.train.distributed.mesh import ProcessMesh
from groundup.train.optim.matrix_owners import MatrixShardOwners
from groundup.train.optim.muon import Muon


class Optimizer:
    """Muon and torch's AdamW (arXiv:1711.05101) over one module, with one schedule.

    Rates rise linearly over the first `warmup` fraction of the steps, stay constant, and fall linearly to zero over the
    last `decay` fraction (warm-up/stable/decay, arXiv:2404.06395). Sharded matrices are updated by their owners. Muon
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
        self.named = dict(module.named_parameters())
        matrices = matrices_of(module)
        others = [parameter for name, parameter in self.named.items() if name not in matrices]
        self.owners = MatrixShardOwners(matrices, mesh)
        self.muon = Muon(self.owners.full, schedule.weight_decay, precision)
        self.adamw = torch.optim.AdamW(others, lr=schedule.adamw_lr, betas=(0.9, 0.95), eps=1e-10, weight_decay=0.0)

    def factor(self, step: int) -> float:
        """The schedule's factor at a step, 0 to 1."""
        rising = self.schedule.warmup * self.steps
        falling = self.schedule.decay * self.steps
        return min(1.0, (step + 1) / rising if rising else 1.0, (self.steps - step) / falling if falling else 1.0)

    def step(self, step: int) -> None:
        """Update every parameter from its gradient and clear the gradients; every process must call it."""
        self._update(self.factor(step))

    def _update(self, factor: float) -> None:
        self.adamw.param_groups[0]["lr"] = self.schedule.adamw_lr * factor
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

    def prepare(self) -> None:
        """Create every state tensor, so that a checkpoint can be read into them, by a step at rate zero."""
        for parameter in self.named.values():
            parameter.grad = torch.zeros_like(parameter)
        self._update(0.0)
