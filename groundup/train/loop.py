"""The training loop: every training stage runs through it."""

import math
import signal
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from groundup.config.derived import Schedule
from groundup.config.preference import PreferencePart
from groundup.core.errors import InputError, Interrupted
from groundup.core.files import digest, sha256
from groundup.core.process import stoppable
from groundup.data.batches import Batch, Batches
from groundup.device import Device
from groundup.model import cost
from groundup.model.config import ModelConfig
from groundup.model.transformer import Transformer
from groundup.model.weights import files_of, fill, fill_tower, save_tensors
from groundup.train import checkpoint, memory
from groundup.train.blocks import STORED, BlockOptimizer, stored
from groundup.train.compiled import Checks, eagerly
from groundup.train.distributed.mesh import ProcessMesh, full_tensor, local, shard
from groundup.train.log import Log, Record
from groundup.train.loss_module import LossModule, speed_up, tensors
from groundup.train.optim.optimizer import Optimizer
from groundup.train.preference_loss import PreferenceLoss, reference_of
from groundup.train.result import TrainingResult

VERSION = 2  # raised when the same rows and schedule give other weights
FEW = 16  # batches among which the first one with a target is searched, for the check of compiled code

CHECKPOINTS, WEIGHTS = "checkpoints", "model.safetensors"  # in a stage's folder


@dataclass(frozen=True)
class TrainingConfig:
    """All inputs of one training stage."""

    title: str
    model: ModelConfig
    start: Path | None  # folder of the initial weights; None: from the seed
    seed: int
    batches: Batches
    heldout: dict[str, list[Batch]]  # by source
    steps: int
    schedule: Schedule
    precision: torch.dtype
    recompute: bool
    checkpoint_steps: int
    keep: int
    sample_steps: int
    validate_steps: int
    end: int  # id that ends a text, for config.json
    folder: Path
    tower: Path | None = None  # folder of the pretrained vision tower
    preference: PreferencePart | None = None  # the loss over pairs; None: of the next token

    @property
    def in_blocks(self) -> bool:
        """Whether one block of the parameters trains at a time."""
        return self.schedule.blocks > 1

    @property
    def has_reference(self) -> bool:
        """Whether the loss compares with the initial weights."""
        return self.preference is not None and self.preference.compares

    @property
    def fingerprint(self) -> str:
        """The fingerprint that a checkpoint must share: data, config, schedule, length, seed, initial weights."""
        start = [sha256(file) for folder in (self.start, self.tower) if folder is not None for file in files_of(folder)]
        return digest(
            [
                self.batches.fingerprint,
                self.model.as_dict(),
                self.schedule.as_dict(),
                self.steps,
                self.seed,
                str(self.precision),
                start,
                *([] if self.preference is None else [self.preference.non_defaults()]),
            ]
        )


class Callbacks(Protocol):
    """Callbacks of training."""

    def note(self, text: str) -> None:
        """One sentence for the user."""

    def begin(self, done: int) -> None:
        """Training starts after so many finished steps."""

    def step(self, record: dict[str, Any]) -> None:
        """One step is done."""

    def sample(self, model: Transformer, step: int) -> list[dict[str, str]]:
        """Sample from the model; returns prompts and texts for the record."""


class Trainer:
    """Trains one stage, from its newest checkpoint if there is one, to its final weights."""

    def __init__(self, job: TrainingConfig, device: Device, mesh: ProcessMesh, watch: Callbacks):
        self.job, self.device, self.mesh, self.watch = job, device, mesh, watch
        self.memory_growth = device.memory_growth()
        self.model = _model(job, device).initialise(job.seed).train()
        fingerprint = job.fingerprint
        self.last = checkpoint.ended(job.folder / CHECKPOINTS, fingerprint, job.folder / WEIGHTS, mesh)
        if self.last is not None:
            fill(self.model, job.folder)
        elif job.start is not None:
            fill(self.model, job.start)
        elif job.tower is not None and self.model.vision is not None and self.model.vision.tower is not None:
            fill_tower(self.model.vision.tower, job.tower)
        self.model.recompute = job.recompute
        self.compiled = speed_up(self.model, device, job.batches.context)
        self.learner = self._learner()
        self.optimizer: Optimizer | BlockOptimizer
        if job.in_blocks:
            self.optimizer = BlockOptimizer(self.learner, job.schedule, job.steps, job.seed, device.precision("auto"))
        else:
            shard(self.learner, mesh)
            self.optimizer = Optimizer(self.learner, job.schedule, job.steps, mesh, device.precision("auto"))
        self.checks = Checks(self.learner, device, mesh)
        self.saver = checkpoint.Saver(job.folder / CHECKPOINTS, fingerprint, mesh, job.keep, not job.in_blocks)
        self.micro_rows = max(1, job.schedule.micro_tokens // job.batches.context)
        self.peak = device.matrix_peak(job.precision)
        self.log = Log(job.folder / "metrics.jsonl")
        self.ahead = Prefetcher(job.batches, job.steps)
        self.heldout = {name: batches for name, batches in job.heldout.items() if any(batch.count for batch in batches)}
        for name in sorted(job.heldout.keys() - self.heldout):
            watch.note(
                f"{job.title}: warning: source {name!r} has no supervised token in its held-out part, so it has no"
                " held-out loss"
            )

    def _learner(self) -> LossModule:
        """The model with its loss; over preference pairs it is compared with the initial weights."""
        job, reference = self.job, None
        if job.preference is None:
            return LossModule(self.model)
        if job.has_reference:
            assert job.start is not None, "a recipe whose stage prefers has weights to start from"
            with self.device.handle:
                reference = Transformer(job.model, job.precision)
            fill(reference, job.start)
            speed_up(reference_of(reference), self.device, job.batches.context)
        return PreferenceLoss(self.model, job.preference, reference)

    def run(self) -> TrainingResult:
        """Train to the end and write the final weights.

        Raises InputError for no training data, a loss that is not finite or a full disk; Interrupted on Ctrl-C (saved).
        """
        job = self.job
        job.batches.require_lessons()
        job.folder.mkdir(parents=True, exist_ok=True)
        predicted = memory.predict(
            self.model, (self.micro_rows, job.batches.context), self.mesh, self.device,
            job.steps > job.checkpoint_steps, job.schedule.blocks, job.schedule.optimizer == "muon", job.has_reference
        )  # fmt: skip
        self.watch.note(f"{job.title}: predicted peak memory {predicted / 2**20:,.0f} MiB, without the program itself")
        if self.compiled:
            self._check_compiled()  # on the first batch and initial weights, so that a resumed run gets the same result
        done = self._resume()
        self.watch.begin(done)
        start = time.perf_counter()
        with stoppable(signal.SIGINT, signal.SIGTERM) as stopped:
            for step in range(done, job.steps):
                self._record(step, self._update(step))
                if self._keep(step + 1, stopped()):
                    raise Interrupted(
                        f"{job.title}: stopped after step {step + 1}; the same command resumes from there"
                    )
        self.saver.finish()
        seconds = time.perf_counter() - start
        records = self.log.records()
        loss = self._last_loss(records)
        if self.last is None:
            self._end(records[-1:])
        return self._outcome(seconds, predicted, loss, records)

    def _end(self, last: list[Record]) -> None:
        """Write the final weights, then record that with the log's last record: killed later, no step is retrained."""
        self._write_weights()
        self._sync_log()
        if self.mesh.is_main:
            checkpoint.end(self.saver.folder, self.saver.fingerprint, self.job.folder / WEIGHTS, last)
        self.mesh.barrier()

    def _outcome(self, seconds: float, predicted: int, loss: float | None, records: list[Record]) -> TrainingResult:
        """The result of the whole training, from its log; records lost in a crash count as the mean of the others."""
        job, speeds = self.job, records[2:] or records
        heldout, figures = self._validate()
        return TrainingResult(
            parameters=cost.parameters(job.model),
            steps=job.steps,
            tokens=job.steps * job.batches.rows * job.batches.context,
            flops=sum(record["flops"] for record in records) * (job.steps / max(1, len(records))),
            loss=loss,
            heldout=heldout,
            heldout_figures=figures,
            seconds=seconds,
            tokens_per_second=_median([record["tokens_per_second"] for record in speeds]),
            share_of_peak=_median([record["share_of_peak"] for record in speeds]),
            predicted_memory=predicted,
            peak_memory=self.memory_growth(),
        )

    def _last_loss(self, records: list[Record]) -> float | None:
        """The last step's loss that is not None, None if a crash lost all records; notes steps without a target.

        Raises InputError if no step had a target.
        """
        losses = [record["loss"] for record in records if record["loss"] is not None]
        if records and not losses:
            raise InputError(
                f"{self.job.title}: none of its {len(records)} steps had a supervised token; train longer, or on"
                " other data"
            )
        if missing := len(records) - len(losses):
            self.watch.note(
                f"{self.job.title}: warning: {missing:,} of {len(records):,} steps had no supervised token, so"
                " they have no loss"
            )
        return losses[-1] if losses else None

    def _keep(self, step: int, asked: bool) -> bool:
        """Save a checkpoint if one is due or a process got a stop signal; return whether to stop."""
        stop, writing = self.mesh.any_reduce(asked, self.saver.writing)
        if not writing:
            self.saver.finish()
        if stop or (step % self.job.checkpoint_steps == 0 and step < self.job.steps):
            self._sync_log()
            self.saver.save(step, self._tensors())
        if stop:
            self.saver.finish()
        return stop

    def _resume(self) -> int:
        """Restore the final weights or newest undamaged checkpoint of an earlier run, if any; return the steps done."""
        self.saver.clear()
        if self.last is not None:
            self._keep_log(self.job.steps)
            return self.job.steps
        found = checkpoint.newest(self.saver.folder, self.saver.fingerprint, self.mesh, self.watch.note)
        if found is None:
            self._keep_log(0)
            return 0
        self.optimizer.prepare(found.step)
        checkpoint.read_into(found, self._tensors(), self.mesh)
        self._keep_log(found.step)
        self.watch.note(f"{self.job.title}: resuming from step {found.step}")
        return found.step

    def _check_compiled(self) -> None:
        """Compare compiled with eager code on the first batch of each shape; shapes that differ run eager."""
        began = time.perf_counter()
        self.watch.note(f"{self.job.title}: compiling for each shape of batches, held-out ones too")
        with torch.no_grad():
            found = self.checks.run(batch for batches in self.heldout.values() for batch in batches)
        kinds = self.optimizer.each_kind() if isinstance(self.optimizer, BlockOptimizer) else (None,)
        for _ in kinds:
            found += self.checks.run(self._micro(self._first()))
        for each in found:
            if not each.right:
                self.watch.note(
                    f"{self.job.title}: warning: compiled code is wrong for batches of {each}; such batches run eager,"
                    " more slowly"
                )
        self.watch.note(
            f"{self.job.title}: compiled code checked against eager on {len(found)} shapes in"
            f" {time.perf_counter() - began:.1f} s, {self.checks.eager_seconds:.1f} s of them eager, most of the rest"
            f" compiling; {len(self.checks.eager)} differ"
        )

    def _first(self) -> Batch:
        """The first batch with a target, among the first `FEW`."""
        few = (self.job.batches[step] for step in range(min(self.job.steps, FEW)))
        return next((batch for batch in few if batch.count), self.job.batches[0])

    def _micro(self, batch: Batch) -> list[Batch]:
        """This process's micro-batches of a batch, one forward each."""
        return batch.part(self.mesh.rank, self.mesh.size).micro(self.micro_rows)

    def _update(self, step: int) -> dict[str, Any]:
        """One optimiser step over a global batch; returns loss (None without targets), norm and seconds."""
        began = time.perf_counter()
        batch = self.ahead[step]
        waited = time.perf_counter() - began
        mean, norm, figures = self._gradients(batch)
        if not math.isfinite(mean + norm):
            self.saver.finish()
            raise InputError(self._not_finite(step, batch, mean, norm))
        self.optimizer.step(step)
        patches = batch.patches
        seconds = time.perf_counter() - began
        return {
            "loss": mean if batch.count else None,
            "norm": norm,
            "waited": waited,
            "seconds": seconds,
            "patches": patches,
            "figures": figures,
        }

    def _gradients(self, batch: Batch) -> tuple[float, float, dict[str, float]]:
        """Accumulate and clip the gradients of a global batch.

        Returns its mean loss, the norm before clipping, and the means of the loss module's figures.
        """
        count = max(batch.count, 1.0)
        total = torch.zeros((), device=self.device.handle)
        sums: dict[str, Tensor] = {}
        for micro in self._micro(batch):
            with self.checks.of(micro):
                loss = self.learner(tensors(micro, self.device.handle))
            (loss * (self.mesh.size / count)).backward()
            total += loss.detach()
            _add(sums, self.learner.figures)
        self.mesh.average_gradients(self.learner.parameters())
        mean = self.mesh.all_reduce(total).item() / count
        figures = {name: self.mesh.all_reduce(each).item() / count for name, each in sums.items()}
        norm = torch.nn.utils.clip_grad_norm_(self.learner.parameters(), self.job.schedule.clip)
        return mean, full_tensor(norm).item(), figures

    def _not_finite(self, step: int, batch: Batch, mean: float, norm: float) -> str:
        """The cause of a non-finite loss or gradient, by an eager rerun: compiler, initial weights or rates."""
        found = f"{self.job.title}: the loss is {mean} and the gradient's norm {norm} at step {step + 1}"
        for parameter in self.learner.parameters():
            parameter.grad = None
        with eagerly():
            again = self._gradients(batch)[:2] if self.compiled else (mean, norm)
        if math.isfinite(sum(again)):
            return (
                f"{found}, where eager code has {again[0]:.3f} and {again[1]:.3g}: the compiler is at fault, not the"
                " recipe; set TORCH_COMPILE_DISABLE=1 to train eager, or CXX to another compiler; checkpoints before"
                " it are kept"
            )
        if step == 0:
            return f"{found}, before any update, so no rate is the cause: {self._cause()}"
        return (
            f"{found}; lower muon_lr or adamw_lr (now {self.job.schedule.muon_lr:g} and"
            f" {self.job.schedule.adamw_lr:g}) or raise warmup; checkpoints before it are kept"
        )

    def _cause(self) -> str:
        """The cause if the first step fails: initial weights that are not finite, or an overflow of the precision."""
        for name, parameter in self.learner.named_parameters():
            if not local(parameter.detach()).isfinite().all():
                return (
                    f"{name} of {self.job.start or self.job.tower or 'the start'} holds what is no number; begin with"
                    " other weights"
                )
        return 'the numbers do not fit the precision; set model.precision = "fp32", or begin with other weights'

    def _record(self, step: int, values: dict[str, float]) -> None:
        tokens = self.job.batches.rows * self.job.batches.context
        speed = tokens / values["seconds"]
        flops: float = tokens * cost.training_flops(self.job.model, self.job.batches.context)
        flops += 3 * values["patches"] * cost.image_flops(self.job.model, self.job.model.patches)
        record: dict[str, Any] = {
            "step": step + 1,
            "tokens": (step + 1) * tokens,
            "loss": values["loss"],
            "norm": values["norm"],
            "rate": self.job.schedule.muon_lr * self.optimizer.factor(step),
            "tokens_per_second": speed,
            "flops": flops,
            "share_of_peak": flops / values["seconds"] / self.peak / self.mesh.size,
            "waited": values["waited"] / values["seconds"],
        }
        record |= {"figures": values["figures"]} if values["figures"] else {}
        if _due(step + 1, self.job.validate_steps):
            record |= self._heldout_record()
        if _due(step + 1, self.job.sample_steps) and self.mesh.device_mesh is None:
            record["samples"] = self._sample(step + 1)
        if self.mesh.is_main:
            self.log.add(record)
        self.watch.step(record)

    def _sample(self, step: int) -> list[dict[str, str]]:
        self.model.eval()
        with eagerly():  # each new length would be compiled again
            samples = self.watch.sample(self.model, step)
        self.model.train()
        return samples

    def _heldout_record(self) -> dict[str, Any]:
        losses, figures = self._validate()
        return {"heldout": losses} | ({"heldout_figures": figures} if any(figures.values()) else {})

    @torch.no_grad()
    def _validate(self) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
        """Held-out loss, in nats a token or a pair, and the figures beside it, by source.

        Every process computes all of it, as the sets are small.
        """
        losses, figures = {}, {}
        for source, batches in self.heldout.items():
            total, count = 0.0, sum(batch.count for batch in batches)
            sums: dict[str, Tensor] = {}
            for batch in batches:
                with self.checks.of(batch):
                    total += self.learner(tensors(batch, self.device.handle)).item()
                _add(sums, self.learner.figures)
            losses[source] = total / count
            figures[source] = {name: each.item() / count for name, each in sums.items()}
        return losses, figures

    def _tensors(self) -> dict[str, Tensor]:
        if self.job.in_blocks and not self.mesh.is_main:
            return {}  # every process holds the same
        weights = {f"model/{name}": parameter for name, parameter in self.learner.named_parameters()}
        return weights | {f"optimizer/{name}": value for name, value in self.optimizer.state().items()}

    def _write_weights(self) -> None:
        gathered = {
            name.removeprefix("model."): full_tensor(value).cpu() for name, value in self.learner.named_parameters()
        }
        if self.mesh.is_main:
            dtype = STORED if self.job.in_blocks else torch.float32
            save_tensors(self.job.model, gathered, self.job.folder, self.job.end, dtype)
        self.mesh.barrier()

    def _sync_log(self) -> None:
        if self.mesh.is_main:
            self.log.sync()

    def _keep_log(self, steps: int) -> None:
        """Keep the records of the first steps, and at the end that of the last one, should a power cut have lost it."""
        if self.mesh.is_main:
            self.log.repair(steps, self.watch.note, self.last or [])
        self.mesh.barrier()


class Prefetcher:
    """Prefetches batches: a thread prepares each batch, a pure function of the step, during the step before it."""

    def __init__(self, batches: Batches, steps: int):
        self.batches, self.steps = batches, steps
        self._maker = ThreadPoolExecutor(1)
        self._made: tuple[int, Future[Batch]] | None = None

    def __getitem__(self, step: int) -> Batch:
        """The batch of a step; starts to prepare the next one."""
        number, made = self._made or (-1, None)
        batch = made.result() if made is not None and number == step else self.batches[step]
        self._made = (
            (step + 1, self._maker.submit(self.batches.__getitem__, step + 1)) if step + 1 < self.steps else None
        )
        return batch


def _model(job: TrainingConfig, device: Device) -> Transformer:
    """The model with its initial weights still to come."""
    if job.in_blocks:
        return stored(job.model, job.precision, device.handle)
    with device.handle:  # built where it stays: moving it would untie tied weights on some devices
        return Transformer(job.model, job.precision)


def _add(sums: dict[str, Tensor], figures: dict[str, Tensor]) -> None:
    """Add the figures of one forward."""
    for name, figure in figures.items():
        sums[name] = sums[name] + figure if name in sums else figure


def _due(step: int, every: int) -> bool:
    return bool(every) and step % every == 0


def _median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2] if values else 0.0
