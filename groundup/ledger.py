"""The ledger: what went into every stage and what came out, and so whether it has to run again.

A stage's *key* is a hash of everything its result depends on: its part of the recipe, the code it runs, the files it reads
and the digests of the stages before it. Its *digest* is a hash of the key and of what came out; the next stage's key holds
it, so the manifests form a chain from the model back to every file and licence.
"""

import ast
import importlib.util
import platform
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from groundup.errors import InputError
from groundup.files import digest, read_json, sha256, stays_inside, write_json

LIBRARIES = ("torch", "numpy", "safetensors", "tokenizers", "tiktoken", "rustbpe", "pyarrow", "pydantic", "jinja2")


@dataclass(frozen=True)
class Manifest:
    """One stage's entry. `joules` is None where energy cannot be read."""

    stage: str
    key: str
    parents: dict[str, str]  # stage: digest
    part: Any  # the recipe's part
    code: str  # hash of the code that ran
    inputs: dict[str, str]  # file: SHA-256
    seed: int
    outputs: dict[str, dict[str, Any]]  # file in the stage's folder: sha256, bytes
    licences: dict[str, int] = field(default_factory=dict)  # documents by licence
    libraries: dict[str, str] = field(default_factory=dict)
    device: dict[str, Any] = field(default_factory=dict)
    flops: float = 0.0
    seconds: float = 0.0
    joules: float | None = None
    metrics: dict[str, Any] = field(default_factory=dict)
    finished: str = ""

    def __post_init__(self) -> None:
        """Raise InputError for names that lead out of the folder of a run or a stage."""
        for name in (self.stage, *self.parents, *self.outputs):
            if not stays_inside(name):
                raise InputError(f"a manifest names {str(name)[:80]!r}, which lies outside its run's folder; get the run or the model again")

    @property
    def digest(self) -> str:
        """Identity of the result: the key, and the hash of every output."""
        return digest([self.key, {name: output["sha256"] for name, output in self.outputs.items()}])


def key(stage: str, part: Any, code: str, seed: int, inputs: dict[str, str], parents: dict[str, str]) -> str:
    """The cache key of a stage."""
    return digest({"stage": stage, "part": part, "code": code, "seed": seed, "inputs": sorted(inputs.values()), "parents": parents})


def read(folder: Path) -> Manifest | None:
    """The manifest of a stage's folder, or None.

    Raises InputError when it is damaged, or its digest is not the one it was written with.
    """
    path = folder / "manifest.json"
    if not path.exists():
        return None
    table = read_json(path)
    written = table.pop("digest", None)
    if set(table) != {entry.name for entry in fields(Manifest)}:
        raise InputError(f"{path}: not a manifest of this version; remove it to run the stage again")
    manifest = Manifest(**table)
    if manifest.digest != written:
        raise InputError(
            f"{path}: changed since it was written (digest {str(written)[:12]}, now {manifest.digest[:12]}); remove it to run the stage again"
        )
    return manifest


def write(folder: Path, manifest: Manifest) -> None:
    """Record a finished stage; the manifest is written last, so a folder that has one is complete."""
    write_json(folder / "manifest.json", {"digest": manifest.digest, **asdict(manifest)})


def outputs(folder: Path, names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Hash and size of a stage's files."""
    return {name: {"sha256": sha256(folder / name), "bytes": (folder / name).stat().st_size} for name in sorted(names)}


def missing(folder: Path, manifest: Manifest) -> str | None:
    """The first output that is gone or has another size, or None."""
    for name, output in manifest.outputs.items():
        path = folder / name
        if not path.exists() or path.stat().st_size != output["bytes"]:
            return name
    return None


def damaged(folder: Path, manifest: Manifest) -> str | None:
    """The first output whose content is not the one recorded, or None; reads everything."""
    for name, output in manifest.outputs.items():
        if not (folder / name).exists() or sha256(folder / name) != output["sha256"]:
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
            found |= {f"{node.module}.{alias.name}" for alias in node.names if _is_module(f"{node.module}.{alias.name}")}
    return tuple(sorted(name for name in found if name.partition(".")[0] == package))


def _is_module(name: str) -> bool:
    parent, _, child = name.rpartition(".")
    if not parent.startswith(__name__.partition(".")[0]):
        return False
    folder = _source(parent).parent
    return _source(parent).name == "__init__.py" and ((folder / f"{child}.py").exists() or (folder / child / "__init__.py").exists())


# --- hashes of source files --------------------------------------------------------------------------------


class Hashes:
    """SHA-256 of source files, remembered by path, size and time of change, so that a large corpus is read once."""

    def __init__(self, memory: Path):
        self.memory = memory
        self.known: dict[str, list[Any]] = read_json(memory) if memory.exists() else {}
        self.changed = False

    def of(self, path: Path) -> str:
        """The hash of a file."""
        stat = path.stat()
        stamp = [stat.st_size, stat.st_mtime_ns]
        entry = self.known.get(str(path))
        if entry is None or entry[:2] != stamp:
            entry = [*stamp, sha256(path)]
            self.known[str(path)] = entry
            self.changed = True
        return str(entry[2])

    def keep(self) -> None:
        """Write what was learned."""
        if self.changed:
            write_json(self.memory, self.known)
            self.changed = False
