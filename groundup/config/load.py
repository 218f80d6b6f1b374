"""Read a recipe from its file, with overrides; errors name file, line and key."""

import os
import re
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from groundup.config.base import InvalidCombination, Part
from groundup.config.images import settled
from groundup.config.recipe import Recipe, recipe_class
from groundup.core.errors import InputError
from groundup.core.tables import SOURCES

RECIPE = "recipe.json"  # in a run's folder: the recipe of the run


# of the table of the model, what a recipe keeps that goes on from a finished one: the rest is the weights'
KEPT = {"context", "precision"}


def load(path: Path, overrides: Iterable[str] = (), start: Path | None = None) -> Recipe:
    """Read and check a recipe with `key=value` overrides; its images, if they exist, decide some defaults.

    With `start`, it goes on from those weights, with their shape and tokenizer in place of its own.
    Raises InputError with file, line and key of an error.
    """
    changes = list(overrides)
    try:
        str(path.absolute().parent).encode()
    except UnicodeEncodeError:  # a JSON record cannot hold it
        raise InputError(f"the recipe's folder {os.fsencode(path.parent)!r} is not UTF-8; rename it") from None
    try:
        text = path.read_text(encoding="utf-8-sig")
        table = tomllib.loads(text)
    except FileNotFoundError:
        raise InputError(f"{path}: no such recipe; `groundup new NAME --like demo` makes one") from None
    except RecursionError:
        raise InputError(f"{path}: not a readable TOML file (it is nested too deep); write it flatter") from None
    except (OSError, ValueError) as error:  # ValueError: not UTF-8, not TOML, or a number of thousands of digits
        raise InputError(f"{path}: not a readable TOML file ({_few_words(error)}); mend it") from None
    if start is not None:
        _begin_with(table, start)
    for change in changes:
        _override(table, change)
    if long := next((value for value in _numbers(table) if value.bit_length() > 63), None):
        raise InputError(f"{path}: the number {str(long)[:20]}… has more than 64 bits; write a smaller one")
    try:
        recipe = Recipe.of(table)
    except ValidationError as error:
        raise InputError(_explain(path, text, table, changes, error)) from None
    return settled(recipe, path.parent)


def _begin_with(table: dict[str, Any], start: Path) -> None:
    """Replace the shape and the tokenizer of a recipe by those of weights."""
    table.pop("tokenizer", None)
    model = table.get("model")
    kept = {key: model[key] for key in KEPT & model.keys()} if isinstance(model, dict) else {}
    table["model"] = kept | {"start": str(start)}


def _numbers(value: Any) -> Iterator[int]:
    """All whole numbers in a table."""
    if isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _numbers(item)
    elif isinstance(value, int):
        yield value


def stored(table: Any) -> Recipe:
    """The recipe that a run stores as JSON, in which null means "not set". Raises ValidationError."""
    return Recipe.of(_without_nulls(table), stored=True)


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    return [_without_nulls(item) for item in value] if isinstance(value, list) else value


def _override(table: dict[str, Any], override: str) -> None:
    key, equals, value = override.partition("=")
    steps = key.strip().split(".")
    if not equals or not all(steps):
        raise InputError(f"--set {override}: expected key=value, such as model.depth=6")
    target: Any = table
    for step in steps[:-1]:
        if isinstance(target, list):
            target = _member(target, step, override)
        elif isinstance(target, dict):
            target = target.setdefault(step, {})
        else:
            raise InputError(
                f"--set {override}: {step!r} lies inside a plain value; see `groundup run --dry-run` for the keys"
            )
    if not isinstance(target, dict):
        raise InputError(f"--set {override}: {key} is a list; name one of its tables, such as stage.pretrain.tokens")
    target[steps[-1]] = _value(value.strip())


def _member(tables: list[dict[str, Any]], step: str, override: str) -> dict[str, Any]:
    for number, table in enumerate(tables):
        if step in (str(number), table.get("name"), table.get("do")):
            return table
    names = ", ".join(str(table.get("name") or table.get("do")) for table in tables)
    raise InputError(f"--set {override}: nothing is called {step!r} there; there are {names}")


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
    except (RecursionError, ValueError) as error:
        raise InputError(f"--set {text[:40]}: no value of a recipe ({_few_words(error)})") from None


def _few_words(error: Exception) -> str:
    """The first line of an error, without Python's advice about its own settings."""
    return str(error).partition("; use sys.")[0]


def _explain(path: Path, text: str, table: dict[str, Any], changes: list[str], error: ValidationError) -> str:
    first = error.errors()[0]
    cause = first.get("ctx", {}).get("error")
    place = tuple(first["loc"]) + (cause.place if isinstance(cause, InvalidCombination) else ())
    key = ".".join(str(step) for step in place) or "the recipe"
    line = _line(text, place)
    where = f"{path} with --set {' '.join(changes)}" if changes else f"{path}:{line}" if line else f"{path}"
    if first["type"] == "extra_forbidden":
        return f"{where}: unknown key {key}; known there: {', '.join(_known(place, table))}"
    if first["type"] == "missing":
        return f"{where}: {key} is missing; add it"
    if isinstance(cause, ValueError):
        return f"{where}: {key}: {cause}"
    found = first.get("input")
    shown = "" if isinstance(found, dict | list) else f", found {found!r}"
    return f"{where}: {key}: {first['msg'][0].lower()}{first['msg'][1:]}{shown}"


def _known(place: tuple[str | int, ...], table: dict[str, Any]) -> list[str]:
    part: type[BaseModel] = recipe_class()
    for name in (step for step in place[:-1] if isinstance(step, str)):
        annotation = part.model_fields[name].annotation  # a part, a tuple of parts, or a part or None
        if name == "source":
            part = SOURCES[table["source"][place[1]]["kind"]]
        else:
            part = next(
                kind
                for kind in (annotation, *get_args(annotation))
                if isinstance(kind, type) and issubclass(kind, Part)
            )
    return list(part.model_fields)


def _line(text: str, place: tuple[str | int, ...]) -> int | None:
    """The line of the file that holds a key, or its table; None if it was set on the command line."""
    if not place:
        return None
    keys = [str(step) for step in place if not isinstance(step, int)]
    index = next((step for step in place if isinstance(step, int)), 0)
    table, count, best = "", -1, None
    for number, line in enumerate(text.split("\n"), 1):
        if header := re.match(r"\s*\[\[?\s*([\w.-]+)\s*\]\]?", line):
            table = header.group(1)
            count += table == keys[0] and line.lstrip().startswith("[[")
            if table == keys[0] and index in (count, 0) and (best is None or index == count):
                best = number
            continue
        inside = (table == keys[0] and (count in (index, -1))) if len(place) > 1 else table == ""
        name = keys[min(1, len(keys) - 1)] if len(place) > 1 else keys[0]
        if inside and re.match(rf'\s*"?{re.escape(name)}"?\s*=', line):
            return number
    return best
