"""Estimates the training time of a recipe on this device, by timing two models with few of its layers."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from groundup.config.derived import Schedule, schedules
from groundup.config.recipe import Recipe
from groundup.device import Device, free_memory
from groundup.kernels.dense_attention import dense_attention
from groundup.model import cost
from groundup.model.config import ModelConfig
from groundup.model.transformer import Transformer
from groundup.train import memory
from groundup.train.distributed.mesh import ProcessMesh
from groundup.train.grid import random_batch
from groundup.train.loss_module import LossModule, tensors
from groundup.train.optim.optimizer import Optimizer

SCHEDULE = Schedule(1, 1, muon_lr=0.0, adamw_lr=0.0, weight_decay=0.0, clip=1.0, warmup=0.0, decay=0.0)
TOKENS = 512  # of a timed forward, in whole rows
PATIENCE = 5.0  # most seconds for timing; a slower model has no estimate


@dataclass(frozen=True)
class Seconds:
    """Seconds of a forward and backward pass for each token, and of an optimizer update for each batch."""

    token: float
    update: float


def training_seconds(recipe: Recipe, config: ModelConfig, device: Device) -> float | None:
    """Seconds of all training stages in eager code, without the vision encoder; None for a model too large to time."""
    precision = device.precision(recipe.model.precision)
    config = replace(config, context=recipe.model.context)  # of the rows
    largest = _layers(config, 2)
    work = 4 * max(TOKENS, config.context) * cost.training_flops(largest)
    if 24 * cost.total(largest) > free_memory() or work / device.matrix_peak(precision) > PATIENCE:
        return None
    one, two = (timed(_layers(config, depth), precision, device) for depth in (1, 2))
    token, update = (
        first + (config.depth - 1) * max(0.0, second - first)
        for first, second in ((one.token, two.token), (one.update, two.update))
    )
    return sum(
        stage.tokens * token + schedule.steps(stage.tokens, config.context) * update
        for stage, (schedule, _) in zip(recipe.stage, schedules(recipe), strict=True)
    )


def training_memory(recipe: Recipe, config: ModelConfig, device: Device) -> dict[str, int]:
    """Predicted peak bytes of each training stage on one process, beside what the program itself needs."""
    with torch.device("meta"):
        model = Transformer(config, device.precision(recipe.model.precision)).train()
    found: dict[str, int] = {}
    known: dict[tuple[object, ...], int] = {}
    for stage, (schedule, _) in zip(recipe.stage, schedules(recipe), strict=True):
        context = recipe.model.context
        model.recompute = stage.recompute
        if device.compiles and context <= device.dense_attention_length:
            model.attend = dense_attention
        size = max(1, schedule.micro_tokens // context), context
        saves = schedule.steps(stage.tokens, context) > stage.checkpoint_steps
        muon = schedule.optimizer == "muon"
        case = (size, saves, schedule.blocks, muon, stage.recompute)
        if case not in known:
            known[case] = memory.predict(model, size, ProcessMesh(), device, saves, schedule.blocks, muon)
        found[stage.title] = known[case]
    return found


def timed(config: ModelConfig, precision: torch.dtype, device: Device) -> Seconds:
    """Build a model and time two training steps on random ids; the second one counts."""
    with device.handle:
        model = Transformer(config, precision).train()
    learner = LossModule(model.initialise(0))
    rows = max(1, TOKENS // config.context)
    inputs = tensors(random_batch(rows, config.context, config.vocab), device.handle)
    optimizer = Optimizer(learner, SCHEDULE, 1, ProcessMesh(), device.precision("auto"))
    for _ in range(2):
        passed = _once(lambda: learner(inputs).backward(), device)
        updated = _once(lambda: optimizer.step(0), device)
    return Seconds(passed / (rows * config.context), updated)


def _layers(config: ModelConfig, depth: int) -> ModelConfig:
    """The config with so many layers, and without image inputs."""
    return replace(config, depth=depth, patch=0, patches=0, classes=(), tower=None, rotated=False)


def _once(work: Callable[[], object], device: Device) -> float:
    device.synchronise()
    began = time.perf_counter()
    work()
    device.synchronise()
    return time.perf_counter() - began
