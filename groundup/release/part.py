"""Report parts: how a measuring stage's result is displayed. The table `REPORTS` has them by the stage's name."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from groundup.core.ledger import Manifest
from groundup.core.tables import REPORTS
from groundup.evaluate.display import Display


def no_commands(root: Path, metrics: dict[str, Any]) -> Sequence[tuple[str, str]]:
    """No closing lines of a run."""
    return ()


@dataclass(frozen=True)
class ReportPart:
    """How a stage's result (and films in its folder) is displayed, and the (word, value) lines at the end of a run."""

    display: Callable[[dict[str, Any], Path | None], Display]
    commands: Callable[[Path, dict[str, Any]], Sequence[tuple[str, str]]] = no_commands


def display(manifest: Manifest | None, folder: Path | None = None) -> Display:
    """The display of a stage's result, with the films in its folder if given; empty for None."""
    if manifest is None:
        return Display()
    return REPORTS[manifest.stage].display(manifest.metrics, folder)
