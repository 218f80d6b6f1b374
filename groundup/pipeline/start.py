"""Weights that a run starts from: their shape in place of the recipe's, their files, their licence and origin."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from groundup.config.model import ModelPart
from groundup.config.recipe import BROUGHT, Recipe
from groundup.core.errors import InputError
from groundup.core.gguf_file import GGUFFile
from groundup.model.weights import config_of, files_of
from groundup.release.lineage import UNSTATED, begun_with

CONTEXT = 2048  # tokens of a row that a recipe has, unless it sets them or the weights have fewer
FRONT = 1 << 16  # bytes of a README.md that are read
_KEYS = {"licence": ("license", "general.license"), "origin": ("base_model", "general.source.url")}


@dataclass(frozen=True)
class Statement:
    """What is stated about weights: a value, and where it stands."""

    value: str
    where: str


def path_of(recipe: Recipe, home: Path) -> Path | None:
    """The folder or file of the weights that a recipe starts from."""
    return None if recipe.model.start is None else (home / recipe.model.start).expanduser()


def begun(recipe: Recipe, home: Path) -> Recipe:
    """The recipe with the shape of the weights it starts from, each value with its reason; as it is without any.

    Raises InputError for weights that cannot be read, or that do not fit what the recipe wants of them.
    """
    if (path := path_of(recipe, home)) is None:
        return recipe
    config = config_of(path)
    if recipe.patch and not config.patch:
        raise InputError(f"{path}: these weights take no images; leave the sources of images out, or begin with others")
    if "context" in recipe.model.model_fields_set and recipe.model.context > config.context:
        raise InputError(
            f"model.context is {recipe.model.context:,}, but the weights in {path} know {config.context:,} positions;"
            " lower it"
        )
    reason = f"of the weights in {recipe.model.start}"
    values: dict[str, Any] = {key: getattr(config, key) for key in sorted(BROUGHT) if hasattr(config, key)}
    if not config.patch:
        values = {key: value for key, value in values.items() if key not in ("patch", "patches")}
    reasons = {f"model.{key}": reason for key in values}
    if "context" not in recipe.model.model_fields_set:
        values["context"] = min(CONTEXT, config.context)
        reasons["model.context"] = f"the weights know {config.context:,} positions; at most {CONTEXT:,} keep rows short"
    for key, stated in statements(recipe, path).items():
        reasons[f"model.{key}"], values[key] = stated.where, stated.value
    part = ModelPart.model_validate(recipe.model.model_dump(exclude_unset=True) | values)
    return recipe.derive(part, recipe.stage, reasons)


def statements(recipe: Recipe, path: Path) -> dict[str, Statement]:
    """Licence and origin of weights that the recipe leaves out: as a .gguf or README.md states them, or "unstated".

    Weights that groundup trained have a record, and need no statement.
    """
    if begun_with(weight_files(path)):
        return {}
    found = _metadata(path)
    return {
        key: found.get(key, Statement(UNSTATED, f"neither the recipe nor {path} states it"))
        for key in _KEYS
        if getattr(recipe.model, key) is None
    }


def _metadata(path: Path) -> dict[str, Statement]:
    if path.is_file():
        table, place = GGUFFile.open(path).metadata, 1
    else:
        readme = path / "README.md"
        table, place = (_front_matter(readme) if readme.is_file() else {}), 0
        path = readme
    values = {key: table.get(names[place]) for key, names in _KEYS.items()}
    return {
        key: Statement(value.strip(), f"stated in {path.name}")
        for key, value in values.items()
        if isinstance(value, str) and value.strip()
    }


def _front_matter(readme: Path) -> dict[str, str]:
    """The plain values of the YAML between the first two lines of three dashes of a model card."""
    with readme.open(encoding="utf-8", errors="replace") as file:
        text = file.read(FRONT)
    found = re.match(r"---\n(.*?)\n---\n", text, re.DOTALL)
    lines = found[1].splitlines() if found else []
    pairs = (re.fullmatch(r"(\w+): *[\"']?([^\"'\[\]{}|>]+?)[\"']? *", line) for line in lines)
    return {pair[1]: pair[2] for pair in pairs if pair is not None}


def weight_files(path: Path) -> list[Path]:
    """The files of weights: a .gguf, or config.json and tensors."""
    return [path] if path.is_file() else [path / "config.json", *files_of(path)]
