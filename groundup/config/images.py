"""Defaults that depend on the images of a recipe: patch, patches, context and augmentation that fit small pictures.

Large pictures keep the general defaults. Values that the recipe sets are kept.
"""

import math
from pathlib import Path
from typing import Any

from groundup.config.model import ModelPart
from groundup.config.recipe import Recipe
from groundup.config.source import ImageShape, SourceConfig
from groundup.config.training import StagePart
from groundup.core.errors import InputError
from groundup.core.tables import OBJECTIVES

PATCH = 8  # pixels a side, for pictures that are not small
SMALL = 48  # pixels a side; smaller pictures are small, and have the defaults that follow
ACROSS = 4  # patches a side: few tokens, so that more pictures are seen in the same time
WIDTH, HEAD = 32, 32  # width a layer and head_dim of a model of small pictures alone
PICTURES = 64  # a step
AFFINE = 0.2  # strength of random affine maps: up to 6 degrees, 4 % of a side and 6 % of the size
SPARE, SPARE_OF_SMALL = 4, 2  # tokens, for words that the vocabulary splits
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
    reasons = {f"model.{key}": reason for key, (_, reason) in found.items()}
    model = ModelPart.model_validate(values)
    stages = {stage.title: _of_small(stage, model.context) for stage in recipe.stage if _small(recipe, shapes)}
    for title, derived in stages.items():
        reasons |= {f"{title}.{key}": reason for key, (_, reason) in derived.items()}
    settled_stages = (
        stage.model_copy(update={key: value for key, (value, _) in stages.get(stage.title, {}).items()})
        for stage in recipe.stage
    )
    return recipe.derive(model, tuple(settled_stages), reasons)


def _of_small(stage: StagePart, context: int) -> dict[str, tuple[Any, str]]:
    """Value and reason of what a stage that learns from small pictures alone does not set."""
    values: dict[str, tuple[Any, str]] = {}
    if not OBJECTIVES[stage.do].predicts_patches:
        values["affine"] = (AFFINE, "small pictures may turn, move and stretch a little")
    values["batch_tokens"] = (PICTURES * context, f"{PICTURES} small pictures: more steps for as many of them")
    return {key: value for key, value in values.items() if getattr(stage, key) is None}


def _shape(source: SourceConfig, home: Path) -> ImageShape | None:
    try:
        return source.image_shape(home)
    except InputError:
        return None


def _alone(recipe: Recipe, shapes: list[ImageShape]) -> bool:
    """Whether every source is of images with few words: no text, which wants longer rows."""
    return len(shapes) == len(recipe.source) and all(shape.words is not None for shape in shapes)


def _small(recipe: Recipe, shapes: list[ImageShape]) -> bool:
    """Whether every source is of small pictures with few words."""
    return _alone(recipe, shapes) and max(shape.side for shape in shapes) < SMALL


def _derived(recipe: Recipe, shapes: list[ImageShape]) -> dict[str, tuple[Any, str]]:
    """Value and reason of each knob that the recipe does not set."""
    given, model = recipe.model.model_fields_set, recipe.model
    side = max(shape.side for shape in shapes)
    patch = model.patch or (max(2, math.ceil(side / ACROSS)) if side < SMALL else PATCH)
    patches = model.patches if "patches" in given else min(model.patches, math.ceil(side / patch) ** 2)
    values: dict[str, tuple[Any, str]] = {
        "patch": (patch, f"pixels a side: the pictures have about {side}"),
        "patches": (patches, f"as many as pictures of {side} pixels a side have"),
    }
    if _alone(recipe, shapes):
        words = max(shape.words or 0 for shape in shapes)
        spare = SPARE_OF_SMALL if side < SMALL else SPARE
        context = math.ceil((patches + words + spare) / STEP) * STEP
        values["context"] = (context, "one picture with its question and answer")
        if side < SMALL and not given & {"width", "head_dim", "heads"}:
            values["width"] = (
                WIDTH * model.depth,
                f"{WIDTH} a layer: more pictures in the same time",
            )
            values["head_dim"] = (HEAD, "several heads in a narrow model")
    return {key: value for key, value in values.items() if key not in given}
