"""Runs the stale stages of a recipe."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from groundup import device
from groundup.config.load import RECIPE
from groundup.config.recipe import Recipe
from groundup.core import console, ledger
from groundup.core.errors import InputError
from groundup.core.files import clear, discard, disk_errors, full_disk, read_json, sync, write_json
from groundup.core.hashes import Hashes
from groundup.core.ledger import Manifest
from groundup.core.source_code import code_version
from groundup.pipeline import stages
from groundup.pipeline.plan import Stage, plan
from groundup.pipeline.stages import StageContext, remember
from groundup.pipeline.states import (
    State,
    corrupted_outputs,
    corrupted_state,
    own_changes,
    require_files,
    require_unchanged,
    states,
)
from groundup.release.lineage import begun_with
from groundup.train.distributed.mesh import ProcessMesh, join
from groundup.train.loop import CHECKPOINTS


@dataclass(frozen=True)
class Options:
    """Options of a run: last stage, permission to retrain, device, TensorBoard events."""

    until: str | None = None
    retrain: bool = False
    device: str | None = None
    tensorboard: bool = False


def run(recipe: Recipe, home: Path, root: Path, options: Options) -> dict[str, Manifest]:
    """Run every stale stage in order; return all manifests by stage (in the first process).

    Raises InputError when another run holds the folder, or a finished training stage would be lost.
    """
    chain = plan(recipe, home)
    if options.until is not None:
        chain = _until(chain, options.until)
    for stage in chain:
        require_files(stage)
    chosen = device.pick(options.device)
    mesh = join(chosen)
    if not mesh.is_main:
        console.silence()
    context = StageContext(recipe, home, root, chosen, mesh, options.tensorboard)
    files = console.working("files are compared with what was recorded of them")
    with full_disk(root), locked(root) if mesh.is_main else nothing(), files:
        hashes = Hashes(root / "hashes.json")
        if mesh.is_main:
            _clear(chain, root)
        mesh.barrier()
        _require_kept(recipe, chain, root, hashes, options.retrain)
        corrupted = _corrupted(recipe, chain, root, hashes, mesh, options.retrain)
        for state in states(recipe, chain, root, hashes, corrupted):
            if not state.reason:
                console.note(f"{state.stage.name}: fresh")
                continue
            _guard(state, root, options.retrain)
            console.note(f"{state.stage.name}: {state.reason}")
            _perform(context, state, hashes, options.retrain)
        if not mesh.is_main:
            return {}
        remember(recipe, home, root)
        hashes.keep()
    return {stage.name: manifest for stage in chain if (manifest := ledger.read(root / stage.name)) is not None}


def _corrupted(
    recipe: Recipe, chain: list[Stage], root: Path, hashes: Hashes, mesh: ProcessMesh, retrain: bool
) -> dict[str, str]:
    """`corrupted_outputs` for all processes, verified by the first. Raises InputError for a corrupted trained model."""
    found = list(states(recipe, chain, root, hashes))
    corrupted = corrupted_outputs(root, found) if mesh.is_main else {}
    anywhere = mesh.any_reduce(*(stage.name in corrupted for stage in chain))
    names = [stage.name for stage, corrupt in zip(chain, anywhere, strict=True) if corrupt]
    corrupted = {name: corrupted.get(name, "output") for name in names}
    for state in found:
        if state.stage.name in corrupted:
            _guard(corrupted_state(state, corrupted), root, retrain)
    return corrupted


def _until(chain: list[Stage], name: str) -> list[Stage]:
    names = [stage.name for stage in chain]
    if name not in names:
        raise InputError(f"--until {name}: no such stage; the stages are {', '.join(names)}")
    return chain[: names.index(name) + 1]


def _clear(chain: list[Stage], root: Path) -> None:
    """Remove files of killed runs, and restore the manifest of a stage that was started again but not changed."""
    for folder, _, _ in os.walk(root):
        clear(Path(folder))
    for stage in chain:
        ledger.take_back(root / stage.name)
        if stage.trains and ledger.read(root / stage.name) is not None:
            discard(root / stage.name / CHECKPOINTS)


def _require_kept(recipe: Recipe, chain: list[Stage], root: Path, hashes: Hashes, retrain: bool) -> None:
    """Refuse, before any change, to overwrite a finished training for a changed input; lost outputs do not count."""
    changed: set[str] = set()
    for state in states(recipe, chain, root, hashes):
        cause = _possible_change(state, recipe.seed, changed)
        if cause:
            changed.add(state.stage.name)
            _guard(replace(state, reason=cause), root, retrain)


def _possible_change(state: State, seed: int, changed: set[str]) -> str:
    """Why a finished stage may give another result, else empty. A changed parent counts, as its outputs may differ."""
    if state.manifest is None:
        return ""
    if state.key:
        return state.reason if state.key != state.manifest.key else ""
    causes = own_changes(state.stage, seed, state.manifest)
    causes += [parent for parent in state.stage.parents if parent in changed]
    return " and ".join(causes) + " changed" * bool(causes)


def _guard(state: State, root: Path, retrain: bool) -> None:
    if state.stage.trains and state.manifest is not None and not retrain:
        raise InputError(
            f"{root / state.stage.name}: finished, but {state.reason} since; give the recipe another name to keep this"
            " model, or run with --retrain, which trains it again if its inputs come out different"
        )


def _perform(context: StageContext, state: State, hashes: Hashes, retrain: bool) -> None:
    """Run one stage and write its manifest. Stages that do not train run only on the first process."""
    stage, folder = state.stage, context.folder(state.stage.name)
    if context.mesh.is_main:
        _begin(context, state, retrain)
        hashes.keep()
    context.mesh.barrier()
    try:
        with console.working(stage.name):
            _work(context, state, hashes)
    finally:
        if context.mesh.is_main:
            ledger.take_back(folder)
    if stage.trains and context.mesh.is_main:
        discard(folder / CHECKPOINTS)
    context.mesh.barrier()


def _begin(context: StageContext, state: State, retrain: bool) -> None:
    """Prepare a stage's folder: set its manifest aside, and delete checkpoints of another training before a new one."""
    folder = context.folder(state.stage.name)
    if not (context.root / RECIPE).exists():
        remember(context.recipe, context.home, context.root)
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    ledger.set_aside(folder)
    if state.stage.trains:
        _own(folder / CHECKPOINTS, state.key, retrain)


def _own(checkpoints: Path, key: str, retrain: bool) -> None:
    """Write the stage's key beside its checkpoints; with `retrain`, first delete the checkpoints of another key."""
    begun = checkpoints / "key.json"
    if retrain and not (begun.exists() and read_json(begun) == key):
        discard(checkpoints)
    if not checkpoints.exists() or not any(checkpoints.iterdir()):
        write_json(begun, key)


def _work(context: StageContext, state: State, hashes: Hashes) -> None:
    """Do the work of a stage, and write its manifest."""
    stage, folder = state.stage, context.folder(state.stage.name)
    began, joules = time.perf_counter(), device.energy()
    parents = {
        parent: manifest for parent in stage.parents if (manifest := ledger.read(context.folder(parent))) is not None
    }
    records = begun_with(stage.files) if stage.trains else {}
    stages.seeded(context)
    if not stage.trains and not context.mesh.is_main:
        return
    same = partial(require_unchanged, stage, hashes)
    result = stage.work(replace(context, loaded=same))
    if not context.mesh.is_main:
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
        code=code_version(stage.module),
        inputs=state.inputs,
        seed=context.recipe.seed,
        outputs=ledger.outputs(folder, result.outputs),
        licences=result.licences,
        libraries=ledger.libraries(),
        device={"kind": context.device.kind, "name": context.device.name, "processes": context.mesh.size},
        flops=result.flops,
        seconds=time.perf_counter() - began,
        joules=None if joules is None or spent is None else spent - joules,
        metrics=ledger.figures(result.metrics),
        finished=ledger.now(),
        records=records | {parent: manifest.record for parent, manifest in parents.items()},
        versions=stage.versions,
        logs=result.logs,
    )
    remember(context.recipe, context.home, context.root)
    ledger.write(folder, manifest)


@contextmanager
def locked(root: Path) -> Iterator[None]:
    """Lock a run's folder; the lock is released when the process ends, however it ends."""
    with disk_errors(root):
        root.mkdir(parents=True, exist_ok=True)
        file = (root / ".lock").open("w")
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(
                f"{root}: another run is at work in this folder; wait for it, or give the recipe another name"
            ) from None
        yield


@contextmanager
def nothing() -> Iterator[None]:
    """A context that locks nothing."""
    yield
