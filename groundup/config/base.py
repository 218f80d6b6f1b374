"""What every table of a recipe is made of: knobs with unit and reason, ranges, and the error for values that clash."""

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

NAME = r"^[a-z0-9][a-z0-9_-]{0,63}$"


class Part(BaseModel):
    """A table of the recipe: immutable, and closed to unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def non_defaults(self, exclude: set[str] | None = None) -> dict[str, Any]:
        """The knobs that are set to another value than their default: what a stage's key holds of a table."""
        return self.model_dump(mode="json", exclude_defaults=True, exclude=exclude)


def knob(default: Any, unit: str, reason: str, **limits: Any) -> Any:
    """Declare one knob: its default, its unit, and its effect with the reason for the default.

    >>> knob(8192, "ids", "vocabulary", ge=258).json_schema_extra
    {'unit': 'ids'}
    """
    return Field(default, description=reason, json_schema_extra={"unit": unit}, **limits)


def _rising(ends: tuple[float, float]) -> tuple[float, float]:
    if ends[0] > ends[1]:
        raise ValueError(f"a range is [low, high], and {ends[0]} is above {ends[1]}")
    return ends


Range = Annotated[tuple[float, float], AfterValidator(_rising)]


class InvalidCombination(ValueError):
    """A combination of values that cannot work, with the key of the one to change."""

    def __init__(self, place: tuple[str | int, ...], message: str):
        super().__init__(message)
        self.place = place
