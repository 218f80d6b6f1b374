"""Which stages of a run are stale, and why."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from groundup.config.recipe import Recipe
from groundup.core import ledger
from groundup.core.errors import InputError
from groundup.core.ledger import Manifest
from groundup.pipeline.plan import Stage


@dataclass(frozen=True)
class State:
    """Whether a stage has to run, and why. `reason` is empty for a fresh one."""

    stage: Stage
    key: str
    code: str
    inputs: dict[str, str]  # file: SHA-256
    reason: str
    manifest: Manifest | None


def states(
    recipe: Recipe, chain: list[Stage], root: Path, hashes: ledger.Hashes, spoilt: Mapping[str, str] | None = None
) -> Iterator[State]:
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


def _state(
    recipe: Recipe, stage: Stage, root: Path, hashes: ledger.Hashes, parents: dict[str, str], manifest: Manifest | None
) -> State:
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
    return State(
        stage,
        key,
        code,
        files,
        f"{' and '.join(cause for cause, changed in causes.items() if changed)} changed",
        manifest,
    )


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
    """Raises InputError unless the files that a stage has read are, by name and content, those that its key was made
    of.

    All of them are read once more: what was hashed before was also what was there afterwards, and nobody wrote to it in
    between.
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
        elif (
            state.manifest is not None
            and (name := ledger.damaged(root / state.stage.name, state.manifest, names)) is not None
        ):
            spoilt[state.stage.name] = name
            starting.append(state.stage)
    return spoilt
