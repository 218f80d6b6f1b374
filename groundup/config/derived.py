"""Derived values: every value that the recipe does not set, with its reason."""

from dataclasses import dataclass
from typing import Any, Literal

from groundup.config.model import ModelPart
from groundup.config.recipe import Recipe
from groundup.config.training import StagePart
from groundup.core.tables import OBJECTIVES


@dataclass(frozen=True)
class Derivation:
    """One value of the complete recipe and its origin: set, inherited or derived."""

    key: str
    value: Any
    origin: Literal["set", "derived", "inherited"]
    reason: str


@dataclass(frozen=True)
class Schedule:
    """The hyperparameters of optimisation of one stage, all known."""

    batch_tokens: int
    micro_tokens: int
    muon_lr: float
    adamw_lr: float
    weight_decay: float
    clip: float
    warmup: float
    decay: float

    def rows(self, context: int) -> int:
        """Rows of a whole batch."""
        return max(1, self.batch_tokens // context)

    def steps(self, tokens: int, context: int) -> int:
        """Number of training steps for so many tokens, in whole batches."""
        return max(1, -(-tokens // (self.rows(context) * context)))


_INHERITED = ("batch_tokens", "micro_tokens", "muon_lr", "adamw_lr", "weight_decay", "clip")


def schedules(recipe: Recipe) -> list[tuple[Schedule, list[Derivation]]]:
    """The schedule of each stage, with the origin of every value: set, inherited from the stage before, or derived."""
    result: list[tuple[Schedule, list[Derivation]]] = []
    inherited: dict[str, Any] = {}
    for stage in recipe.stage:
        values, notes = {}, []
        for key, (value, reason) in _derived_schedule(recipe, stage).items():
            origin: Literal["set", "derived", "inherited"] = "derived"
            if (given := getattr(stage, key)) is not None:
                reason = recipe.reasons.get(f"{stage.title}.{key}", "")
                value, origin, reason = given, "derived" if reason else "set", reason or "by the recipe"
                inherited[key] = given
            elif key in _INHERITED and key in inherited:
                value, origin, reason = inherited[key], "inherited", "from the stage before"
            values[key] = value
            notes.append(Derivation(f"{stage.title}.{key}", value, origin, reason))
        result.append((Schedule(**values), notes))
    return result


def _derived_schedule(recipe: Recipe, stage: StagePart) -> dict[str, tuple[Any, str]]:
    context, width = recipe.model.context, recipe.model.dimensions()["width"]
    rows, chosen = max(1, 8192 * recipe.model.depth // 4 // context), OBJECTIVES[stage.do]
    batch = stage.batch_tokens or rows * context
    return {
        "batch_tokens": (rows * context, "2,048 tokens a layer, in whole rows of the context"),
        "micro_tokens": (min(batch, max(context, 8192)), "8,192 tokens a forward keep a small machine's memory low"),
        "muon_lr": (chosen.muon_lr, "Muon's update has the same size at every width"),
        "adamw_lr": (0.004 * (768 / width) ** 0.5, "0.004 at width 768, with the inverse root of the width"),
        "weight_decay": (0.01, "mild: most runs see each token few times"),
        "clip": (1.0, "cuts rare bursts, leaves ordinary steps alone"),
        "warmup": (0.02, "Muon needs little"),
        "decay": (chosen.decay, "a long fall to zero gives the lower loss"),
    }


def derivations(recipe: Recipe) -> list[Derivation]:
    """Every derived, inherited or set value of model and stages, with its reason."""
    shape = recipe.model.dimensions()
    model = [_of_shape(recipe, key, value) for key, value in shape.items()]
    if recipe.patch:
        model.append(_of_patch(recipe))
    parts = {"model": recipe.model} | {stage.title: stage for stage in recipe.stage}
    for key, reason in recipe.reasons.items():
        part, _, name = key.partition(".")
        if name not in {"patch", "batch_tokens", *shape}:
            model.append(Derivation(key, getattr(parts[part], name), "derived", reason))
    return model + [note for _, notes in schedules(recipe) for note in notes]


def _of_shape(recipe: Recipe, name: str, value: int) -> Derivation:
    key = f"model.{name}"
    if reason := recipe.reasons.get(key):
        return Derivation(key, value, "derived", reason)
    if getattr(recipe.model, name) is not None:
        return Derivation(key, value, "set", "by the recipe")
    return Derivation(key, value, "derived", str(ModelPart.model_fields[name].description))


def _of_patch(recipe: Recipe) -> Derivation:
    if reason := recipe.reasons.get("model.patch"):
        return Derivation("model.patch", recipe.patch, "derived", reason)
    if recipe.model.patch is None:
        return Derivation("model.patch", recipe.patch, "derived", "pixels a side, as a source has images")
    return Derivation("model.patch", recipe.patch, "set", "by the recipe")
