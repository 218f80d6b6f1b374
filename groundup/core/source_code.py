"""The hash of the code that a stage ran, recorded in its manifest."""

import ast
import importlib.util
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from groundup.core.files import digest, sha256


def code_version(module: str) -> str:
    """Hash of a module's source and of all modules of this package that it imports, directly or not.

    A file beside a module with the same stem (`chat.jinja` beside `chat.py`) belongs to it.
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
    for node in _executed(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            found |= {
                f"{node.module}.{alias.name}" for alias in node.names if _is_module(f"{node.module}.{alias.name}")
            }
    return tuple(sorted(name for name in found if name.partition(".")[0] == package))


def _executed(tree: ast.AST) -> Iterator[ast.AST]:
    """All nodes but those of `if TYPE_CHECKING:`, whose imports run no code."""
    yield tree
    if not (isinstance(tree, ast.If) and isinstance(tree.test, ast.Name) and tree.test.id == "TYPE_CHECKING"):
        for node in ast.iter_child_nodes(tree):
            yield from _executed(node)


def _is_module(name: str) -> bool:
    parent, _, child = name.rpartition(".")
    if not parent.startswith(__name__.partition(".")[0]):
        return False
    folder = _source(parent).parent
    return _source(parent).name == "__init__.py" and (
        (folder / f"{child}.py").exists() or (folder / child / "__init__.py").exists()
    )
