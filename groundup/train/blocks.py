"""Block-coordinate descent (BAdam, arXiv:2404.02827): every parameter trains, one block of them at a time.

All weights lie in bf16. The active block alone has fp32 master weights, gradients and optimiser state; the backward
pass ends at its lowest layer. When a block is left, its masters are rounded stochastically to bf16, so that in the mean
no update is lost, however small beside its weight, and no remainder has to be kept.
Shapes: V rows of a table, R of them active, D width.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from random import Random

import torch
from torch import Tensor, nn

from groundup.config.derived import Schedule
from groundup.model.active_rows import ActiveRows, BlockOps
from groundup.model.config import ModelConfig
from groundup.model.transformer import Transformer
from groundup.train.distributed.mesh import ProcessMesh
from groundup.train.loss_module import LossModule
from groundup.train.optim.optimizer import Optimizer, factor

STORED = torch.bfloat16  # the weights outside the active block
EMBEDDING, HEAD = "model.embed_tokens", "lm_head"  # the tables, by their modules' names


@dataclass(frozen=True)
class Block:
    """The parameters of some modules, or rows of a table, by the names of modules in the transformer."""

    modules: tuple[str, ...] = ()
    table: str = ""
    rows: range = range(0)


def stored(config: ModelConfig, precision: torch.dtype, device: torch.device) -> Transformer:
    """A model of a config whose weights lie in bf16 and get no gradient; it never exists in fp32."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(STORED)
    try:
        with device:
            model = Transformer(config, precision)
    finally:
        torch.set_default_dtype(before)
    model.ops = BlockOps()
    return model.requires_grad_(False)


def partition(model: Transformer, count: int) -> list[Block]:
    """About `count` blocks, from the embedding to the head, each of 1/count of the parameters, or of one layer if more.

    The final norm goes with the last layers; a vision encoder is a block.
    """
    limit = math.ceil(sum(parameter.numel() for parameter in model.parameters()) / count)
    depth, largest = len(model.model.layers), max(map(_size, model.model.layers))
    groups = math.ceil(depth / max(1, limit // largest))
    ends = [depth * number // groups for number in range(groups + 1)]
    layers = [
        Block(tuple(f"model.layers.{layer}" for layer in range(start, end)) + ("model.norm",) * (end == depth))
        for start, end in pairwise(ends)
    ]
    tables = [EMBEDDING] if model.config.tied else [EMBEDDING, HEAD]
    slices = {name: list(_rows(name, model.get_submodule(name), max(limit, largest))) for name in tables}
    vision = [] if model.vision is None else [Block(("vision",))]
    return [*slices[EMBEDDING], *vision, *layers, *slices.get(HEAD, [])]


def _rows(name: str, table: nn.Module, limit: int) -> Iterator[Block]:
    """The rows of a table in equal blocks of at most `limit` weights."""
    rows, width = table.weight.shape  # type: ignore[misc]
    count = math.ceil(rows * width / limit)
    for number in range(count):
        yield Block(table=name, rows=range(rows * number // count, rows * (number + 1) // count))


def _size(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


class BlockOptimizer:
    """The optimiser of a model of `stored` that trains in blocks; which one is a pure function of (seed, step).

    Each block trains for `schedule.block_steps` steps; after all had their turn they come in another random order. An
    `Optimizer` is made for each turn. Nothing is sharded: every process computes the same update.
    """

    def __init__(
        self, learner: LossModule, schedule: Schedule, steps: int, seed: int, precision: torch.dtype = torch.bfloat16
    ):
        self.learner, self.schedule, self.steps = learner, schedule, steps
        self.precision, self.seed = precision, seed
        self.blocks = partition(learner.model, schedule.blocks)
        self.active: Block | None = None
        self.inner: Optimizer | None = None
        self.enter(self.at(0))

    def at(self, step: int) -> Block | None:
        """The block of a step; None after the last step."""
        if step >= self.steps:
            return None
        turn = step // self.schedule.block_steps
        cycle, place = divmod(turn, len(self.blocks))
        order = Random(f"{self.seed} {cycle}").sample(range(len(self.blocks)), len(self.blocks))
        return self.blocks[order[place]]

    def factor(self, step: int) -> float:
        """The schedule's factor at a step, 0 to 1."""
        return factor(self.schedule, step, self.steps)

    def step(self, step: int) -> None:
        """Update the active block from its gradients, clear them, and go on to the block of the next step."""
        assert self.inner is not None, "after the last step no block is active"
        self.inner.step(step)
        if self.learner.rows is not None:
            self.learner.rows.show()
        if (step + 1) % self.schedule.block_steps == 0 or step + 1 == self.steps:
            self.leave(torch.Generator().manual_seed(Random(f"{self.seed} {step}").getrandbits(63)))
            self.enter(self.at(step + 1))

    def state(self) -> dict[str, Tensor]:
        """The state tensors of the active block, as `Optimizer.state` names them."""
        return {} if self.inner is None else self.inner.state()

    def prepare(self, step: int) -> None:
        """Make the parameters and state tensors of a step, so that a checkpoint can be read into them."""
        self.leave(torch.Generator())  # of weights that are bf16 as yet: nothing is rounded
        self.enter(self.at(step))
        if self.inner is not None and step % self.schedule.block_steps:
            self.inner.prepare(step)

    def enter(self, block: Block | None) -> None:
        """Make masters and, for its turn, the optimiser of a block."""
        self.active = block
        if block is not None:
            activate(self.learner, block)
            self.inner = Optimizer(self.learner, self.schedule, self.steps, ProcessMesh(), self.precision)

    def each_kind(self) -> Iterator[Block]:
        """Activate a block of each kind for which code is compiled apart: rows of a table, first and last layers."""
        layers = [block for block in self.blocks if block.modules]
        for block in (self.blocks[0], layers[0], layers[-1]):
            self.leave(torch.Generator())
            self.enter(block)
            yield block
        self.prepare(0)

    def leave(self, generator: torch.Generator) -> None:
        """Round the active block's masters into the weights, and drop them with their state."""
        if self.active is not None:
            _release(self.learner, self.active, generator)
            self.active = self.inner = None


@torch.no_grad()
def activate(learner: LossModule, block: Block) -> None:
    """Make fp32 masters of a block's weights, which then get gradients."""
    if block.table:
        table = learner.model.get_submodule(block.table).weight
        assert isinstance(table, Tensor), "a table is a matrix"
        scores = learner.model.config.tied or block.table == HEAD
        learner.rows = ActiveRows(
            table, slice(block.rows.start, block.rows.stop), embeds=block.table == EMBEDDING, scores=scores
        )
        learner.model.ops.rows = learner.rows  # type: ignore[attr-defined]
    for module, name, weight in _parameters(learner.model, block):
        setattr(module, name, nn.Parameter(weight.float()))


@torch.no_grad()
def _release(learner: LossModule, block: Block, generator: torch.Generator) -> None:
    if learner.rows is not None:
        learner.rows.shown_RD.copy_(rounded(learner.rows.weight, generator))
        learner.rows = learner.model.ops.rows = None  # type: ignore[attr-defined]
    for module, name, weight in _parameters(learner.model, block):
        setattr(module, name, nn.Parameter(rounded(weight, generator), requires_grad=False))


def _parameters(model: Transformer, block: Block) -> Iterator[tuple[nn.Module, str, Tensor]]:
    """The parameters of a block's modules, each with its owner and its name there."""
    for name in block.modules:
        for module in model.get_submodule(name).modules():
            for each, parameter in list(module.named_parameters(recurse=False)):
                yield module, each, parameter.detach()


def rounded(weight: Tensor, generator: torch.Generator) -> Tensor:
    """bf16 of fp32 by stochastic rounding: up with the probability of what lies above, so that the mean is exact."""
    noise = torch.randint(1 << 16, weight.shape, dtype=torch.int32, generator=generator).to(weight.device)
    return (weight.detach().view(torch.int32) + noise).bitwise_and_(-1 << 16).view(torch.float32).to(STORED)
