"""Derived values: every value that the recipe does not set, with its reason."""

from dataclasses import asdict, dataclass, replace
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
    optimizer: str = "muon"  # of the matrices
    blocks: int = 1  # that train in turn
    block_steps: int = 0  # steps that each of several blocks trains at a time

    def as_dict(self) -> dict[str, Any]:
        """The values by name, for keys; those of blocks only where there are several, and of no usual optimiser."""
        table, usual = asdict(self), {"blocks": 1, "block_steps": 0, "optimizer": "muon"}
        return {key: value for key, value in table.items() if key not in usual or value != usual[key]}

    def rows(self, context: int) -> int:
        """Rows of a whole batch."""
        return max(1, self.batch_tokens // context)

    def steps(self, tokens: int, context: int) -> int:
        """Number of training steps for so many tokens, in whole batches."""
        return max(1, -(-tokens // (self.rows(context) * context)))


_INHERITED = ("batch_tokens", "micro_tokens", "muon_lr", "adamw_lr", "weight_decay", "clip", "optimizer", "blocks")
FORWARD = (
    "8,192 tokens a forward keep a small machine's memory low",
    "2,048 tokens a forward: most of the memory is activations where blocks train in turn",
)
TUNING = 5e-5  # rate of AdamW for matrices that are trained already
TURNS = 3  # of each block in a stage, at least, where it has the steps
LONGEST = 50  # steps of a turn: longer ones gain nothing (BAdam, arXiv:2404.02827)


def schedules(recipe: Recipe) -> list[tuple[Schedule, list[Derivation]]]:
    """The schedule of each stage, with the origin of every value: set, inherited from the stage before, or derived."""
    result: list[tuple[Schedule, list[Derivation]]] = []
    inherited: dict[str, Any] = {}
    for stage in recipe.stage:
        values, notes = {}, []
        chosen = {key: getattr(stage, key) or inherited.get(key) for key in ("optimizer", "blocks")}
        for key, (value, reason) in _derived_schedule(recipe, stage, chosen).items():
            origin: Literal["set", "derived", "inherited"] = "derived"
            if (given := getattr(stage, key)) is not None:
                reason = recipe.reasons.get(f"{stage.title}.{key}", "")
                value, origin, reason = given, "derived" if reason else "set", reason or "by the recipe"
                inherited[key] = given
            elif key in _INHERITED and key in inherited:
                value, origin, reason = inherited[key], "inherited", "from the stage before"
            values[key] = value
            notes.append(Derivation(f"{stage.title}.{key}", value, origin, reason))
        schedule, turns = _in_turns(Schedule(**values), stage, recipe.model.context)
        shown = schedule.as_dict()
        result.append((schedule, [note for note in notes if note.key.rpartition(".")[2] in shown] + turns))
    return result


def _in_turns(schedule: Schedule, stage: StagePart, context: int) -> tuple[Schedule, list[Derivation]]:
    """The schedule with the steps of a turn where blocks train in turn."""
    if schedule.blocks == 1:
        return schedule, []
    steps = schedule.steps(stage.tokens, context)
    found = max(1, min(LONGEST, steps // (TURNS * schedule.blocks)))
    origin: Literal["set", "derived"] = "derived" if stage.block_steps is None else "set"
    reason = f"{steps:,} steps give {TURNS} turns to each of {schedule.blocks} blocks, at most {LONGEST} steps each"
    note = Derivation(
        f"{stage.title}.block_steps", stage.block_steps or found, origin,
        "by the recipe" if stage.block_steps else reason
    )  # fmt: skip
    return replace(schedule, block_steps=note.value), [note]


def _derived_schedule(recipe: Recipe, stage: StagePart, given: dict[str, Any]) -> dict[str, tuple[Any, str]]:
    context, width = recipe.model.context, recipe.model.dimensions()["width"]
    rows, chosen = max(1, 8192 * recipe.model.depth // 4 // context), OBJECTIVES[stage.do]
    batch, in_blocks = stage.batch_tokens or rows * context, (given["blocks"] or 1) > 1
    return {
        "batch_tokens": (rows * context, "2,048 tokens a layer, in whole rows of the context"),
        "micro_tokens": (min(batch, max(context, 2048 if in_blocks else 8192)), FORWARD[in_blocks]),
        "muon_lr": (chosen.muon_lr, "Muon's update has the same size at every width"),
        "adamw_lr": _adamw_lr(recipe, given["optimizer"], width),
        "weight_decay": (0.01, "mild: most runs see each token few times"),
        "clip": (1.0, "cuts rare bursts, leaves ordinary steps alone"),
        "warmup": (0.02, "Muon needs little"),
        "decay": (chosen.decay, "a long fall to zero gives the lower loss"),
        "optimizer": ("muon", "fewer steps than AdamW for the same loss"),
        "blocks": (1, "all parameters at once"),
    }


def _adamw_lr(recipe: Recipe, optimizer: str | None, width: int) -> tuple[float, str]:
    if optimizer != "adamw":
        return 0.004 * (768 / width) ** 0.5, "0.004 at width 768, with the inverse root of the width"
    if recipe.model.start is None:
        return 0.001 * (768 / width) ** 0.5, "0.001 for matrices at width 768, with the inverse root of the width"
    return TUNING * (768 / width) ** 0.5, f"{TUNING:g} at width 768: matrices of given weights move little"


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
