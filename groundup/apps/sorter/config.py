"""The sorter's tables of a recipe."""

from typing import Literal

from groundup.config.base import InvalidCombination, Part, Range, knob
from groundup.config.recipe import ApplicationPart, Recipe


class WorldPart(Part):
    """The simulated sorting line and how much it varies; a [low, high] is a range that values are drawn from."""

    pixels: int = knob(192, "pixels", "a side of the camera's square picture", ge=32, le=512)
    belt: float = knob(0.35, "m/s", "speed of the belt", gt=0, le=1)
    rate: float = knob(
        90.0, "items/min", "that arrive at that speed; they come with the belt, and stop with it", gt=0, le=600
    )
    overlap: float = knob(0.1, "share", "of the items that arrive on top of the one before", ge=0, le=1)
    unknown: float = knob(
        0.0, "share", "of the items that are of no kind, and such as training never shows", ge=0, le=1
    )
    odd: float = knob(
        0.0, "share", "of the items that are of no kind, and such as training may show: each another", ge=0, le=1
    )
    light: Range = knob((0.8, 1.2), "factor", "brightness of the lamps")
    exposure: Range = knob((-0.2, 0.2), "stops", "of the camera")
    noise: Range = knob((1.0, 5.0), "grey levels", "standard deviation of the camera's noise, of 256 levels")
    blur: Range = knob((0.2, 0.6), "pixels", "standard deviation of the lens's blur")
    dirt: Range = knob((0.0, 0.35), "share", "of an item's surface under dirt")
    crush: Range = knob((0.0, 0.6), "share", "how flat an item was pressed; boxes are not")
    seal: float = knob(0.03, "share", "of the well placed picks at which suction does not take hold", ge=0, le=1)
    drop: float = knob(0.01, "share", "of the held items that fall on the way", ge=0, le=1)


class LinePart(ApplicationPart):
    """The sorting line at work at the end of a run, with the model as its brain and an oracle beside it."""

    items: int = knob(500, "items", "that leave the line in each setting; more of them narrow the intervals", ge=1)
    settings: tuple[
        Literal["standard", "dark", "bright", "noise", "blur", "dirt", "fast", "crowded", "unknown"], ...
    ] = knob(("standard",), "names", "the standard line, or that line under shifts of the world", min_length=1)
    sure: int = knob(80, "percent", "an item whose kind is less sure goes to the bin for people", ge=50, le=99)

    def check(self, recipe: Recipe) -> None:
        """Refuse a recipe from which no model can learn to detect anything."""
        if not any(source.has_boxes for source in recipe.source):
            raise InvalidCombination(
                ("line",),
                "the line's brain names things in pictures, but no source has boxes; add one of kind simulator or"
                " boxes",
            )
