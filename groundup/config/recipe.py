"""The recipe: every knob, typed, with its unit, default and reason.

A recipe is one TOML file. `load` checks it before anything runs; its errors name file, line and key. Values that a
recipe does not set are derived from `model.depth`; `derivations` lists each derived value with its reason.
"""

from collections.abc import Iterable
from functools import cache
from importlib import import_module
from typing import Annotated, Any, TypeVar

from pydantic import Field, PrivateAttr, StringConstraints, ValidationInfo, create_model, model_validator

from groundup.config.base import NAME, InvalidCombination, Part, knob
from groundup.config.evaluation import EvaluatePart
from groundup.config.model import ModelPart, TokenizerPart
from groundup.config.source import AnySource
from groundup.config.training import StagePart
from groundup.core.errors import InputError
from groundup.core.tables import APPLICATIONS, OBJECTIVES


class ApplicationPart(Part):
    """A table at the top of a recipe that an application declares in its `Application.recipe`."""

    def check(self, recipe: "Recipe") -> None:
        """Raise InvalidCombination where the recipe cannot work with this table."""


P = TypeVar("P", bound=ApplicationPart)


# of a model, what the weights in its `start` decide
BROUGHT = {"depth", "width", "head_dim", "heads", "kv_heads", "ffn", "tied", "rope_base", "patch", "patches"}

Purpose = Annotated[str, StringConstraints(max_length=300, pattern=r"^[^\n]*$")]
Examples = Annotated[tuple[Annotated[str, StringConstraints(min_length=1, max_length=500)], ...], Field(max_length=8)]


class Recipe(Part):
    """A whole recipe."""

    name: str = knob(..., "name", "names the run's folder", pattern=NAME)
    purpose: Purpose = knob("", "sentence", "the purpose of the model, shown by chat, page, API, report and card")
    examples: Examples = knob((), "prompts", "example prompts, shown by chat, page and API; not used in training")
    seed: int = knob(17, "number", "seed of every random choice", ge=0, lt=2**63)
    source: tuple[AnySource, ...] = knob(..., "tables", "where the data comes from", min_length=1)
    tokenizer: TokenizerPart = TokenizerPart()
    model: ModelPart = ModelPart()
    stage: tuple[StagePart, ...] = knob((), "tables", "training stages, in order")
    evaluate: EvaluatePart | None = None
    _reasons: dict[str, str] = PrivateAttr(default_factory=dict)  # of values that its images gave

    def derive(self, model: ModelPart, stage: tuple[StagePart, ...], reasons: dict[str, str]) -> "Recipe":
        """The recipe with values of model and stages that follow from its data, each with its reason."""
        derived = self.model_copy(update={"model": model, "stage": stage})
        derived._reasons = reasons
        return derived

    @property
    def reasons(self) -> dict[str, str]:
        """Reasons of the values of model and stages that were derived from the data, by key."""
        return self._reasons

    @staticmethod
    def of(table: Any, stored: bool = False) -> "Recipe":
        """The recipe that a table holds, or a run keeps, with the tables of applications. Raises ValidationError."""
        return recipe_class().model_validate(table, context={"stored": True} if stored else None)

    def application(self, kind: type[P]) -> P | None:
        """The recipe's table of an application, by its class; None if the recipe has none."""
        return next((part for part in vars(self).values() if isinstance(part, kind)), None)

    @property
    def patch(self) -> int:
        """Pixels a side of an image patch; 0 for a model that takes no images."""
        seen = any(source.holds == "images" for source in self.source)
        return self.model.patch or (16 if self.model.vision_tower else 8 if seen else 0)

    @model_validator(mode="after")
    def _combinations(self, info: ValidationInfo) -> "Recipe":
        _unique("source", [source.name for source in self.source])
        _unique("stage", [stage.title for stage in self.stage])
        for number, stage in enumerate(self.stage):
            self._check_stage(number, stage)
        self._check_model()
        if not info.context:  # a stored recipe has what was derived
            self._check_start()
        for part in vars(self).values():
            if isinstance(part, ApplicationPart):
                part.check(self)
        return self

    def _check_start(self) -> None:
        """Weights bring their shape and tokenizer; what is stated about them is about weights that are named."""
        given = self.model.model_fields_set
        if self.model.start is None:
            for key in sorted(given & {"licence", "origin"}):
                raise InvalidCombination(
                    ("model", key), f"{key} is that of the weights in model.start; name them there"
                )
            return
        for key in sorted(given & BROUGHT):
            raise InvalidCombination(("model", key), f"the weights in model.start bring their own {key}; leave it out")
        for key in sorted(self.tokenizer.model_fields_set):
            raise InvalidCombination(
                ("tokenizer", key), "the weights in model.start bring their own tokenizer; leave the table out"
            )

    def _check_stage(self, number: int, stage: StagePart) -> None:
        names = [source.name for source in self.source]
        for name in stage.mix:
            if name not in names:
                raise InvalidCombination(
                    ("stage", number, "mix", name),
                    f"mix names {name!r}, which is no source; the sources are {', '.join(names)}",
                )
        self._check_objective(number, stage)
        if (stage.warmup or 0) + (stage.decay or 0) > 1:
            raise InvalidCombination(
                ("stage", number, "decay"), "warmup and decay together are more than the whole stage; lower one"
            )

    def _check_objective(self, number: int, stage: StagePart) -> None:
        """Preference pairs belong to the objective that learns from them, which needs weights to start from."""
        pairs = OBJECTIVES[stage.do].pairs
        for source in self.source:
            if source.name in stage.mix and (source.holds == "preferences") != pairs:
                fault = "learns from pairs of answers, which" if pairs else "cannot learn from pairs of answers, as"
                raise InvalidCombination(
                    ("stage", number, "mix", source.name),
                    f"{stage.do} {fault} source {source.name!r} {'does not hold' if pairs else 'holds'}; pairs are"
                    " of kind 'preferences', for the objective 'prefer'",
                )
        if stage.preference is not None and not pairs:
            raise InvalidCombination(
                ("stage", number, "preference"), f"{stage.do} has no preference loss; take the table out"
            )
        if pairs and not number and self.model.start is None:
            raise InvalidCombination(
                ("stage", number, "do"),
                f"{stage.do} starts from a model that answers; put a stage before it, or name one in model.start",
            )
        if pairs and (stage.blocks or 1) > 1:
            raise InvalidCombination(
                ("stage", number, "blocks"), f"{stage.do} trains all parameters at once; take blocks out"
            )

    def _check_model(self) -> None:
        if self.patch and self.model.patches + 2 >= self.model.context:
            raise InvalidCombination(
                ("model", "context"),
                f"an image of {self.model.patches} patches and a question do not fit {self.model.context} tokens; raise"
                " it, or lower model.patches",
            )
        if self.model.vision_tower and self.model.start:
            raise InvalidCombination(
                ("model", "vision_tower"),
                "a model that model.start names brings its own vision encoder; leave one of the two out",
            )
        shape = self.model.dimensions()
        if shape["heads"] % shape["kv_heads"]:
            raise InvalidCombination(
                ("model", "kv_heads"),
                f"kv_heads {shape['kv_heads']} does not divide heads {shape['heads']}; choose a divisor",
            )
        if shape["head_dim"] % 2:
            raise InvalidCombination(
                ("model", "head_dim"),
                f"head_dim {shape['head_dim']} is odd; rotary positions turn pairs of features: choose an even one",
            )


@cache
def recipe_class() -> type[Recipe]:
    """The recipe's class with a field for each table that an application declares."""
    declared = [pair for _, application in APPLICATIONS.items() for pair in application.recipe.items()]
    fields: dict[str, Any] = {key: (_part(name) | None, None) for key, name in declared}
    return create_model("Recipe", __base__=Recipe, __module__=__name__, __doc__=Recipe.__doc__, **fields)


def _part(name: str) -> type[ApplicationPart]:
    module, _, of_class = name.partition(":")
    part: Any = getattr(import_module(module), of_class)
    if isinstance(part, type) and issubclass(part, ApplicationPart):
        return part
    raise InputError(f"{name} is declared as a table of recipes, and is no ApplicationPart")


def _unique(key: str, names: Iterable[str]) -> None:
    seen: set[str] = set()
    for number, name in enumerate(names):
        if name in seen:
            raise InvalidCombination((key, number, "name"), f"two {key}s are called {name!r}; give each its own name")
        seen.add(name)
