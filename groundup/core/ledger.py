"""The ledger: manifests with the inputs and outputs of every stage, which decide whether a stage has to run again.

A stage's *key* hashes everything its result depends on: name, part of the recipe, seed, declared versions, input files
and the digests of the stages before it. Its *digest* hashes its outputs alone, and is part of the next stage's key: a
chain from the model back to every file and licence. A stage with unchanged outputs leaves later stages fresh (early
cutoff). Its *record* hashes the whole manifest, with time, licences and figures; later manifests name it, so that an
edit of an earlier manifest is detected.
"""

import json
import platform
import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from importlib.metadata import version
from itertools import takewhile
from pathlib import Path, PurePath
from typing import Annotated, Any, TypeVar, get_type_hints

from pydantic import AfterValidator, AllowInfNan, ConfigDict, TypeAdapter, ValidationError, create_model

from groundup.core.errors import InputError
from groundup.core.files import digest, json_text, read_json, sha256, stays_inside, sync, write_json

MANIFEST, ASIDE = "manifest.json", ".manifest.before.json"  # in a stage's folder; the second while the stage runs again
LIBRARIES = ("torch", "numpy", "safetensors", "tokenizers", "tiktoken", "rustbpe", "pyarrow", "pydantic", "jinja2")
REMEDY = "restore it from a copy, or remove it to run the stage again"


# --- manifests ---------------------------------------------------------------------------------------------


def _within(name: str) -> str:
    """The name of a file inside a folder; raises ValueError for any other path."""
    if not stays_inside(name):
        raise ValueError("not a name inside its folder")
    return name


def _plain(name: str) -> str:
    """The name of a folder beside others; raises ValueError for any other path."""
    if "/" in _within(name) or name == ".":
        raise ValueError("not a stage's name")
    return name


def _file(output: dict[str, Any]) -> dict[str, Any]:
    """Hash and size of a file; raises ValueError for anything else."""
    if set(output) != {"sha256", "bytes"} or not isinstance(output["sha256"], str) or type(output["bytes"]) is not int:
        raise ValueError("not the sha256 and bytes of a file")
    return output


Name = Annotated[str, AfterValidator(_plain)]
Place = Annotated[str, AfterValidator(_within)]
Output = Annotated[dict[str, Any], AfterValidator(_file)]
Amount = Annotated[float, AllowInfNan(False)]
Result = TypeVar("Result")


@dataclass(frozen=True)
class Manifest:
    """One stage's entry. `joules` is None where energy cannot be read."""

    stage: Name
    key: str
    parents: dict[Name, str]  # stage: digest
    part: Any  # the recipe's part
    code: str  # hash of the code that ran: evidence, not in the key
    inputs: dict[str, str]  # file: SHA-256
    seed: int
    outputs: dict[Place, Output]  # file in the stage's folder: sha256, bytes
    licences: dict[str, int] = field(default_factory=dict)  # documents by licence
    libraries: dict[str, str] = field(default_factory=dict)
    device: dict[str, Any] = field(default_factory=dict)
    flops: Amount = 0.0
    seconds: Amount = 0.0
    joules: Amount | None = None
    metrics: dict[str, Any] = field(default_factory=dict)
    finished: str = ""
    # stage, or folder of an initial model: the record it was made under
    records: dict[str, str] = field(default_factory=dict)
    versions: dict[str, int] = field(default_factory=dict)  # declared, of the work that was done
    logs: list[Place] = field(default_factory=list)  # outputs that contain times: not in the digest
    earlier: list[str] = field(default_factory=list)  # records of manifests with the same digest that this one replaced

    @property
    def digest(self) -> str:
        """Identity of the result: the hash of all outputs except the logs."""
        return digest({name: output["sha256"] for name, output in self.outputs.items() if name not in self.logs})

    @property
    def record(self) -> str:
        """Identity of the manifest: every field."""
        return digest(self._table())

    def was(self, record: str) -> bool:
        """Whether a record belongs to this manifest, or to one with the same digest that it replaced."""
        return record == self.record or record in self.earlier

    def entry(self) -> dict[str, Any]:
        """The manifest as it is written: its two identities, then every field."""
        return {"record": self.record, "digest": self.digest, **self._table()}

    def result(self, kind: type[Result]) -> Result:
        """The stage's figures as its typed result. Raises InputError if they have another shape."""
        return result_of(kind, self.metrics)

    def _table(self) -> dict[str, Any]:
        return {each.name: getattr(self, each.name) for each in fields(self)}


_KINDS: dict[str, Any] = {name: (kind, ...) for name, kind in get_type_hints(Manifest, include_extras=True).items()}
_Form: Any = create_model("_Form", __config__=ConfigDict(strict=True, extra="forbid"), **_KINDS)


def figures(result: Any) -> dict[str, Any]:
    """A stage's typed result as the table in its manifest."""
    table: dict[str, Any] = TypeAdapter(type(result)).dump_python(result, mode="json", by_alias=True)
    return table


def result_of(kind: type[Result], table: Mapping[str, Any]) -> Result:
    """The typed result of a table that `figures` made; unknown keys are ignored. Raises InputError."""
    try:
        return TypeAdapter(kind).validate_python(dict(table))
    except ValidationError as error:
        raise InputError(f"figures are damaged ({_fault(error)}); {REMEDY}") from None


def _fault(error: ValidationError) -> str:
    """The first invalid field, and what is wrong with it."""
    first = error.errors()[0]
    return f"{'.'.join(map(str, first['loc']))[:80]!r}: {first['msg']}"


def key(
    stage: str, part: Any, versions: dict[str, int], seed: int, inputs: dict[str, str], parents: dict[str, str]
) -> str:
    """The cache key of a stage."""
    return digest(
        {"stage": stage, "part": part, "versions": versions, "seed": seed, "inputs": named(inputs), "parents": parents}
    )


def named(inputs: Mapping[str, str]) -> list[tuple[str, str]]:
    """Each input file, by its name below the folder common to all, and its hash: a folder may move as a whole."""
    paths = {name: PurePath(name).parts for name in inputs}
    shared = sum(1 for _ in takewhile(lambda parts: len(set(parts)) == 1, zip(*paths.values(), strict=False)))
    return sorted(("/".join(paths[name][shared:]), sha256) for name, sha256 in inputs.items())


def parse(entry: Any, where: str, remedy: str = REMEDY) -> Manifest:
    """The manifest of an entry; `where` names it in errors. Raises InputError if it is invalid or was changed since."""
    names = {each.name for each in fields(Manifest)}
    if not isinstance(entry, dict) or set(entry) != names | {"record", "digest"}:
        raise InputError(f"{where}: not a manifest of this version; {remedy}")
    values = {name: entry[name] for name in entry if name in names}
    try:
        _Form(**values)
        manifest = Manifest(**values)
        same = (manifest.record, manifest.digest) == (entry["record"], entry["digest"])
    except ValidationError as error:
        raise InputError(f"{where}: damaged ({_fault(error)}); {remedy}") from None
    except (UnicodeEncodeError, RecursionError):  # lone surrogates; lists nested without end
        same = False
    if not same:
        raise InputError(f"{where}: changed since it was written; {remedy}")
    return manifest


def read(folder: Path, name: str = MANIFEST) -> Manifest | None:
    """The manifest in a stage's folder, or None. Raises InputError if it is damaged or any byte was changed."""
    path = folder / name
    if not path.exists():
        return None
    manifest = parse(read_json(path), str(path))
    try:
        same = json_text(manifest.entry()).encode() == path.read_bytes()
    except RecursionError:  # deeper than any recipe is nested
        same = False
    if not same:  # the same content in other bytes
        raise InputError(f"{path}: changed since it was written; {REMEDY}")
    return manifest


def write(folder: Path, manifest: Manifest) -> None:
    """Record a finished stage; the manifest is written last, so a folder that has one is complete.

    An earlier manifest with the same key and outputs is kept, since later manifests name its record. A new manifest
    with another key and the same digest lists the earlier one's record.
    """
    before = _aside(folder)
    if before is not None and (before.key, before.outputs) == (manifest.key, manifest.outputs):
        (folder / ASIDE).replace(folder / MANIFEST)
        sync(folder)
        return
    if before is not None and manifest.outputs and before.digest == manifest.digest:
        manifest = replace(manifest, earlier=[*before.earlier, before.record])
    table: dict[str, Any] = json.loads(json.dumps(manifest.entry()))  # the record of the manifest as it will be read
    manifest = Manifest(**{name: value for name, value in table.items() if name not in ("record", "digest")})
    write_json(folder / MANIFEST, manifest.entry())


def set_aside(folder: Path) -> None:
    """Move a stage's manifest aside while its outputs may change."""
    if (folder / MANIFEST).exists():
        (folder / MANIFEST).replace(folder / ASIDE)
        sync(folder)


def take_back(folder: Path) -> None:
    """Restore a manifest that was set aside if its outputs are unchanged; delete it if a newer one exists."""
    if (folder / MANIFEST).exists():
        (folder / ASIDE).unlink(missing_ok=True)
    elif (
        (manifest := _aside(folder)) is not None
        and missing(folder, manifest) is None
        and damaged(folder, manifest) is None
    ):
        (folder / ASIDE).replace(folder / MANIFEST)
        sync(folder)


def _aside(folder: Path) -> Manifest | None:
    try:
        return read(folder, ASIDE)
    except InputError:
        return None


def outputs(folder: Path, names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Hash and size of a stage's files."""
    return {name: {"sha256": sha256(folder / name), "bytes": (folder / name).stat().st_size} for name in sorted(names)}


def missing(folder: Path, manifest: Manifest) -> str | None:
    """The first output that is missing or has another size, or None."""
    for name, output in manifest.outputs.items():
        path = folder / name
        if not path.is_file() or path.stat().st_size != output["bytes"]:
            return name
    return None


def damaged(folder: Path, manifest: Manifest, names: Collection[str] | None = None) -> str | None:
    """The first output, of all or of `names`, whose hash differs from the recorded one, or None; reads all of them."""
    for name, output in manifest.outputs.items():
        if (names is None or name in names) and (
            not (folder / name).is_file() or sha256(folder / name) != output["sha256"]
        ):
            return name
    return None


def now() -> str:
    """The time, UTC, ISO 8601."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def libraries() -> dict[str, str]:
    """Versions of Python and of the libraries that a result depends on."""
    return {"python": platform.python_version(), **{name: version(name) for name in LIBRARIES}}
