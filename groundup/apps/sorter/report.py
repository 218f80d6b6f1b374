"""The report part of the stage "line": its figures (`groundup.apps.sorter.trial`) as a table, headlines and a film."""

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from groundup.apps.sorter.result import LineResult, LineRow
from groundup.core import units
from groundup.core.tables import REPORTS
from groundup.evaluate.display import Display, Film, Headline, Table, interval
from groundup.release.part import ReportPart

FILM = "line.webp"


def table(result: LineResult) -> Table:
    """A row for each setting and model."""
    rows = [
        [
            row.setting,
            row.by,
            f"{row.picks_a_minute:.1f}",
            *(interval(figure) for figure in (row.purity, row.recovery)),
            *(units.number(count) for count in (row.manual, row.passed)),
            f"{row.brain['p50']:.0f} / {row.brain['p95']:.0f}" if row.by == "model" and row.brain else units.NONE,
        ]
        for row in result.rows
    ]
    until = f"until {units.number(result.items)} items have left it"
    caption = f"Sorting on the simulated line {until}; items below {result.sure} % confidence go to manual sorting"
    return Table(
        caption,
        ("line", "model", ">picks a minute", ">purity", ">recovery", ">by hand", ">passed", ">ms an image"),
        rows,
    )


def headline(result: LineResult) -> list[Headline]:
    """The figures of the first setting, beside those of the oracle."""
    model, oracle = map(_headline, result.rows[:2])
    words = "on a simulated line; {} with a ground-truth oracle"
    return [Headline(title, model[title], words.format(oracle[title])) for title in model]


def _headline(row: LineRow) -> dict[str, str]:
    return {
        "Picks a minute": f"{row.picks_a_minute:.1f}",
        "Purity": units.percent(row.purity.value if row.purity else None),
        "Recovery": units.percent(row.recovery.value if row.recovery else None),
    }


def display(work: dict[str, Any], folder: Path | None) -> Display:
    """The display of the stage's figures, with the film in its folder where one is given."""
    result = LineResult.of(work)
    return Display(headline=headline(result), tables=[table(result)], films=[] if folder is None else [film(folder)])


def film(folder: Path) -> Film:
    """The film of a stage's folder."""
    return Film(
        "A film of its work on the simulated line",
        "data:image/webp;base64," + base64.b64encode((folder / FILM).read_bytes()).decode(),
        "The simulated camera's image with detections, and the line from above: arm, bins and their contents",
        "A box has the colour of the bin decided on, grey is manual sorting; the numbers count the items in each bin.",
    )


def commands(root: Path, work: dict[str, Any]) -> Sequence[tuple[str, str]]:
    """The closing lines of a run: the film, and the command that sorts with the model."""
    return [("film", str(root / "line" / FILM)), ("sort", f"groundup sort {root} --sure {work['sure']} --page")]


REPORTS.add("line", ReportPart(display, commands))
