"""Parts of the report: how the result of a stage that measures a model is displayed.

A part is added to the table `REPORTS` under the name of its stage. The report, the terminal and the lineage of a model
know the stages that measure it by that table alone.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from groundup.core.ledger import Manifest
from groundup.core.tables import REPORTS
from groundup.evaluate.display import Display


def no_commands(root: Path, metrics: dict[str, Any]) -> Sequence[tuple[str, str]]:
    """A stage after which a run ends with no lines of its own."""
    return ()


@dataclass(frozen=True)
class ReportPart:
    """The display of a stage's metrics, with the films in its folder where one is given; and the lines, each a word
    and what stands beside it, with which the terminal ends a run in a folder.
    """

    display: Callable[[dict[str, Any], Path | None], Display]
    commands: Callable[[Path, dict[str, Any]], Sequence[tuple[str, str]]] = no_commands


def display(manifest: Manifest | None, folder: Path | None = None) -> Display:
    """What the result of a stage displays, with the films in its folder where one is given; nothing for None."""
    if manifest is None:
        return Display()
    part: ReportPart = REPORTS[manifest.stage]
    return part.display(manifest.metrics, folder)
