"""The report part of the stage "line": its figures (`groundup.apps.sorter.trial`) as a table, headlines and a film."""

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from groundup.core import units
from groundup.core.tables import REPORTS
from groundup.evaluate.display import Display, Film, Headline, Table, interval
from groundup.evaluate.figure import Figure
from groundup.release.part import ReportPart

FILM = "line.webp"


def table(work: dict[str, Any]) -> Table:
    """A row for each setting and model; no rows without figures."""
    rows = [
        [
            row["setting"],
            row["by"],
            f"{row['picks_a_minute']:.1f}",
            *(interval(row[name] and Figure(**row[name])) for name in ("purity", "recovery")),
            *(units.number(row[name]) for name in ("manual", "passed")),
            f"{row['brain']['p50']:.0f} / {row['brain']['p95']:.0f}"
            if row["by"] == "model" and row["brain"]
            else units.NONE,
        ]
        for row in work.get("rows", [])
    ]
    until = f"until {units.number(work.get('items'))} items have left it"
    caption = f"At work on the sorting line {until}; items below {work.get('sure')} % confidence go to manual sorting"
    return Table(
        caption,
        ("line", "model", ">picks a minute", ">purity", ">recovery", ">by hand", ">passed", ">ms an image"),
        rows,
    )


def headline(work: dict[str, Any]) -> list[Headline]:
    """The figures of the first setting, beside those of the oracle."""
    rows = work.get("rows", [])[:2]
    found = [("Picks a minute", *(f"{row['picks_a_minute']:.1f}" for row in rows))] if rows else []
    found += [
        (name.title(), *(units.percent(row[name]["value"] if row[name] else None) for row in rows))
        for name in ("purity", "recovery")
        if rows
    ]
    return [Headline(title, value, f"{oracle} with a ground-truth oracle") for title, value, oracle in found]


def display(work: dict[str, Any], folder: Path | None) -> Display:
    """The display of the stage's figures, with the film in its folder where one is given."""
    return Display(headline=headline(work), tables=[table(work)], films=[] if folder is None else [film(folder)])


def film(folder: Path) -> Film:
    """The film of a stage's folder."""
    return Film(
        "A film of its work",
        "data:image/webp;base64," + base64.b64encode((folder / FILM).read_bytes()).decode(),
        "The camera's image of the belt with detections, and the line from above: arm, bins and their contents",
        "A box has the colour of the bin decided on, grey is manual sorting; the numbers count the items in each bin.",
    )


def commands(root: Path, work: dict[str, Any]) -> Sequence[tuple[str, str]]:
    """The closing lines of a run: the film, and the command that sorts with the model."""
    return [("film", str(root / "line" / FILM)), ("sort", f"groundup sort {root} --sure {work['sure']} --page")]


REPORTS.add("line", ReportPart(display, commands))
