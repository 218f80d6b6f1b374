"""Checks compiled against eager code (loss and gradients) for each shape of a batch, before training uses it."""

import math
import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch

from groundup.data.batches import Batch
from groundup.device import Device
from groundup.train.distributed.mesh import ProcessMesh, local
from groundup.train.loss_module import LossModule, tensors

PIECES = 4  # forwards of a batch in eager code, which stores more activations than compiled code
# Compiled code keeps in fp32 what eager code rounds to bf16, and sums in another order. In bf16, gradients of queries
# and keys (sums with cancellation) differ by 3.5 % of their norm in two layers and 5 % in eight, as independent errors
# grow with the root of the depth; in fp32 by 4e-6 (`groundup doctor`). A wrongly transposed tile gives 100 %.
ROUNDING = {torch.bfloat16: 0.08, torch.float32: 1e-4}
SMALL = 1e-3  # of the norm of all gradients: below it a parameter's gradient may be rounding

Sizes = tuple[Any, ...]


@dataclass(frozen=True)
class Difference:
    """Relative difference of compiled and eager code on a batch: of the loss, and of the worst parameter's gradient."""

    batch: str
    loss: float
    gradient: float
    parameter: str
    limit: float

    @property
    def right(self) -> bool:
        """Whether rounding can explain the difference; False for NaN."""
        return self.loss <= self.limit and self.gradient <= self.limit

    def __str__(self) -> str:
        gradient = f" and the gradient of {self.parameter} by {self.gradient:.2g}" if self.parameter else ""
        return (
            f"{self.batch}: the loss differs by {self.loss:.2g}{gradient} of its size; rounding explains"
            f" {self.limit:.2g}"
        )


class Checks:
    """Which shapes of batches may use compiled code."""

    def __init__(self, learner: LossModule, device: Device, mesh: ProcessMesh):
        self.learner, self.device, self.mesh = learner, device, mesh
        self.eager: set[Sizes] = set()
        self.eager_seconds = 0.0

    @property
    def parameters(self) -> dict[str, torch.nn.Parameter]:
        """The parameters, by name; training in blocks changes them."""
        return dict(self.learner.named_parameters())

    def of(self, batch: Batch) -> AbstractContextManager[Any]:
        """The context in which to run a batch: eager if compiled code is wrong for its shape."""
        return eagerly() if _sizes(batch) in self.eager else nullcontext()

    def run(self, batches: Iterable[Batch]) -> list[Difference]:
        """Compare compiled with eager code on the first batch of each shape: loss, and gradients if enabled.

        Zero weights would hide errors, so they are noise meanwhile; weights, gradients and random states are restored.
        All processes must call it with batches of the same shapes; a shape that fails on one runs eagerly on all.
        """
        firsts: dict[Sizes, Batch] = {}
        for batch in batches:
            firsts.setdefault(_sizes(batch), batch)
        found = []
        with _noise(self.parameters.values()):
            for sizes, batch in firsts.items():
                found.append(self._compare(batch))
                if any(self.mesh.any_reduce(not found[-1].right)):
                    self.eager.add(sizes)
        return found

    def _compare(self, batch: Batch) -> Difference:
        """The difference on one batch: the compiled gradient is negated and the eager one accumulated on it."""
        began = time.perf_counter()
        with eagerly():
            expected = sum(self._pass(piece, 1.0) for piece in batch.micro(-(-len(batch.ids) // PIECES)))
        self.eager_seconds += time.perf_counter() - began
        sizes = self._norms()
        loss = -self._pass(batch, -1.0)
        left = self._norms()
        for parameter in self.parameters.values():
            parameter.grad = None
        whole = math.hypot(*sizes.values())
        parts = {name: _part(left[name], max(size, SMALL * whole)) for name, size in sizes.items()}
        worst = max(parts, key=lambda name: math.inf if math.isnan(parts[name]) else parts[name], default="")
        told = " x ".join(map(str, batch.ids.shape)) + (" tokens" if torch.is_grad_enabled() else " tokens, held out")
        if not math.isfinite(expected + whole):  # nothing to compare with; not an error of the compiler
            return Difference(told, 0.0, 0.0, "", self._limit)
        return Difference(told, _part(abs(loss - expected), abs(expected)), parts.get(worst, 0.0), worst, self._limit)

    @property
    def _limit(self) -> float:
        model = self.learner.model
        return ROUNDING[model.precision] * math.sqrt(1 + model.config.depth / 2)

    def _pass(self, batch: Batch, sign: float) -> float:
        loss = sign * self.learner(tensors(batch, self.device.handle))
        if torch.is_grad_enabled():
            loss.backward()
        return float(loss.detach().item())

    def _norms(self) -> dict[str, float]:
        """Norms of this process's slices of the gradients, by parameter."""
        return {
            name: local(each.grad).float().norm().item()
            for name, each in self.parameters.items()
            if each.grad is not None
        }


def eagerly() -> AbstractContextManager[Any]:
    """A context in which nothing is compiled and no compiled code runs."""
    return torch.compiler.set_stance("force_eager")


def _sizes(batch: Batch) -> Sizes:
    """The sizes in a batch on which a compilation depends."""
    return batch.ids.shape, None if batch.selected is None else batch.selected.shape, torch.is_grad_enabled()


def _part(error: float, size: float) -> float:
    return error / size if size else (0.0 if error == 0 else math.inf)


@contextmanager
def _noise(parameters: Iterable[torch.nn.Parameter]) -> Iterator[None]:
    """Fill parameters that are all zero with noise from a fixed seed; zero them again at the end."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        zeros = [weight for parameter in parameters if not (weight := local(parameter.data)).any()]
        for weight in zeros:
            weight.copy_(0.02 * torch.randn(weight.shape, generator=generator))
    try:
        yield
    finally:
        with torch.no_grad():
            for weight in zeros:
                weight.zero_()
