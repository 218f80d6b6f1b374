"""Finished models: their folders, recipes and figures."""

from pathlib import Path
from typing import Any

from groundup import device
from groundup.config.evaluation import EvaluatePart
from groundup.config.load import RECIPE, load, stored
from groundup.config.recipe import Recipe
from groundup.core import ledger
from groundup.core.errors import InputError
from groundup.core.files import read_json
from groundup.kernels.cpu.matrix import Weights
from groundup.pipeline import stages
from groundup.pipeline.stages import StageContext
from groundup.train.distributed.mesh import ProcessMesh


def model_folder(path: Path) -> Path:
    """The model's folder: `path`, or the last finished training stage of that run. Raises InputError without one."""
    if (path / "config.json").exists():
        return path
    titles = [stage.title for stage in recall(path)[0].stage] if (path / RECIPE).exists() else []
    for title in reversed(titles):
        if ledger.read(path / title) is not None:
            return path / title
    raise InputError(
        f"{path}: no finished model there; give a run's folder, a finished training stage, or an exported model"
    )


def evaluate(
    model: Path, recipe_file: Path | None, choice: list[Path], name: str | None, runs: Path, weights: Weights
) -> dict[str, Any]:
    """Measure a finished model: by its recipe's suites, by another recipe's, or on multiple-choice files alone."""
    folder = model_folder(model)
    if recipe_file is not None:
        recipe, home = load(recipe_file), recipe_file.parent
        root = runs / recipe.name
    else:
        root = folder.parent
        recipe, home = recall(root)
    part = (
        EvaluatePart(suites=("choice",), choice=tuple(str(path.resolve()) for path in choice))
        if choice
        else recipe.evaluate
    )
    if part is None:
        raise InputError(
            f"{recipe.name}: its recipe has no [evaluate]; name one with --recipe, or a file with --choice"
        )
    recipe = recipe.model_copy(update={"evaluate": part})
    context = StageContext(recipe, home, root, device.pick(name), ProcessMesh())
    figures: dict[str, Any] = stages.measure(
        context, folder, [source.name for source in recipe.source], weights
    ).metrics
    return figures


def recall(root: Path) -> tuple[Recipe, Path]:
    """The recipe a run's folder was made by, and the folder its paths are relative to."""
    path = root / RECIPE
    if not path.exists():
        raise InputError(
            f"{path}: not there, so the model's recipe is unknown; name one with --recipe, or a file with --choice"
        )
    table = read_json(path)
    try:
        return stored(table["recipe"]), Path(table["home"])
    except (TypeError, KeyError, ValueError) as error:
        raise InputError(
            f"{path}: not a recipe as runs keep it ({type(error).__name__}); run the recipe again to write it anew"
        ) from None
