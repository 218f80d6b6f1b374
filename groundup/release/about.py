"""The purpose of a model: name, purpose and examples of its recipe, read from a run's folder or an export."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from groundup.config.load import RECIPE
from groundup.config.recipe import Examples, Purpose
from groundup.core import ledger
from groundup.core.errors import InputError
from groundup.core.files import read_json

ABOUT = "about.json"  # in an exported model's folder


class About(BaseModel):
    """The name of the run that a model comes from, one sentence about its purpose, and prompts to try."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    name: str = ""
    purpose: Purpose = ""
    examples: Examples = ()

    def stated(self) -> dict[str, object]:
        """Purpose and examples as JSON, without empty ones."""
        return self.model_dump(mode="json", include={"purpose", "examples"}, exclude_defaults=True)


def about(model: Path) -> About:
    """The `About` of a finished stage's or exported model's folder; empty for other weights. Raises InputError."""
    if (model / ABOUT).exists():
        return _parse(model / ABOUT, read_json(model / ABOUT))
    recipe = model.resolve().parent / RECIPE
    if not (model / ledger.MANIFEST).exists() or not recipe.exists():
        return About()
    table = read_json(recipe)
    return _parse(recipe, table.get("recipe") if isinstance(table, dict) else table)


def _parse(path: Path, table: object) -> About:
    try:
        return About.model_validate(table)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"])) or "it"
        raise InputError(f"{path}: {place}: {first['msg'][:1].lower()}{first['msg'][1:]}; write it anew") from None
