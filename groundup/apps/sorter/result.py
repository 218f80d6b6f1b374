"""The typed result of the stage "line"."""

from dataclasses import dataclass
from typing import Any, Literal

from pydantic import TypeAdapter

from groundup.evaluate.figure import Figure


@dataclass(frozen=True)
class LineRow:
    """The figures of one setting with one model (`WorkShift.figures`)."""

    setting: str
    by: Literal["model", "oracle"]
    seconds: float
    picks_a_minute: float
    purity: Figure | None
    recovery: Figure | None
    arrived: int
    picked: int
    slipped: int
    dropped: int
    sorted: int
    right: int
    manual: int
    passed: int
    sortable: int
    on: int
    brain: dict[str, float]  # latency of the model: p50, p95, frames_a_second, budget
    steps_a_second: float


@dataclass(frozen=True)
class LineResult:
    """A row for each setting and model, "model" and then "oracle"."""

    items: int
    sure: int  # percent: the confidence threshold
    rows: list[LineRow]

    @staticmethod
    def of(table: dict[str, Any]) -> "LineResult":
        """The result that a manifest holds. Raises ValidationError for anything else."""
        return TypeAdapter(LineResult).validate_python(table)
