"""Defaults that depend on the images of a recipe: patch, patches and context that fit small pictures.

Large pictures keep the general defaults. Values that the recipe sets are kept.
"""

import math
from pathlib import Path
from typing import Any

from groundup.config.model import ModelPart
from groundup.config.recipe import Recipe
from groundup.config.source import ImageShape, SourceConfig
from groundup.core.errors import InputError

PATCHES = (
    (16, 2),
    (48, 4),
    (math.inf, 8),
)  # pixels of a picture, and the patch side for smaller ones: about 49 patches
SMALL, WIDTH, HEAD = 48, 32, 32  # pixels; width a layer and head_dim of a model of small pictures alone
SPARE = 4  # tokens, for words that the vocabulary splits
STEP = 8  # tokens: contexts that kernels like


def settled(recipe: Recipe, home: Path) -> Recipe:
    """The recipe with patch, patches and context derived from its images, with reasons; unchanged without images.

    Missing or unreadable files are ignored here; reading the source reports them.
    """
    if recipe.model.start or recipe.model.vision_tower:
        return recipe
    shapes = list(filter(None, (_shape(source, home) for source in recipe.source)))
    if not shapes:
        return recipe
    found = _derived(recipe, shapes)
    values = recipe.model.model_dump(exclude_unset=True) | {key: value for key, (value, _) in found.items()}
    return recipe.derive(
        ModelPart.model_validate(values), {f"model.{key}": reason for key, (_, reason) in found.items()}
    )


def _shape(source: SourceConfig, home: Path) -> ImageShape | None:
    try:
        return source.image_shape(home)
    except InputError:
        return None


def _derived(recipe: Recipe, shapes: list[ImageShape]) -> dict[str, tuple[Any, str]]:
    """Value and reason of each knob that the recipe does not set."""
    given, model = recipe.model.model_fields_set, recipe.model
    side = max(shape.side for shape in shapes)
    patch = model.patch or next(patch for below, patch in PATCHES if side < below)
    patches = model.patches if "patches" in given else min(model.patches, math.ceil(side / patch) ** 2)
    values: dict[str, tuple[Any, str]] = {
        "patch": (patch, f"pixels a side: the pictures have about {side}"),
        "patches": (patches, f"as many as pictures of {side} pixels a side have"),
    }
    lengths = [shape.words for shape in shapes if shape.words is not None]
    if len(lengths) == len(recipe.source):  # no text, which needs longer rows
        context = math.ceil((patches + max(lengths) + SPARE) / STEP) * STEP
        values["context"] = (context, "one picture with its question and answer")
        if side < SMALL and not given & {"width", "head_dim", "heads"}:
            values["width"] = (
                WIDTH * model.depth,
                f"{WIDTH} a layer: more pictures in the same time",
            )
            values["head_dim"] = (HEAD, "several heads in a narrow model")
    return {key: value for key, value in values.items() if key not in given}
