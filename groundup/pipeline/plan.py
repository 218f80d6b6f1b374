"""Plans the chain of stages of a recipe: names, parents, cache keys and work."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from groundup.codecs import tokenizer_files
from groundup.config.derived import schedules
from groundup.config.recipe import Recipe
from groundup.core.errors import InputError
from groundup.core.extras import require
from groundup.core.tables import OBJECTIVES, STAGES, SUITES
from groundup.data import augment, prepare, sample, shards
from groundup.data.source import Source, sources
from groundup.evaluate import runner
from groundup.pipeline import stages
from groundup.pipeline.application import ApplicationStage
from groundup.pipeline.stages import LOG, Result, StageContext
from groundup.pipeline.start import path_of, weight_files
from groundup.release import report
from groundup.train import loop


@dataclass(frozen=True)
class Stage:
    """One stage: its dependencies and its work."""

    name: str
    module: str  # the module whose code it runs
    versions: dict[str, int]  # declared, of the work that decides the result
    part: Any  # the part of the recipe in its key
    parents: tuple[str, ...]
    listed: Callable[[], Iterable[Path]]  # the files it reads, as they are now
    work: Callable[[StageContext], Result]
    trains: bool = False
    reads: tuple[str, ...] = ()  # names of the parents' outputs that it reads; empty: all
    reads_manifests: bool = False  # whether its parents' manifests decide the result as well
    files: tuple[Path, ...] = field(init=False)  # the files it reads, listed when it was planned

    def __post_init__(self) -> None:
        object.__setattr__(self, "files", tuple(self.listed()))


def plan(recipe: Recipe, home: Path) -> list[Stage]:
    """The stages of a recipe, each after those it depends on.

    Raises InputError for missing files and extras, unknown task families and stages of one name.
    """
    used = [
        source
        for source in sources(recipe)
        if not recipe.stage or any(source.name in stage.mix for stage in recipe.stage)
    ]
    names = [source.name for source in used]
    result = list(_documents(used, home))
    result.append(_tokenizer(recipe, home, names))
    for name in names:
        parents = (f"documents-{name}", "tokenizer")
        part = {"context": recipe.model.context} | (
            {"patch": recipe.patch, "patches": recipe.model.patches} if recipe.patch else {}
        )
        work = partial(stages.shards, source=name)
        versions = {"shards": shards.VERSION}
        result.append(Stage(f"shards-{name}", "groundup.data.shards", versions, part, parents, tuple, work))
    result += _training(recipe, home, names)
    if recipe.stage:
        result += _ending(recipe, home, names, [stage.name for stage in result])
    _require_own_folders([stage.name for stage in result])
    return result


def _documents(used: list[Source], home: Path) -> Iterator[Stage]:
    """A stage for each source; sources with a split order follow one after the other."""
    before: tuple[str, ...] = ()
    for source in sorted(used, key=lambda source: source.split_order != 0):
        if source.extra:
            require(source.extra)
        part = source.non_defaults() | {"licence": source.licence} | source.made_by()
        parents = before if source.split_order is not None else ()
        work = partial(stages.documents, source=source, before=parents)
        name = f"documents-{source.name}"
        versions = {"documents": prepare.VERSION, f"source {source.kind}": source.version}
        yield Stage(name, "groundup.data.prepare", versions, part, parents, partial(source.files, home), work)
        if source.split_order is not None:
            before += (name,)


def _require_own_folders(names: list[str]) -> None:
    for number, name in enumerate(names):
        if name in names[:number]:
            raise InputError(
                f"two stages are called {name!r}, which names their folder; give the training stage another name"
            )


def _tokenizer(recipe: Recipe, home: Path, names: list[str]) -> Stage:
    given = recipe.tokenizer.path or recipe.model.start
    files = partial(_tokenizer_files, None if given is None else (home / given).expanduser())
    parents = tuple(f"documents-{name}" for name in names) if given is None else ()
    part = recipe.tokenizer.non_defaults() | {"vocab_size": recipe.tokenizer.vocab_size, "sees": bool(recipe.patch)}
    work = partial(stages.tokenizer, sources=names)
    versions = {"tokenizer": sample.VERSION}
    if recipe.model.start is not None:
        versions["given tokenizer"] = tokenizer_files.VERSION
    return Stage("tokenizer", "groundup.data.sample", versions, part, parents, files, work)


def _tokenizer_files(folder: Path | None) -> list[Path]:
    """The files of a given tokenizer; tokenizer.json even if it is missing, for the error that says so."""
    return [] if folder is None else tokenizer_files.files_of(folder) or [folder / tokenizer_files.TOKENIZER]


def _training(recipe: Recipe, home: Path, names: list[str]) -> Iterator[Stage]:
    start = path_of(recipe, home)
    begun = start if start is not None else stages.pretrained_tower(recipe, home)[0]
    before: str | None = None
    for stage, (schedule, _) in zip(recipe.stage, schedules(recipe), strict=True):
        part = {
            "stage": stage.non_defaults(exclude={"checkpoint_steps", "keep"}),
            "schedule": schedule.as_dict(),
            "model": _model(recipe),
        }
        classes = tuple(f"documents-{name}" for name in names) if recipe.patch else ()  # of the detections in them
        parents = (*(f"shards-{name}" for name in stage.mix), "tokenizer", *classes, *((before,) if before else ()))
        listed = partial(weight_files, begun) if before is None and begun is not None else tuple
        work = partial(_train, stage=stage, schedule=schedule, before=before, start=start, sources=names)
        versions = {"training": loop.VERSION, f"objective {stage.do}": OBJECTIVES[stage.do].version}
        if stage.augment or stage.mirror or stage.affine:
            versions["augmentation"] = augment.VERSION
        yield Stage(stage.title, "groundup.train.loop", versions, part, parents, listed, work, trains=True)
        before = stage.title


def _model(recipe: Recipe) -> dict[str, Any]:
    """The model's part of the key: the knobs that are set, and every derived value, as its derivation may change."""
    part = recipe.model
    derived = {"depth": part.depth, "context": part.context, "patch": recipe.patch, **part.dimensions()}
    return part.non_defaults() | derived


def _train(
    context: StageContext, stage: Any, schedule: Any, before: str | None, start: Path | None, sources: list[str]
) -> Result:
    return stages.train(context, stage, schedule, context.folder(before) if before else start, sources)


def _ending(recipe: Recipe, home: Path, names: list[str], all_names: list[str]) -> Iterator[Stage]:
    model = recipe.stage[-1].title
    ending: tuple[str, ...] = ()
    if recipe.evaluate is not None:
        for extra in {suite.extra for name in recipe.evaluate.suites if (suite := SUITES[name]).extra}:
            require(extra)
        parents = (model, *(f"documents-{name}" for name in names))
        files = tuple((home / path).expanduser() for path in recipe.evaluate.files)
        work = partial(_measure, model=model, sources=names)
        versions, questions = _suites(recipe), _questions(recipe)
        yield Stage("evaluate", "groundup.evaluate.runner", versions, questions, parents, lambda: files, work)
        ending += ("evaluate",)
    shown: tuple[str, ...] = (LOG,)
    for name, stage in STAGES.items():
        if part := recipe.application(stage.part):
            work = partial(_apply, model=model, stage=stage, part=part)
            yield Stage(name, stage.module, {name: stage.version}, stage.key(part), (model,), tuple, work)
            ending += (name,)
            shown += stage.shown
    parents, versions = (*all_names, *ending), {"report": report.VERSION}
    yield Stage(
        "report", "groundup.release.report", versions, _named(recipe), parents, tuple, stages.report, reads=shown,
        reads_manifests=True,
    )  # fmt: skip


def _named(recipe: Recipe) -> dict[str, Any]:
    """The report's part of the key: the run's name, and the model's purpose if it is stated."""
    return recipe.model_dump(mode="json", include={"name", "purpose"}, exclude_defaults=True)


def _suites(recipe: Recipe) -> dict[str, int]:
    """Versions of the suites that measure a model."""
    assert recipe.evaluate is not None, "a recipe without suites has no such stage"
    makers = {f"source {source.kind}": source.version for source in sources(recipe)}  # suites generate some
    suites = {f"suite {name}": SUITES[name].version for name in recipe.evaluate.suites}
    return {"evaluate": runner.VERSION} | suites | makers


def _questions(recipe: Recipe) -> dict[str, Any]:
    """The evaluation's part of the key: the suites, the sources that generate their instances, and the precision."""
    assert recipe.evaluate is not None, "a recipe without suites has no such stage"
    return recipe.evaluate.non_defaults() | {
        "suites": list(recipe.evaluate.suites),
        "sources": [source.non_defaults(exclude={"licence"}) for source in sources(recipe)],
        "precision": recipe.model.precision,
    }


def _measure(context: StageContext, model: str, sources: list[str]) -> Result:
    return stages.measure(context, context.folder(model), sources)


def _apply(context: StageContext, model: str, stage: ApplicationStage[Any], part: Any) -> Result:
    return stage.work(context, context.folder(model), part)
