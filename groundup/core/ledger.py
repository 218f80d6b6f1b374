"""The ledger: what went into every stage and what came out, and so whether it has to run again.

A stage's *key* is a hash of everything its result depends on: its part of the recipe, the code it runs, the files it
reads and the digests of the stages before it. Its *digest* is a hash of the key and of what came out; the next stage's
key holds it, so the manifests form a chain from the model back to every file and licence. Its *record* is a hash of the
whole manifest, time and licences and figures included; the manifests that follow name it, so that none before them can
be edited unseen.
"""

import ast
import importlib.util
import json
import platform
import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, fields
from functools import cache
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
JUST_NOW = 2_000_000_000  # nanoseconds in which a file may change twice without another time of change


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
    code: str  # hash of the code that ran
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
    records: dict[str, str] = field(
        default_factory=dict
    )  # stage, or folder of a model begun with: the record it was made under

    @property
    def digest(self) -> str:
        """Identity of the result: the key, and the hash of every output."""
        return digest([self.key, {name: output["sha256"] for name, output in self.outputs.items()}])

    @property
    def record(self) -> str:
        """Identity of the manifest: every field."""
        return digest(self._table())

    def entry(self) -> dict[str, Any]:
        """The manifest as it is written: its two identities, then every field."""
        return {"record": self.record, "digest": self.digest, **self._table()}

    def result(self, kind: type[Result]) -> Result:
        """The stage's figures as its typed result. Raises InputError where they have another shape."""
        return result_of(kind, self.metrics)

    def _table(self) -> dict[str, Any]:
        return {each.name: getattr(self, each.name) for each in fields(self)}


_KINDS: dict[str, Any] = {name: (kind, ...) for name, kind in get_type_hints(Manifest, include_extras=True).items()}
_Form: Any = create_model("_Form", __config__=ConfigDict(strict=True, extra="forbid"), **_KINDS)


def figures(result: Any) -> dict[str, Any]:
    """A stage's typed result as its manifest keeps it."""
    table: dict[str, Any] = TypeAdapter(type(result)).dump_python(result, mode="json", by_alias=True)
    return table


def result_of(kind: type[Result], table: Mapping[str, Any]) -> Result:
    """The typed result that `figures` made a table of; other keys are passed over. Raises InputError."""
    try:
        return TypeAdapter(kind).validate_python(dict(table))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise InputError(f"figures are damaged ({place[:80]!r}: {first['msg']}); {REMEDY}") from None


def key(stage: str, part: Any, code: str, seed: int, inputs: dict[str, str], parents: dict[str, str]) -> str:
    """The cache key of a stage."""
    return digest(
        {"stage": stage, "part": part, "code": code, "seed": seed, "inputs": named(inputs), "parents": parents}
    )


def named(inputs: Mapping[str, str]) -> list[tuple[str, str]]:
    """Each file that went in, by its name below the folder that all of them share, and its hash.

    A folder may move as a whole; files that change places, or one that moves to another class's folder, are other
    inputs.
    """
    paths = {name: PurePath(name).parts for name in inputs}
    shared = sum(1 for _ in takewhile(lambda parts: len(set(parts)) == 1, zip(*paths.values(), strict=False)))
    return sorted(("/".join(paths[name][shared:]), sha256) for name, sha256 in inputs.items())


def parse(entry: Any, where: str, remedy: str = REMEDY) -> Manifest:
    """The manifest of an entry; `where` names it. Raises InputError for one of another shape, or not the one that was
    written.
    """
    names = {each.name for each in fields(Manifest)}
    if not isinstance(entry, dict) or set(entry) != names | {"record", "digest"}:
        raise InputError(f"{where}: not a manifest of this version; {remedy}")
    values = {name: entry[name] for name in entry if name in names}
    try:
        _Form(**values)
        manifest = Manifest(**values)
        same = (manifest.record, manifest.digest) == (entry["record"], entry["digest"])
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise InputError(f"{where}: damaged ({place[:80]!r}: {first['msg']}); {remedy}") from None
    except (UnicodeEncodeError, RecursionError):  # half a character, lists in lists without end
        same = False
    if not same:
        raise InputError(f"{where}: changed since it was written; {remedy}")
    return manifest


def read(folder: Path, name: str = MANIFEST) -> Manifest | None:
    """The manifest of a stage's folder, or None.

    Raises InputError when it is damaged, or any of its bytes is not the one that was written.
    """
    path = folder / name
    if not path.exists():
        return None
    manifest = parse(read_json(path), str(path))
    try:
        same = json_text(manifest.entry()).encode() == path.read_bytes()
    except RecursionError:  # no recipe is nested so deeply
        same = False
    if not same:  # the same content, spelt another way
        raise InputError(f"{path}: changed since it was written; {REMEDY}")
    return manifest


def write(folder: Path, manifest: Manifest) -> None:
    """Record a finished stage; the manifest is written last, so a folder that has one is complete.

    Where the stage was made before with the same result, that manifest stays in force: those that follow name its
    record.
    """
    table: dict[str, Any] = json.loads(json.dumps(manifest.entry()))  # its record is that of what will be read
    manifest = Manifest(**{name: value for name, value in table.items() if name not in ("record", "digest")})
    if (before := _aside(folder)) is not None and before.digest == manifest.digest:
        (folder / ASIDE).replace(folder / MANIFEST)
        sync(folder)
    else:
        write_json(folder / MANIFEST, manifest.entry())


def set_aside(folder: Path) -> None:
    """Move a stage's record out of the way while its outputs may change."""
    if (folder / MANIFEST).exists():
        (folder / MANIFEST).replace(folder / ASIDE)
        sync(folder)


def take_back(folder: Path) -> None:
    """Put a record back that was set aside, where the outputs are still those that it names.

    Where another has taken its place it goes. Else it waits: the stage may come to the same result again.
    """
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
    """The first output that is gone or has another size, or None."""
    for name, output in manifest.outputs.items():
        path = folder / name
        if not path.is_file() or path.stat().st_size != output["bytes"]:
            return name
    return None


def damaged(folder: Path, manifest: Manifest, names: Collection[str] | None = None) -> str | None:
    """The first output, of all or of those named, whose content is not the one recorded, or None; reads everything."""
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
    """Versions of Python and of what a result depends on."""
    return {"python": platform.python_version(), **{name: version(name) for name in LIBRARIES}}


# --- the code a stage runs ---------------------------------------------------------------------------------


def code_version(module: str) -> str:
    """Hash of a module's source and of every module of this package that it imports, directly or not.

    A file that lies beside a module under the same name (`chat.jinja` beside `chat.py`) belongs to it.
    """
    waiting: list[str] = [module]
    seen: dict[str, list[str]] = {}
    while waiting:
        name = waiting.pop()
        if name not in seen:
            path = _source(name)
            seen[name] = [sha256(file) for file in sorted(path.parent.glob(f"{path.stem}.*"))]
            waiting += _imports(path)
    return digest(seen)


@cache
def _source(module: str) -> Path:
    spec = importlib.util.find_spec(module)
    assert spec is not None and spec.origin is not None, module
    return Path(spec.origin)


@cache
def _imports(path: Path) -> tuple[str, ...]:
    package = __name__.partition(".")[0]
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            found |= {
                f"{node.module}.{alias.name}" for alias in node.names if _is_module(f"{node.module}.{alias.name}")
            }
    return tuple(sorted(name for name in found if name.partition(".")[0] == package))


def _is_module(name: str) -> bool:
    parent, _, child = name.rpartition(".")
    if not parent.startswith(__name__.partition(".")[0]):
        return False
    folder = _source(parent).parent
    return _source(parent).name == "__init__.py" and (
        (folder / f"{child}.py").exists() or (folder / child / "__init__.py").exists()
    )


# --- hashes of source files --------------------------------------------------------------------------------


class Hashes:
    """SHA-256 of source files, remembered by path, size and times of change, so that a large corpus is read once.

    The system sets the time of a file's last change of state (ctime) itself: a copy that is given the old times back is
    read again.
    """

    def __init__(self, memory: Path):
        self.memory = memory
        self.known = _remembered(memory)
        self.changed = False

    def of(self, path: Path) -> str:
        """The hash of a file."""
        stamp, entry = _stamp(path), self.known.get(str(path))
        if entry is None or entry[:-1] != stamp:
            entry = [*stamp, sha256(path)]
            self.known[str(path)] = entry
            self.changed = True
        return str(entry[-1])

    def holds(self, path: Path) -> bool:
        """Whether a file is still the one that `of` told the hash of, and was not touched in between. It is read,
        whatever is remembered.
        """
        entry = self.known[str(path)]
        return path.is_file() and entry == [*_stamp(path), sha256(path)] and entry[:-1] == _stamp(path)

    def keep(self) -> None:
        """Write what was learned, but for files that changed just now, whose next change might have the same time."""
        if self.changed:
            latest = time.time_ns() - JUST_NOW
            write_json(self.memory, {path: entry for path, entry in self.known.items() if max(entry[1:3]) < latest})
            self.changed = False


def _remembered(memory: Path) -> dict[str, list[Any]]:
    """What is remembered of files and can be understood: the rest is read again."""
    try:
        known = read_json(memory)
    except (InputError, FileNotFoundError):
        return {}
    entries = known.items() if isinstance(known, dict) else ()
    return {
        path: entry
        for path, entry in entries
        if isinstance(entry, list) and list(map(type, entry)) == [int, int, int, int, str]
    }


def _stamp(path: Path) -> list[int]:
    stat = path.stat()
    return [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino]
