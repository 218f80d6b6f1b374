"""Finished models: their folders, recipes and figures."""

from pathlib import Path
from typing import Any

from groundup import device
from groundup.config.evaluation import EvaluatePart
from groundup.config.load import RECIPE, load, stored
from groundup.config.recipe import Recipe
from groundup.core import console, ledger
from groundup.core.errors import InputError
from groundup.core.files import read_json
from groundup.core.gguf_file import SUFFIX
from groundup.evaluate import runner
from groundup.kernels.cpu.matrix import Weights
from groundup.pipeline import stages
from groundup.pipeline.stages import StageContext
from groundup.train.distributed.mesh import ProcessMesh

A_FILE = "a file with --text, --questions, --choice or --programs"


def model_folder(path: Path) -> Path:
    """The model's folder or GGUF file: `path`, or the last finished training stage of that run.

    Raises InputError without one.
    """
    if (path / "config.json").exists() or (path.suffix == SUFFIX and path.is_file()):
        return path
    titles = [stage.title for stage in recall(path)[0].stage] if (path / RECIPE).exists() else []
    for title in reversed(titles):
        if ledger.read(path / title) is not None:
            return path / title
    raise InputError(
        f"{path}: no finished model there; give a run's folder, a finished training stage, an exported model, a folder"
        " of open weights, or a GGUF file"
    )


def evaluate(model: Path, recipe_file: Path | None, name: str | None, runs: Path, weights: Weights) -> dict[str, Any]:
    """Evaluate a finished model with its recipe's suites, or with another recipe's."""
    folder = model_folder(model)
    if recipe_file is not None:
        recipe, home = load(recipe_file), recipe_file.parent
        root = runs / recipe.name
    else:
        root = folder.parent
        recipe, home = recall(root)
    if recipe.evaluate is None:
        raise InputError(f"{recipe.name}: its recipe has no [evaluate]; name one with --recipe, or {A_FILE}")
    context = StageContext(recipe, home, root, device.pick(name), ProcessMesh())
    sources = [source.name for source in recipe.source]
    figures: dict[str, Any] = stages.measure(context, folder, sources, weights).metrics
    return figures


def evaluate_files(model: Path, options: EvaluatePart, name: str | None, weights: Weights) -> dict[str, Any]:
    """Evaluate a finished model on files alone, without its recipe."""
    with console.progress("evaluate", None, "items") as advance:
        return runner.evaluate_files(model_folder(model), options, device.pick(name), advance, weights).as_json()


def recall(root: Path) -> tuple[Recipe, Path]:
    """The recipe of a run's folder, and the folder to which its paths are relative."""
    path = root / RECIPE
    if not path.exists():
        raise InputError(f"{path}: not there, so the model's recipe is unknown; name one with --recipe, or {A_FILE}")
    table = read_json(path)
    try:
        return stored(table["recipe"]), Path(table["home"])
    except (TypeError, KeyError, ValueError) as error:
        raise InputError(
            f"{path}: not a recipe as runs keep it ({type(error).__name__}); run the recipe again to write it anew"
        ) from None
