"""Which stages of a run are stale, and why."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from groundup.config.recipe import Recipe
from groundup.core import ledger
from groundup.core.errors import InputError
from groundup.core.hashes import Hashes, recorded
from groundup.core.ledger import Manifest
from groundup.pipeline.plan import Stage


@dataclass(frozen=True)
class State:
    """Whether a stage has to run, and why. `reason` is empty for a fresh one."""

    stage: Stage
    key: str
    inputs: dict[str, str]  # file: SHA-256; manifest of a parent: its record
    reason: str
    manifest: Manifest | None


def states(
    recipe: Recipe, chain: list[Stage], root: Path, hashes: Hashes, corrupted: Mapping[str, str] | None = None
) -> Iterator[State]:
    """The state of each stage in turn; lazy, as its key needs the earlier results. `corrupted`: outputs by stage."""
    done: dict[str, Manifest] = {}
    for stage in chain:
        manifest = ledger.read(root / stage.name)
        if any(parent not in done for parent in stage.parents):
            yield State(stage, "", {}, "a stage before it has to run first", manifest)
            continue  # it was never run
        state = _state(recipe, stage, root, hashes, {parent: done[parent] for parent in stage.parents}, manifest)
        if not state.reason and corrupted and stage.name in corrupted:
            state = corrupted_state(state, corrupted)
        yield state
        manifest = ledger.read(root / stage.name) if state.reason else manifest
        if manifest is not None and manifest.key == state.key and ledger.missing(root / stage.name, manifest) is None:
            done[stage.name] = manifest


def corrupted_state(state: State, corrupted: Mapping[str, str]) -> State:
    """The state of a stage with a corrupted output."""
    return replace(state, reason=f"its {corrupted[state.stage.name]} was changed or damaged")


def _state(
    recipe: Recipe, stage: Stage, root: Path, hashes: Hashes, parents: dict[str, Manifest], manifest: Manifest | None
) -> State:
    digests = {name: parent.digest for name, parent in parents.items()}
    records = {f"{name}/{ledger.MANIFEST}": parent.record for name, parent in parents.items()}
    files = _inputs(stage, hashes) | (records if stage.reads_manifests else {})
    key = ledger.key(stage.name, stage.part, stage.versions, recipe.seed, files, digests)
    if manifest is None:
        return State(stage, key, files, "not run yet", None)
    if manifest.key == key:
        gone = ledger.missing(root / stage.name, manifest)
        return State(stage, key, files, f"its {gone} is gone or has another size" if gone else "", manifest)
    changed = own_changes(stage, recipe.seed, manifest)
    if stage.reads_manifests:
        names = [name for name in parents if manifest.inputs.get(f"{name}/{ledger.MANIFEST}") != parents[name].record]
    else:
        changed += ["the source files"] * (ledger.named(manifest.inputs) != ledger.named(files))
        names = [name for name, digest in digests.items() if manifest.parents.get(name) != digest]
    return State(stage, key, files, f"{' and '.join([*changed, *names])} changed", manifest)


def own_changes(stage: Stage, seed: int, manifest: Manifest) -> list[str]:
    """What changed in a stage itself since it finished: its part of the recipe, or its versions."""
    names = sorted(set(stage.versions) | set(manifest.versions))
    raised = [name for name in names if stage.versions.get(name) != manifest.versions.get(name)]
    recipe = manifest.part != stage.part or manifest.seed != seed
    return ["the recipe"] * recipe + [f"the version of {name}" for name in raised]


def _inputs(stage: Stage, hashes: Hashes) -> dict[str, str]:
    require_files(stage)
    return {recorded(path): hashes.of(path) for path in stage.files}


def require_files(stage: Stage) -> None:
    """Raise InputError for an input file of a stage that is missing or not a regular file."""
    for path in stage.files:
        if not os.path.lexists(path):
            raise InputError(f"{path}: no such file, but {stage.name} needs it")
        if not path.is_file():
            raise InputError(f"{path}: no regular file, such as {stage.name} needs")


def require_unchanged(stage: Stage, hashes: Hashes) -> None:
    """Raise InputError unless a stage's input files still have the names and hashes of its key.

    All files are read again: one with the same hash before and after was not changed in between.
    """
    for path in sorted(set(stage.files) ^ set(stage.listed())):
        raise InputError(
            f"{path}: came or went while {stage.name} read its files; run the same command again when nothing changes"
            " there"
        )
    for path in stage.files:
        if not hashes.holds(path):
            raise InputError(
                f"{path}: changed while {stage.name} read it; run the same command again when nothing writes to it any"
                " more"
            )


def corrupted_outputs(root: Path, found: list[State]) -> dict[str, str]:
    """The first corrupted output of each stage whose outputs are about to be read; a corrupted stage must run too."""
    corrupted: dict[str, str] = {}
    starting: list[Stage] = []
    for state in reversed(found):
        readers = [stage.reads for stage in starting if state.stage.name in stage.parents]
        names = None if () in readers else {name for reads in readers for name in reads}
        if state.reason:
            starting.append(state.stage)
        elif (
            state.manifest is not None
            and (name := ledger.damaged(root / state.stage.name, state.manifest, names)) is not None
        ):
            corrupted[state.stage.name] = name
            starting.append(state.stage)
    return corrupted
