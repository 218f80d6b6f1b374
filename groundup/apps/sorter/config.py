"""The sorter's tables of a recipe."""

from typing import Literal

from groundup.config.base import InvalidCombination, knob
from groundup.config.recipe import ApplicationPart, Recipe
from groundup.config.source import BoxesSource, SimulatorSource


class LinePart(ApplicationPart):
    """The sorting line at work at the end of a run, with the model as its brain and an oracle beside it."""

    items: int = knob(500, "items", "that leave the line in each setting; more of them narrow the intervals", ge=1)
    settings: tuple[
        Literal["standard", "dark", "bright", "noise", "blur", "dirt", "fast", "crowded", "unknown"], ...
    ] = knob(("standard",), "names", "the standard line, or that line under shifts of the world", min_length=1)
    sure: int = knob(80, "percent", "an item whose kind is less sure goes to the bin for people", ge=50, le=99)

    def check(self, recipe: Recipe) -> None:
        """Refuse a recipe from which no model can learn to detect anything."""
        if not any(isinstance(source, SimulatorSource | BoxesSource) for source in recipe.source):
            raise InvalidCombination(
                ("line",),
                "the line's brain names things in pictures, but no source has boxes; add one of kind simulator or"
                " boxes",
            )
