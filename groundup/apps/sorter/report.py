"""What a model came to at work on the sorting line, as a table, headlines and a film; its shape is that of
`groundup.apps.sorter.trial`.
"""

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
    """A row a setting of the line and brain; no rows for a model that did no such work."""
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
    caption = f"At work on the sorting line {until}; what is less than {work.get('sure')} % sure goes to people"
    return Table(
        caption,
        ("line", "brain", ">picks a minute", ">purity", ">recovery", ">by hand", ">passed", ">ms a picture"),
        rows,
    )


def headline(work: dict[str, Any]) -> list[Headline]:
    """Title, value and note of the figures that a reader looks for first: those of the first setting, beside an
    oracle's.
    """
    rows = work.get("rows", [])[:2]
    found = [("Picks a minute", *(f"{row['picks_a_minute']:.1f}" for row in rows))] if rows else []
    found += [
        (name.title(), *(units.percent(row[name]["value"] if row[name] else None) for row in rows))
        for name in ("purity", "recovery")
        if rows
    ]
    return [Headline(title, value, f"{oracle} with eyes that know the truth") for title, value, oracle in found]


def display(work: dict[str, Any], folder: Path | None) -> Display:
    """The figures of a model on the line; with the film in the stage's folder where one is given."""
    return Display(headline=headline(work), tables=[table(work)], films=[] if folder is None else [film(folder)])


def film(folder: Path) -> Film:
    """The film of a stage's folder."""
    return Film(
        "A film of its work",
        "data:image/webp;base64," + base64.b64encode((folder / FILM).read_bytes()).decode(),
        "The camera's picture of the belt with boxes and kinds, and the line from above: arm, bins and what they hold",
        "A box has the colour of the bin that its thing is meant for, grey is the bin for people; numbers are what lies"
        " in each bin.",
    )


def commands(root: Path, work: dict[str, Any]) -> Sequence[tuple[str, str]]:
    """The film, and the command that puts the model to work."""
    return [("film", str(root / "line" / FILM)), ("sort", f"groundup sort {root} --sure {work['sure']} --page")]


REPORTS.add("line", ReportPart(display, commands))
