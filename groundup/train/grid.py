"""Compares compiled with eager code on a grid of shapes, for `groundup doctor`."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from groundup.data.batches import Batch
from groundup.device import Device
from groundup.model.config import ModelConfig
from groundup.model.transformer import Transformer
from groundup.train.compiled import Checks, Difference
from groundup.train.distributed.mesh import ProcessMesh
from groundup.train.loss_module import LossModule, speed_up

VOCAB = 512


@dataclass(frozen=True)
class Cell:
    """A model and a batch: sizes that decide how code is vectorised and tiled."""

    depth: int
    width: int
    heads: int
    kv_heads: int
    head_dim: int
    context: int
    rows: int

    def __str__(self) -> str:
        heads = f"{self.heads}/{self.kv_heads} heads of {self.head_dim}"
        return f"depth {self.depth}, width {self.width}, {heads}, {self.rows} x {self.context} tokens"

    @property
    def config(self) -> ModelConfig:
        """The config of the model."""
        return ModelConfig(
            depth=self.depth,
            width=self.width,
            heads=self.heads,
            kv_heads=self.kv_heads,
            head_dim=self.head_dim,
            ffn=3 * self.width,
            vocab=VOCAB,
            context=self.context,
        )


GRID = (
    Cell(2, 128, 2, 1, 64, 64, 32),
    Cell(2, 128, 2, 1, 64, 128, 32),  # a compiler failed here
    Cell(1, 64, 4, 4, 16, 100, 7),  # no whole tiles
    Cell(4, 256, 2, 1, 128, 256, 8),
    Cell(8, 192, 3, 3, 64, 512, 1),
    Cell(2, 256, 8, 2, 32, 1024, 2),
)


def precisions(device: Device) -> tuple[torch.dtype, ...]:
    """The machine's default precision, and bf16, in which compilers have failed."""
    return tuple(dict.fromkeys((device.precision("auto"), torch.bfloat16)))


def tried(device: Device) -> Iterator[tuple[str, Difference]]:
    """Yield a description of each cell and precision, and its difference if compiled; nothing without a compiler."""
    for precision in precisions(device):
        for cell in GRID:
            if (found := _try(cell, precision, device)) is None:
                return
            yield f"{str(precision).removeprefix('torch.')}, {cell}", found


def _try(cell: Cell, precision: torch.dtype, device: Device) -> Difference | None:
    torch._dynamo.reset()
    with device.handle:
        model = Transformer(cell.config, precision).train()
    model.initialise(0)
    if not speed_up(model, device, cell.context):
        return None
    return Checks(LossModule(model), device, ProcessMesh()).run([random_batch(cell.rows, cell.context, VOCAB)])[0]


def random_batch(rows: int, context: int, vocab: int) -> Batch:
    """Rows of three documents of random ids."""
    size = rows, context
    ids = np.random.default_rng(0).integers(0, vocab, size)
    columns, each = np.arange(context), -(-context // 3)
    zeros = np.zeros(size, np.int32)
    return Batch(
        ids=ids,
        targets=np.roll(ids, -1, 1),
        weights=np.ones(size, np.float32),
        segments=zeros + (columns // each).astype(np.int32),
        positions=np.broadcast_to(columns % each, size).copy(),
        blocks=zeros,
    )
