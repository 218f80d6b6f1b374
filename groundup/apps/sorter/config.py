"""The sorter's tables of a recipe: the simulator of a source, and the stage "line"."""

from typing import Literal

from groundup.config.base import InvalidCombination, Part, Range, knob
from groundup.config.recipe import ApplicationPart, Recipe


class SimulatorConfig(Part):
    """The simulated sorting line and how much it varies; a [low, high] is a range that values are drawn from."""

    pixels: int = knob(192, "pixels", "side of the camera's square image", ge=32, le=512)
    belt: float = knob(0.35, "m/s", "speed of the belt", gt=0, le=1)
    rate: float = knob(
        90.0, "items/min", "arrivals at that speed of the belt; items are fed as the belt runs", gt=0, le=600
    )
    overlap: float = knob(0.1, "fraction", "of the items arrive on top of the one before", ge=0, le=1)
    unknown: float = knob(0.0, "fraction", "of the items are out-of-class objects that training never has", ge=0, le=1)
    odd: float = knob(0.0, "fraction", "of the items are out-of-class objects to train on, no two alike", ge=0, le=1)
    light: Range = knob((0.8, 1.2), "factor", "brightness of the lamps")
    exposure: Range = knob((-0.2, 0.2), "stops", "exposure of the camera")
    noise: Range = knob((1.0, 5.0), "grey levels", "standard deviation of the camera's noise, of 256 levels")
    blur: Range = knob((0.2, 0.6), "pixels", "standard deviation of the lens's blur")
    dirt: Range = knob((0.0, 0.35), "fraction", "of an item's surface is dirty")
    crush: Range = knob((0.0, 0.6), "strength", "of crushing: how flat an item is; boxes are not crushed")
    seal: float = knob(0.03, "fraction", "of the well placed picks fail to seal", ge=0, le=1)
    drop: float = knob(0.01, "fraction", "of the held items fall on the way", ge=0, le=1)


class LinePart(ApplicationPart):
    """The stage "line" at the end of a run: the sorting line with the trained model, and with a ground-truth oracle."""

    items: int = knob(500, "items", "that leave the line in each setting; more items narrow the intervals", ge=1)
    settings: tuple[
        Literal["standard", "dark", "bright", "noise", "blur", "dirt", "fast", "crowded", "unknown"], ...
    ] = knob(("standard",), "names", "the standard line, or that line under domain shifts", min_length=1)
    sure: int = knob(80, "percent", "confidence threshold: items below it go to manual sorting", ge=50, le=99)

    def check(self, recipe: Recipe) -> None:
        """Raise InvalidCombination for a recipe without a source of boxes to learn detection from."""
        if not any(source.has_boxes for source in recipe.source):
            raise InvalidCombination(
                ("line",),
                "the model of the line detects items in images, but no source has boxes; add one of kind simulator or"
                " boxes",
            )
