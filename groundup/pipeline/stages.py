"""The work of each stage of a run: calls the function of a room on the run's folders."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from groundup.codecs import chat
from groundup.codecs.text import SPECIAL_TOKENS, VISION_TOKENS, Tokenizer
from groundup.codecs.tokenizer_files import TokenizerFiles, copy, files_of
from groundup.config.derived import Schedule
from groundup.config.load import RECIPE
from groundup.config.preference import PreferencePart
from groundup.config.recipe import Recipe
from groundup.config.training import StagePart
from groundup.core import console, ledger
from groundup.core.errors import InputError
from groundup.core.files import read_json, write_json
from groundup.core.tables import OBJECTIVES
from groundup.data import sample
from groundup.data.batches import Batches, heldout
from groundup.data.document import detection_classes, measured
from groundup.data.image_shards import FILES, ImageResolution
from groundup.data.prepare import write_documents
from groundup.data.results import DocumentsResult, ShardsResult, TokenizerResult
from groundup.data.shards import Shards, write_shards
from groundup.data.source import Source
from groundup.device import Device
from groundup.evaluate.runner import evaluate
from groundup.generate.engine import Engine
from groundup.kernels.cpu.matrix import Weights
from groundup.model.config import ModelConfig
from groundup.model.transformer import Transformer
from groundup.model.vision.tower import VisionTowerConfig
from groundup.model.weights import config_of
from groundup.release.lineage import UNSTATED
from groundup.release.report import ReportResult, write_report
from groundup.train.distributed.mesh import ProcessMesh
from groundup.train.loop import Trainer, TrainingConfig
from groundup.train.patch_objective import PatchObjective
from groundup.train.result import TrainingResult

LOG = "metrics.jsonl"  # the training log, one line for each step
SAMPLE_TOKENS = 32  # longest sample during training


@dataclass(frozen=True)
class StageContext:
    """The context of a run: its recipe, the recipe's folder, the run's folder, the device and the process mesh."""

    recipe: Recipe
    home: Path
    root: Path
    device: Device
    mesh: ProcessMesh
    events: bool = False  # TensorBoard event files as well
    # training calls it once it has read its files; raises InputError if they changed meanwhile
    loaded: Callable[[], None] = lambda: None

    def folder(self, stage: str) -> Path:
        """The folder of a stage."""
        return self.root / stage


@dataclass(frozen=True)
class Result:
    """The result of a stage, for the ledger."""

    outputs: list[str]
    metrics: Any  # the stage's typed result: a frozen dataclass
    flops: float = 0.0
    licences: dict[str, int] = field(default_factory=dict)
    logs: list[str] = field(default_factory=list)  # outputs that contain times


def remember(recipe: Recipe, home: Path, root: Path) -> None:
    """Write the recipe into the run's folder, once a stage begins or all are fresh; a refused run keeps the old one."""
    table = {"home": str(home.resolve()), "recipe": recipe.model_dump(mode="json")}
    with suppress(InputError, FileNotFoundError):
        if read_json(root / RECIPE) == table:
            return
    write_json(root / RECIPE, table)


def documents(context: StageContext, source: Source, before: tuple[str, ...]) -> Result:
    """Stage `documents`: raw files to documents; near duplicates keep the side of the split of an earlier stage."""
    folder = context.folder(f"documents-{source.name}")
    with console.progress(f"documents {source.name}", None, "documents") as advance:
        report = write_documents(
            source, context.home, folder, advance, [path for stage in before for path in _files(context.folder(stage))]
        )
    dropped = ", ".join(f"{count:,} {reason}" for reason, count in report.dropped.items()) or "none"
    console.note(f"  {report.documents:,} documents, {report.characters:,} characters; dropped: {dropped}")
    for what, count in report.recognised.items():
        console.note(f"  {count:,} {what}")
    if report.unread:
        console.note(f"  not read: {', '.join(map(repr, report.unread))}")
    for warning in report.warnings:
        console.warn(warning)
    return Result([path.name for path in _files(folder)], report, licences=report.licences)


def _files(folder: Path) -> list[Path]:
    """The documents files in a folder: that of a test part too, where there is one."""
    path = folder / "documents.parquet"
    return list(dict.fromkeys((path, measured(path))))


def tokenizer(context: StageContext, sources: list[str]) -> Result:
    """Stage `tokenizer`: documents to a vocabulary, or a given tokenizer."""
    part, folder = context.recipe.tokenizer, context.folder("tokenizer")
    if part.path is not None:  # a vocabulary for a model of ours; that of given weights comes with its template
        files = TokenizerFiles.read((context.home / part.path).expanduser())
        learned = Tokenizer.read(files.table, files.origin)
    elif context.recipe.model.start is not None:
        learned = Tokenizer.load((context.home / context.recipe.model.start).expanduser())
    else:
        tables = [context.folder(f"documents-{source}") / "documents.parquet" for source in sources]
        with console.progress("tokenizer", None, "documents") as advance:
            learned = sample.learn(
                tables,
                part.sample_megabytes,
                part.vocab_size,
                VISION_TOKENS if context.recipe.patch else SPECIAL_TOKENS,
                advance,
            )
        if learned.size < part.vocab_size:
            console.note(f"  the text supports {learned.size:,} ids of tokenizer.vocab_size = {part.vocab_size:,}")
    learned.save(folder)
    return Result([file.name for file in files_of(folder)], TokenizerResult(learned.size))


def shards(context: StageContext, source: str) -> Result:
    """Stage `shards`: documents to packed rows."""
    folder = context.folder(f"shards-{source}")
    table = context.folder(f"documents-{source}")
    total = _documents(context, source).documents
    with console.progress(f"shards {source}", total, "documents") as advance:
        codec, resolution = Tokenizer.load(context.folder("tokenizer")), _image_resolution(context.recipe)
        report = write_shards(
            table / "documents.parquet", codec, context.recipe.model.context, folder, advance, resolution
        )
    console.note(f"  {report.train.tokens:,} tokens in {report.train.rows:,} rows, {report.train.fill:.1%} full")
    if warning := cut_off(source, total, report, context.recipe.model.context):
        console.warn(warning)
    files = ("tokens.bin", "flags.bin", "shards.json", *(() if resolution is None else FILES))
    names = [f"{part}/{name}" for part in ("train", "heldout") for name in files]
    return Result(names, report)


def cut_off(source: str, total: int, report: ShardsResult, context: int) -> str | None:
    """Report a source's documents that did not fit the context. Raises InputError if nothing is left to train on."""
    remedy = f"raise model.context, to {report.longest:,} for all of them, or shorten them"
    if report.lost and not report.train.rows:
        raise InputError(
            f"source {source!r}: the context of {context:,} tokens truncates the answers of all conversations; {remedy}"
        )
    if not report.cut:
        return None
    without = f", {report.lost:,} of them all that is learnt from them, and are left out" if report.lost else ""
    return (
        f"source {source!r}: {report.cut:,} of {total:,} documents do not fit the context of {context:,} tokens and"
        f" lost their ends{without}; {remedy}"
    )


def _image_resolution(recipe: Recipe) -> ImageResolution | None:
    return ImageResolution(recipe.patch, recipe.model.patches) if recipe.patch else None


def _documents(context: StageContext, source: str) -> DocumentsResult:
    """The typed result of a source's stage `documents`."""
    manifest = ledger.read(context.folder(f"documents-{source}"))
    assert manifest is not None, "documents come before what is made of them"
    return manifest.result(DocumentsResult)


def _classes(context: StageContext, sources: list[str]) -> tuple[tuple[str, ...], bool]:
    """The classes of all detections in the images of some sources, and whether any box is rotated."""
    if not context.recipe.patch:
        return (), False
    return detection_classes(context.folder(f"documents-{name}") / "documents.parquet" for name in sources)


def pretrained_tower(recipe: Recipe, home: Path) -> tuple[Path | None, VisionTowerConfig | None]:
    """Folder and config of the recipe's vision tower. Raises InputError if it does not fit the recipe's patches."""
    if recipe.model.vision_tower is None:
        return None, None
    folder = (home / recipe.model.vision_tower).expanduser()
    tower = VisionTowerConfig.of(folder)
    if tower.patch_size != recipe.patch:
        raise InputError(
            f"{folder}: its patches have {tower.patch_size} pixels, but model.patch is {recipe.patch}; set it to"
            f" {tower.patch_size}"
        )
    return folder, tower


def planned_config(recipe: Recipe, home: Path) -> ModelConfig:
    """The model's config as far as it is known before documents are read: of given weights, or the recipe's."""
    if recipe.model.start is not None:
        return config_of((home / recipe.model.start).expanduser())
    tower = pretrained_tower(recipe, home)[1]
    return ModelConfig.of(recipe.model, recipe.tokenizer.vocab_size, recipe.patch, tower=tower)


def train(
    context: StageContext, stage: StagePart, schedule: Schedule, start: Path | None, sources: list[str]
) -> Result:
    """A training stage: packed rows to weights; `sources` are those of all training stages of the run."""
    recipe, folder, chosen = context.recipe, context.folder(stage.title), OBJECTIVES[stage.do]
    codec = Tokenizer.load(context.folder("tokenizer"))
    tower_folder, tower = (None, None) if start is not None else pretrained_tower(recipe, context.home)
    classes, rotated = _classes(context, sources)
    if start is not None and recipe.model.licence == UNSTATED:
        console.warn(
            f"{stage.title}: the licence of the weights in {recipe.model.start} is not stated; set model.licence"
        )
    config = (
        config_of(start)
        if start is not None
        else ModelConfig.of(recipe.model, codec.size, recipe.patch, classes=classes, tower=tower, rotated=rotated)
    )
    if rotated and not config.rotated:
        console.warn(f"{stage.title}: the weights regress upright boxes; of rotated ones they learn the upright bounds")
    predict = stage.images if chosen.predicts_patches else "none"
    images = PatchObjective(predict, stage.augment, config.classes, stage.mirror, config.rotated, stage.affine or 0.0)
    rows = context.mesh.divide(schedule.rows(recipe.model.context))
    learnt, held = (
        {name: Shards.open(context.folder(f"shards-{name}") / part) for name in stage.mix}
        for part in ("train", "heldout")
    )
    job = TrainingConfig(
        title=stage.title,
        model=config,
        start=start,
        tower=tower_folder,
        seed=recipe.seed,
        batches=Batches(learnt, stage.mix, rows, recipe.seed, chosen.assistant_only, images, chosen.pairs),
        heldout={
            name: heldout(name, part, chosen.assistant_only, images, chosen.pairs)
            for name, part in held.items()
            if part.rows
        },
        steps=schedule.steps(stage.tokens, recipe.model.context),
        schedule=schedule,
        precision=context.device.precision(recipe.model.precision),
        recompute=stage.recompute,
        checkpoint_steps=stage.checkpoint_steps,
        keep=stage.keep,
        sample_steps=stage.sample_steps,
        validate_steps=stage.validate_steps,
        end=codec.turn_end,
        folder=folder,
        preference=(stage.preference or PreferencePart()) if chosen.pairs else None,
    )
    with console.training(stage.title, job.steps) as update:
        trainer = Trainer(job, context.device, context.mesh, _TrainingCallbacks(context, codec, stage, update))
        context.loaded()
        outcome = trainer.run()
    if context.mesh.is_main:
        copy(context.folder("tokenizer"), folder)
    console.note(f"  {_summary(outcome)}")
    words = [file.name for file in files_of(context.folder("tokenizer"))]
    names = ["config.json", "model.safetensors", *words, LOG]
    return Result(names, outcome, outcome.flops, logs=[LOG])


def _summary(outcome: TrainingResult) -> str:
    """A training's loss, speed and memory in one line."""
    loss = "lost" if outcome.loss is None else f"{outcome.loss:.3f}"
    return (
        f"loss {loss} after {outcome.tokens:,} tokens in {outcome.seconds:.0f} s; {outcome.tokens_per_second:,.0f}"
        f" tokens/s, {outcome.share_of_peak:.0%} of peak; memory {outcome.peak_memory / 2**20:,.0f} MiB, predicted"
        f" {outcome.predicted_memory / 2**20:,.0f}"
    )


class _TrainingCallbacks:
    """Callbacks of training: console output, and samples of the model at intervals."""

    def __init__(self, context: StageContext, codec: Tokenizer, stage: StagePart, update: Callable[[int, str], None]):
        self.context, self.codec, self.stage, self.update = context, codec, stage, update
        self.events = _events(context.folder(stage.title)) if context.events and context.mesh.is_main else None

    def note(self, text: str) -> None:
        console.note(f"  {text}")

    def begin(self, done: int) -> None:
        if self.context.mesh.is_main:
            remember(self.context.recipe, self.context.home, self.context.root)
        self.update(done, "")

    def step(self, record: dict[str, Any]) -> None:
        loss = "no target" if record["loss"] is None else f"loss {record['loss']:.3f}"
        text = f"{loss}  {record['tokens_per_second']:,.0f} tokens/s  {record['share_of_peak']:.0%} of peak"
        self.update(record["step"], text)
        if self.events is not None:
            for name in ("loss", "norm", "rate", "tokens_per_second", "share_of_peak"):
                if record[name] is not None:
                    self.events.add_scalar(f"{self.stage.title}/{name}", record[name], record["step"])
            for source, loss in record.get("heldout", {}).items():
                self.events.add_scalar(f"{self.stage.title}/heldout/{source}", loss, record["step"])
        if "heldout" in record:
            figures = record.get("heldout_figures", {})
            shown = ", ".join(
                f"{source} {loss:.3f}"
                + "".join(f", {name} {each:.3f}" for name, each in figures.get(source, {}).items())
                for source, loss in record["heldout"].items()
            )
            console.note(f"  step {record['step']:,}: {text}  held out: {shown}")

    def sample(self, model: Transformer, step: int) -> list[dict[str, str]]:
        prompts = self.context.recipe.evaluate.prompts if self.context.recipe.evaluate else ()
        prompt_ids = {prompt: ids for prompt in prompts if 0 < len(ids := self._ids(prompt)) < model.config.context}
        answers = Engine(model, self.codec).complete(list(prompt_ids.values()), SAMPLE_TOKENS)
        samples = [
            {"prompt": prompt, "text": self.codec.decode(answer)}
            for prompt, answer in zip(prompt_ids, answers, strict=True)
        ]
        for each in samples:
            console.note(f"    {each['prompt']!r} -> {each['text']!r}")
        return samples

    def _ids(self, prompt: str) -> list[int]:
        """The ids of a sample's prompt: plain text in pre-training, a question in the chat template afterwards."""
        return (
            self.codec.encode_start(prompt)
            if OBJECTIVES[self.stage.do].completes
            else chat.prompt(self.codec, [{"role": "user", "content": prompt}])
        )


def _events(folder: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise InputError(
            "--tensorboard: TensorBoard is not installed; pip install 'groundup[tensorboard]', or leave the option out"
        ) from None
    return SummaryWriter(str(folder / "events"))


def measure(context: StageContext, model: Path, sources: list[str], weights: Weights = "full") -> Result:
    """Stage `evaluate`: weights to figures."""
    with console.progress("evaluate", None, "items") as advance:
        documents = {name: context.folder(f"documents-{name}") for name in sources}
        figures = evaluate(model, context.recipe, context.home, documents, context.device, advance, weights)
    return Result([], figures.as_json())


def report(context: StageContext) -> Result:
    """Stage `report`: manifests to a page."""
    write_report(context.root, context.recipe, context.folder("report") / "report.html")
    return Result(["report.html"], ReportResult())


def seeded(context: StageContext) -> None:
    """Seed the global random state, as libraries may use it."""
    torch.manual_seed(context.recipe.seed)
