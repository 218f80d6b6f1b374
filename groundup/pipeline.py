"""A recipe as a chain of stages; runs those that are stale."""

import fcntl
import os
import platform
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from groundup import console, device, ledger, stages
from groundup.data.sources import inputs
from groundup.errors import InputError
from groundup.files import clear, discard, disk_errors, full_disk, read_json, sync, write_json
from groundup.generate.native.matrix import Weights
from groundup.health import require
from groundup.ledger import Manifest
from groundup.model.weights import files_of
from groundup.recipe import EvaluatePart, LibrarySource, PictureSource, Recipe, SimulatorSource, Source, load, schedules
from groundup.release.line import FILM
from groundup.release.lineage import begun_with
from groundup.stages import LOG, RECIPE, Result, Site, remember
from groundup.train.loop import CHECKPOINTS
from groundup.train.parallel import World, join


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


@dataclass(frozen=True)
class State:
    """Whether a stage has to run, and why. `reason` is empty for a fresh one."""

    stage: Stage
    key: str
    code: str
    inputs: dict[str, str]  # file: SHA-256
    reason: str
    manifest: Manifest | None


def plan(recipe: Recipe, home: Path) -> list[Stage]:
    """The stages of a recipe, each after those it depends on.

    Raises InputError for missing files and extras, unknown task families and stages of one name: before anything runs.
    """
    used = [source for source in recipe.source if not recipe.stage or any(source.name in stage.mix for stage in recipe.stage)]
    names = [source.name for source in used]
    result = list(_documents(used, home))
    result.append(_tokenizer(recipe, home, names))
    for name in names:
        parents = (f"documents-{name}", "tokenizer")
        part = {"context": recipe.model.context} | ({"patch": recipe.patch, "patches": recipe.model.patches} if recipe.patch else {})
        result.append(Stage(f"shards-{name}", "groundup.data.shards", part, parents, tuple, partial(stages.shards, source=name)))
    result += _training(recipe, home, names)
    if recipe.stage:
        result += _ending(recipe, home, names, [stage.name for stage in result])
    _require_own_folders([stage.name for stage in result])
    return result


def _documents(used: list[Source], home: Path) -> Iterator[Stage]:
    """Sources of images come one after the other, those with a list of what they hold out first, so that nothing that looks alike crosses a split."""
    pictures: tuple[str, ...] = ()
    for source in sorted(used, key=lambda source: not (isinstance(source, PictureSource) and source.heldout_files)):
        part = source.model_dump(mode="json") | _maker(source)
        before = pictures if isinstance(source, PictureSource) else ()
        work = partial(stages.documents, source=source, before=before)
        yield Stage(f"documents-{source.name}", "groundup.data.prepare", part, before, partial(inputs, source, home), work)
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
            raise InputError(f"two stages are called {name!r}, which names their folder; give the training stage another name")


def _tokenizer(recipe: Recipe, home: Path, names: list[str]) -> Stage:
    given = recipe.tokenizer.path or recipe.model.start
    files = () if given is None else ((home / given).expanduser() / "tokenizer.json",)
    parents = tuple(f"documents-{name}" for name in names) if given is None else ()
    part = recipe.tokenizer.model_dump() | ({"sees": True} if recipe.patch else {})
    return Stage("tokenizer", "groundup.data.sample", part, parents, lambda: files, partial(stages.tokenizer, sources=names))


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
        looked = tuple(f"documents-{name}" for name in names) if recipe.patch else ()  # they name the kinds of things there are
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
        if "boxes" in recipe.evaluate.suites:
            require("vision")
        if "orders" in recipe.evaluate.suites:
            require("serve")  # answers under a grammar
        parents = (model, *(f"documents-{name}" for name in names))
        files = tuple((home / path).expanduser() for path in recipe.evaluate.choice)
        work = partial(_measure, model=model, sources=names)
        yield Stage("evaluate", "groundup.evaluate.suite", recipe.evaluate.model_dump(mode="json"), parents, lambda: files, work)
        ending += ("evaluate",)
    if recipe.line is not None:
        part = recipe.line.model_dump(mode="json") | _simulator()
        yield Stage("line", "groundup.apps.sorter.trial", part, (model,), tuple, partial(_sort, model=model))
        ending += ("line",)
    yield Stage("report", "groundup.release.report", recipe.name, (*all_names, *ending), tuple, stages.report, reads=(LOG, FILM))


def _measure(site: Site, model: str, sources: list[str]) -> Result:
    return stages.measure(site, site.folder(model), sources)


def _sort(site: Site, model: str) -> Result:
    return stages.line(site, site.folder(model))


# --- what is stale -----------------------------------------------------------------------------------------


def states(recipe: Recipe, chain: list[Stage], root: Path, hashes: ledger.Hashes, spoilt: Mapping[str, str] | None = None) -> Iterator[State]:
    """The state of each stage in turn; a stage's key needs those before it done, so consume it while running them.

    `spoilt` names, by stage, an output that is known not to be what was written.
    """
    digests: dict[str, str] = {}
    for stage in chain:
        manifest = ledger.read(root / stage.name)
        if any(parent not in digests for parent in stage.parents):
            yield State(stage, "", "", {}, "a stage before it has to run first", manifest)
            continue  # nobody ran it
        parents = {parent: digests[parent] for parent in stage.parents}
        state = _state(recipe, stage, root, hashes, parents, manifest)
        if not state.reason and spoilt and stage.name in spoilt:
            state = _with(state, spoilt)
        yield state
        manifest = ledger.read(root / stage.name) if state.reason else manifest
        if manifest is not None and manifest.key == state.key and ledger.missing(root / stage.name, manifest) is None:
            digests[stage.name] = manifest.digest


def _with(state: State, spoilt: Mapping[str, str]) -> State:
    return replace(state, reason=f"its {spoilt[state.stage.name]} was changed or damaged")


def _state(recipe: Recipe, stage: Stage, root: Path, hashes: ledger.Hashes, parents: dict[str, str], manifest: Manifest | None) -> State:
    files = _inputs(stage, hashes)
    code = ledger.code_version(stage.module)
    key = ledger.key(stage.name, stage.part, code, recipe.seed, files, parents)
    if manifest is None:
        return State(stage, key, code, files, "not run yet", None)
    if manifest.key == key:
        gone = ledger.missing(root / stage.name, manifest)
        return State(stage, key, code, files, f"its {gone} is gone or has another size" if gone else "", manifest)
    causes = {
        "the recipe": manifest.part != stage.part or manifest.seed != recipe.seed,
        "the source files": ledger.named(manifest.inputs) != ledger.named(files),
        "the code": manifest.code != code,
        **{parent: manifest.parents.get(parent) != digest for parent, digest in parents.items()},
    }
    return State(stage, key, code, files, f"{' and '.join(cause for cause, changed in causes.items() if changed)} changed", manifest)


def _inputs(stage: Stage, hashes: ledger.Hashes) -> dict[str, str]:
    _require_files(stage)
    return {str(path): hashes.of(path) for path in stage.files}


def _require_files(stage: Stage) -> None:
    for path in stage.files:
        if not os.path.lexists(path):
            raise InputError(f"{path}: no such file, but {stage.name} needs it")
        if not path.is_file():
            raise InputError(f"{path}: no regular file, such as {stage.name} needs")


def _require_same(stage: Stage, hashes: ledger.Hashes) -> None:
    """Raises InputError unless the files that a stage has read are, by name and content, those that its key was made of.

    All of them are read once more: what was hashed before was also what was there afterwards, and nobody wrote to it in between.
    """
    for path in sorted(set(stage.files) ^ set(stage.listed())):
        raise InputError(f"{path}: came or went while {stage.name} read its files; run the same command again when nothing changes there")
    for path in stage.files:
        if not hashes.holds(path):
            raise InputError(f"{path}: changed while {stage.name} read it; run the same command again when nothing writes to it any more")


def _spoilt(root: Path, found: list[State]) -> dict[str, str]:
    """By stage, the first output that is not what was written, of all that stages about to run start from.

    A stage whose output is spoilt has to run too, and so what it starts from is looked at as well.
    """
    spoilt: dict[str, str] = {}
    starting: list[Stage] = []
    for state in reversed(found):
        readers = [stage.reads for stage in starting if state.stage.name in stage.parents]
        names = None if () in readers else {name for reads in readers for name in reads}
        if state.reason:
            starting.append(state.stage)
        elif state.manifest is not None and (name := ledger.damaged(root / state.stage.name, state.manifest, names)) is not None:
            spoilt[state.stage.name] = name
            starting.append(state.stage)
    return spoilt


# --- running -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Options:
    """How to run: the last stage, whether finished training may be done again, on which device, with TensorBoard events or not."""

    until: str | None = None
    retrain: bool = False
    device: str | None = None
    tensorboard: bool = False


def run(recipe: Recipe, home: Path, root: Path, options: Options) -> dict[str, Manifest]:
    """Run every stale stage, in order; returns all manifests by stage, in the first of several processes.

    Raises InputError when another run holds the folder, or a finished training stage would be lost.
    """
    chain = plan(recipe, home)
    if options.until is not None:
        chain = _until(chain, options.until)
    for stage in chain:
        _require_files(stage)
    chosen = device.pick(options.device)
    world = join(chosen)
    if not world.leads:
        console.hush()
    site = Site(recipe, home, root, chosen, world, options.tensorboard)
    with full_disk(root), locked(root) if world.leads else nothing():
        hashes = ledger.Hashes(root / "hashes.json")
        if world.leads:
            _clear(chain, root)
        world.wait()
        _require_kept(recipe, chain, root, hashes, options.retrain)
        spoilt = _looked_at(recipe, chain, root, hashes, world, options.retrain)
        for state in states(recipe, chain, root, hashes, spoilt):
            if not state.reason:
                console.note(f"{state.stage.name}: fresh")
                continue
            _guard(state, root, options.retrain)
            console.note(f"{state.stage.name}: {state.reason}")
            _perform(site, state, hashes, options.retrain)
        if not world.leads:
            return {}
        remember(recipe, home, root)
        hashes.keep()
    return {stage.name: manifest for stage in chain if (manifest := ledger.read(root / stage.name)) is not None}


def _looked_at(recipe: Recipe, chain: list[Stage], root: Path, hashes: ledger.Hashes, world: World, retrain: bool) -> dict[str, str]:
    """What `_spoilt` finds, in all processes: the first reads for them. Raises InputError for a finished training among it."""
    found = list(states(recipe, chain, root, hashes))
    spoilt = _spoilt(root, found) if world.leads else {}
    told = world.agree(*(stage.name in spoilt for stage in chain))
    spoilt = {stage.name: spoilt.get(stage.name, "output") for stage, says in zip(chain, told, strict=True) if says}
    for state in found:
        if state.stage.name in spoilt:
            _guard(_with(state, spoilt), root, retrain)
    return spoilt


def _until(chain: list[Stage], name: str) -> list[Stage]:
    names = [stage.name for stage in chain]
    if name not in names:
        raise InputError(f"--until {name}: no such stage; the stages are {', '.join(names)}")
    return chain[: names.index(name) + 1]


def _clear(chain: list[Stage], root: Path) -> None:
    """Remove what killed runs left, and take back the record of a stage that one of them had begun again and not changed."""
    for folder, _, _ in os.walk(root):
        clear(Path(folder))
    for stage in chain:
        ledger.take_back(root / stage.name)
        if stage.trains and ledger.read(root / stage.name) is not None:
            discard(root / stage.name / CHECKPOINTS)


def _require_kept(recipe: Recipe, chain: list[Stage], root: Path, hashes: ledger.Hashes, retrain: bool) -> None:
    """Refuse, before anything is changed, a finished training that will not fit what comes before it.

    A stage that lost its outputs makes them again, and what follows it is fresh; so only what certainly changes counts.
    """
    changed: set[str] = set()
    for state in states(recipe, chain, root, hashes):
        cause = _certain(state, recipe.seed, changed)
        if cause:
            changed.add(state.stage.name)
            _guard(replace(state, reason=cause), root, retrain)


def _certain(state: State, seed: int, changed: set[str]) -> str:
    """Why a finished stage will come to another digest; empty where it may not."""
    if state.manifest is None:
        return ""
    if state.key:
        return state.reason if state.key != state.manifest.key else ""
    causes = {
        "the recipe": state.manifest.part != state.stage.part or state.manifest.seed != seed,
        **{parent: parent in changed for parent in state.stage.parents},
    }
    return " and ".join(cause for cause, found in causes.items() if found) + " changed" * any(causes.values())


def _guard(state: State, root: Path, retrain: bool) -> None:
    if state.stage.trains and state.manifest is not None and not retrain:
        raise InputError(
            f"{root / state.stage.name}: finished, but {state.reason} since; give the recipe another name to keep this model, "
            "or run with --retrain to train it again"
        )


def _perform(site: Site, state: State, hashes: ledger.Hashes, retrain: bool) -> None:
    """Run one stage and record it. Stages that do not train run on the first process alone."""
    stage, folder = state.stage, site.folder(state.stage.name)
    if site.world.leads:
        _begin(site, state, retrain)
        hashes.keep()
    site.world.wait()
    try:
        _work(site, state, hashes)
    finally:
        if site.world.leads:
            ledger.take_back(folder)
    if stage.trains and site.world.leads:
        discard(folder / CHECKPOINTS)
    site.world.wait()


def _begin(site: Site, state: State, retrain: bool) -> None:
    """Prepare a stage's folder: its record is set aside, and a training that is begun again has no checkpoints of another one."""
    folder = site.folder(state.stage.name)
    if not (site.root / RECIPE).exists():
        remember(site.recipe, site.home, site.root)
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    ledger.set_aside(folder)
    if state.stage.trains:
        _own(folder / CHECKPOINTS, state.key, retrain)


def _own(checkpoints: Path, key: str, retrain: bool) -> None:
    """Note for which key of a stage checkpoints are made. Training again parts with those of another key, once, and goes on from its own."""
    begun = checkpoints / "key.json"
    if retrain and not (begun.exists() and read_json(begun) == key):
        discard(checkpoints)
    if not checkpoints.exists() or not any(checkpoints.iterdir()):
        write_json(begun, key)


def _work(site: Site, state: State, hashes: ledger.Hashes) -> None:
    """The work of a stage, and its manifest."""
    stage, folder = state.stage, site.folder(state.stage.name)
    began, joules = time.perf_counter(), device.energy()
    parents = {parent: manifest for parent in stage.parents if (manifest := ledger.read(site.folder(parent))) is not None}
    records = begun_with(stage.files) if stage.trains else {}
    stages.seeded(site)
    if not stage.trains and not site.world.leads:
        return
    same = partial(_require_same, stage, hashes)
    result = stage.work(replace(site, loaded=same))
    if not site.world.leads:
        return
    if not stage.trains:
        same()
    for name in result.outputs:
        sync(folder / name)
    spent = device.energy()
    manifest = Manifest(
        stage=stage.name,
        key=state.key,
        parents={parent: manifest.digest for parent, manifest in parents.items()},
        part=stage.part,
        code=state.code,
        inputs=state.inputs,
        seed=site.recipe.seed,
        outputs=ledger.outputs(folder, result.outputs),
        licences=result.licences,
        libraries=ledger.libraries(),
        device={"kind": site.device.kind, "name": site.device.name, "processes": site.world.size},
        flops=result.flops,
        seconds=time.perf_counter() - began,
        joules=None if joules is None or spent is None else spent - joules,
        metrics=result.metrics,
        finished=ledger.now(),
        records=records | {parent: manifest.record for parent, manifest in parents.items()},
    )
    remember(site.recipe, site.home, site.root)
    ledger.write(folder, manifest)


@contextmanager
def locked(root: Path) -> Iterator[None]:
    """Hold a run's folder; the lock goes with the process, however it ends."""
    with disk_errors(root):
        root.mkdir(parents=True, exist_ok=True)
        file = (root / ".lock").open("w")
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(f"{root}: another run is at work in this folder; wait for it, or give the recipe another name") from None
        yield


@contextmanager
def nothing() -> Iterator[None]:
    """Hold nothing."""
    yield


# --- finished models ---------------------------------------------------------------------------------------


def model_folder(path: Path) -> Path:
    """The folder that holds the model meant: itself, or the last finished training stage of a run's folder.

    Raises InputError when there is none.
    """
    if (path / "config.json").exists():
        return path
    titles = [stage.title for stage in recall(path)[0].stage] if (path / RECIPE).exists() else []
    for title in reversed(titles):
        if ledger.read(path / title) is not None:
            return path / title
    raise InputError(f"{path}: no finished model there; give a run's folder, a finished training stage, or an exported model")


def evaluate(model: Path, recipe_file: Path | None, choice: list[Path], name: str | None, runs: Path, weights: Weights) -> dict[str, Any]:
    """Measure a finished model: by its recipe's suites, by another recipe's, or on multiple-choice files alone."""
    folder = model_folder(model)
    if recipe_file is not None:
        recipe, home = load(recipe_file), recipe_file.parent
        root = runs / recipe.name
    else:
        root = folder.parent
        recipe, home = recall(root)
    part = EvaluatePart(suites=("choice",), choice=tuple(str(path.resolve()) for path in choice)) if choice else recipe.evaluate
    if part is None:
        raise InputError(f"{recipe.name}: its recipe has no [evaluate]; name one with --recipe, or a file with --choice")
    recipe = recipe.model_copy(update={"evaluate": part})
    site = Site(recipe, home, root, device.pick(name), World())
    return stages.measure(site, folder, [source.name for source in recipe.source], weights).metrics


def recall(root: Path) -> tuple[Recipe, Path]:
    """The recipe a run's folder was made by, and the folder its paths are relative to."""
    path = root / RECIPE
    if not path.exists():
        raise InputError(f"{path}: not there, so the model's recipe is unknown; name one with --recipe, or a file with --choice")
    table = read_json(path)
    try:
        return Recipe.model_validate(table["recipe"]), Path(table["home"])
    except (TypeError, KeyError, ValueError) as error:
        raise InputError(f"{path}: not a recipe as runs keep it ({type(error).__name__}); run the recipe again to write it anew") from None
