"""The running Python's own library as a corpus: docstrings, documentation topics and source, in a fixed order."""

import ast
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from platform import python_version
from typing import Literal

from groundup.config.base import knob
from groundup.core.errors import InputError
from groundup.core.tables import SOURCES
from groundup.data.document import Document
from groundup.data.filtered import Filtered
from groundup.data.source import Source

SKIPPED = {
    "test",
    "tests",
    "idle_test",
    "idlelib",
    "site-packages",
    "dist-packages",
    "__pycache__",
}  # tests, and what is not the library
Definition = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


class LibrarySource(Source):
    """The running Python's own library: real text that is on every machine."""

    licence: str = knob("PSF-2.0", "SPDX id", "the licence of CPython and its library")
    parts: tuple[Literal["docstrings", "source", "topics"], ...] = knob(
        ("docstrings", "topics"),
        "names",
        "default: prose alone, as source code is much larger and harder",
        min_length=1,
    )

    def made_by(self) -> dict[str, str]:
        """The version of Python: another one has another library."""
        return {"python": python_version()}

    def read(self, folder: Path, drops: Filtered) -> Iterator[Document]:
        """The requested parts in order, files and topics by name. Raises InputError without a library on disk."""
        root = Path(sysconfig.get_path("stdlib"))
        edition = f"python-{python_version()}"
        for part in self.parts:
            match part:
                case "topics":
                    pieces = _topics()
                case "docstrings":
                    pieces = (piece for path in _files(root) for piece in _docstrings(path, root, drops))
                case "source":
                    pieces = (piece for path in _files(root) for piece in _source(path, root, drops))
            for place, text in pieces:
                yield Document(self.name, f"{edition}/{place}", self.licence, text=text)


def _files(root: Path) -> list[Path]:
    paths = sorted(path for path in root.rglob("*.py") if SKIPPED.isdisjoint(path.relative_to(root).parts))
    if not paths:
        raise InputError(
            f"python-library: no Python source in {root}; use a Python with its library on disk, or leave parts at"
            " topics"
        )
    return paths


def _topics() -> Iterator[tuple[str, str]]:
    from pydoc_data.topics import topics  # half a megabyte of text: only on request

    for name in sorted(topics):
        yield f"topics/{name}", topics[name]


def _source(path: Path, root: Path, drops: Filtered) -> Iterator[tuple[str, str]]:
    place = path.relative_to(root).as_posix()
    try:
        yield place, path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        drops.note("invalid UTF-8", place, f"byte {error.start}")


def _docstrings(path: Path, root: Path, drops: Filtered) -> Iterator[tuple[str, str]]:
    """One text for the module and one for each class or function, methods included, by qualified name."""
    relative = path.relative_to(root)
    try:
        module = ast.parse(path.read_bytes())
    except SyntaxError as error:
        drops.note("not Python", relative.as_posix(), str(error))
        return
    name = ".".join(relative.with_suffix("").parts).removesuffix(".__init__")
    if text := ast.get_docstring(module):
        yield relative.as_posix(), f"{name}\n\n{text}\n"
    for node in _definitions(module):
        if sections := list(_sections(node, name)):
            yield f"{relative.as_posix()}:{node.lineno}", "\n\n".join(sections) + "\n"


def _sections(node: Definition, parent: str) -> Iterator[str]:
    name = f"{parent}.{node.name}"
    if text := ast.get_docstring(node):
        yield f"{name}\n\n{text}"
    for inner in _definitions(node):
        yield from _sections(inner, name)


def _definitions(node: ast.Module | Definition) -> Iterator[Definition]:
    return (child for child in node.body if isinstance(child, Definition))


SOURCES.add("python-library", LibrarySource)
