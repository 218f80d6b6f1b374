"""A recipe as a chain of stages."""

import platform
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from groundup.config.derived import schedules
from groundup.config.recipe import Recipe
from groundup.config.source import LibrarySource, PictureSource, SimulatorSource, Source
from groundup.core.errors import InputError
from groundup.core.extras import require
from groundup.core.tables import STAGES, SUITES
from groundup.data.sources.read import inputs
from groundup.model.weights import files_of
from groundup.pipeline import stages
from groundup.pipeline.application import ApplicationStage
from groundup.pipeline.stages import LOG, Result, Site


@dataclass(frozen=True)
class Stage:
    """One stage: what it depends on, and its work."""

    name: str
    module: str  # whose code the result depends on
    part: Any  # the recipe's part that the result depends on
    parents: tuple[str, ...]
    listed: Callable[[], Iterable[Path]]  # the files it reads, as they are now
    work: Callable[[Site], Result]
    trains: bool = False
    reads: tuple[str, ...] = ()  # of its parents' outputs, by name; none: all
    files: tuple[Path, ...] = field(init=False)  # as they were when it was planned

    def __post_init__(self) -> None:
        object.__setattr__(self, "files", tuple(self.listed()))


def plan(recipe: Recipe, home: Path) -> list[Stage]:
    """The stages of a recipe, each after those it depends on.

    Raises InputError for missing files and extras, unknown task families and stages of one name: before anything runs.
    """
    used = [
        source
        for source in recipe.source
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
        result.append(
            Stage(f"shards-{name}", "groundup.data.shards", part, parents, tuple, partial(stages.shards, source=name))
        )
    result += _training(recipe, home, names)
    if recipe.stage:
        result += _ending(recipe, home, names, [stage.name for stage in result])
    _require_own_folders([stage.name for stage in result])
    return result


def _documents(used: list[Source], home: Path) -> Iterator[Stage]:
    """Sources of images come one after the other, those with a list of what they hold out first, so that nothing that
    looks alike crosses a split.
    """
    pictures: tuple[str, ...] = ()
    for source in sorted(used, key=lambda source: not (isinstance(source, PictureSource) and source.heldout_files)):
        part = source.model_dump(mode="json") | _maker(source)
        before = pictures if isinstance(source, PictureSource) else ()
        work = partial(stages.documents, source=source, before=before)
        yield Stage(
            f"documents-{source.name}", "groundup.data.prepare", part, before, partial(inputs, source, home), work
        )
        if isinstance(source, PictureSource):
            pictures += (f"documents-{source.name}",)


def _maker(source: Source) -> dict[str, str]:
    """Versions of what makes a source's documents; raises InputError where it is not installed."""
    if isinstance(source, SimulatorSource):
        return _simulator()
    return {"python": platform.python_version()} if isinstance(source, LibrarySource) else {}


def _simulator() -> dict[str, str]:
    require("sorter")
    return {"mujoco": version("mujoco")}


def _require_own_folders(names: list[str]) -> None:
    for number, name in enumerate(names):
        if name in names[:number]:
            raise InputError(
                f"two stages are called {name!r}, which names their folder; give the training stage another name"
            )


def _tokenizer(recipe: Recipe, home: Path, names: list[str]) -> Stage:
    given = recipe.tokenizer.path or recipe.model.start
    files = () if given is None else ((home / given).expanduser() / "tokenizer.json",)
    parents = tuple(f"documents-{name}" for name in names) if given is None else ()
    part = recipe.tokenizer.model_dump() | ({"sees": True} if recipe.patch else {})
    return Stage(
        "tokenizer", "groundup.data.sample", part, parents, lambda: files, partial(stages.tokenizer, sources=names)
    )


def _training(recipe: Recipe, home: Path, names: list[str]) -> Iterator[Stage]:
    start = None if recipe.model.start is None else (home / recipe.model.start).expanduser()
    begun = start if start is not None else stages.outside_eyes(recipe, home)[0]
    before: str | None = None
    for stage, (schedule, _) in zip(recipe.stage, schedules(recipe), strict=True):
        part = {
            "stage": stage.model_dump(mode="json", exclude={"checkpoint_steps", "keep"}),
            "schedule": vars(schedule),
            "model": recipe.model.model_dump(mode="json"),
        }
        looked = (
            tuple(f"documents-{name}" for name in names) if recipe.patch else ()
        )  # they name the kinds of things there are
        parents = (*(f"shards-{name}" for name in stage.mix), "tokenizer", *looked, *((before,) if before else ()))
        listed = partial(_weights, begun) if before is None and begun is not None else tuple
        work = partial(_train, stage=stage, schedule=schedule, before=before, start=start, sources=names)
        yield Stage(stage.title, "groundup.train.loop", part, parents, listed, work, trains=True)
        before = stage.title


def _weights(folder: Path) -> list[Path]:
    """The files of a model to begin with."""
    return [folder / "config.json", *files_of(folder)]


def _train(site: Site, stage: Any, schedule: Any, before: str | None, start: Path | None, sources: list[str]) -> Result:
    return stages.train(site, stage, schedule, site.folder(before) if before else start, sources)


def _ending(recipe: Recipe, home: Path, names: list[str], all_names: list[str]) -> Iterator[Stage]:
    model = recipe.stage[-1].title
    ending: tuple[str, ...] = ()
    if recipe.evaluate is not None:
        for extra in {suite.extra for name in recipe.evaluate.suites if (suite := SUITES[name]).extra}:
            require(extra)
        parents = (model, *(f"documents-{name}" for name in names))
        files = tuple((home / path).expanduser() for path in recipe.evaluate.choice)
        work = partial(_measure, model=model, sources=names)
        yield Stage(
            "evaluate",
            "groundup.evaluate.runner",
            recipe.evaluate.model_dump(mode="json"),
            parents,
            lambda: files,
            work,
        )
        ending += ("evaluate",)
    shown: tuple[str, ...] = (LOG,)
    for name, stage in STAGES.items():
        if part := recipe.application(stage.part):
            work = partial(_apply, model=model, stage=stage, part=part)
            yield Stage(name, stage.module, stage.key(part), (model,), tuple, work)
            ending += (name,)
            shown += stage.shown
    yield Stage(
        "report", "groundup.release.report", recipe.name, (*all_names, *ending), tuple, stages.report, reads=shown
    )


def _measure(site: Site, model: str, sources: list[str]) -> Result:
    return stages.measure(site, site.folder(model), sources)


def _apply(site: Site, model: str, stage: ApplicationStage[Any], part: Any) -> Result:
    return stage.work(site, site.folder(model), part)
