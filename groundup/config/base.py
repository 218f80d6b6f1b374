"""Base of every table of a recipe: knobs with unit and reason, ranges, and the error for invalid combinations."""

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

NAME = r"^[a-z0-9][a-z0-9_-]{0,63}$"


class Part(BaseModel):
    """A table of the recipe: immutable; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def non_defaults(self, exclude: set[str] | None = None) -> dict[str, Any]:
        """The knobs whose value differs from their default; these are part of a stage's cache key."""
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
    """An invalid combination of values, with the key of the value to change."""

    def __init__(self, place: tuple[str | int, ...], message: str):
        super().__init__(message)
        self.place = place
