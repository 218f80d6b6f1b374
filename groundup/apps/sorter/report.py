"""What a model came to at work on the sorting line, as a table, headlines and a film; its shape is that of
`groundup.apps.sorter.trial`.
"""

import base64
from pathlib import Path
from typing import Any

from markupsafe import Markup

from groundup.release import words
from groundup.release.figures import interval
from groundup.release.tables import Table

FILM = "line.webp"


def table(work: dict[str, Any]) -> Table:
    """A row a setting of the line and brain; no rows for a model that did no such work."""
    rows = [
        [
            row["setting"],
            row["by"],
            f"{row['picks_a_minute']:.1f}",
            *(interval(row[name]) if row[name] else words.NONE for name in ("purity", "recovery")),
            *(words.number(row[name]) for name in ("manual", "passed")),
            f"{row['brain']['p50']:.0f} / {row['brain']['p95']:.0f}"
            if row["by"] == "model" and row["brain"]
            else words.NONE,
        ]
        for row in work.get("rows", [])
    ]
    until = f"until {words.number(work.get('items'))} items have left it"
    caption = f"At work on the sorting line {until}; what is less than {work.get('sure')} % sure goes to people"
    return Table(
        caption,
        ("line", "brain", ">picks a minute", ">purity", ">recovery", ">by hand", ">passed", ">ms a picture"),
        rows,
    )


def headline(work: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Title, value and note of the figures that a reader looks for first: those of the first setting, beside an
    oracle's.
    """
    rows = work.get("rows", [])[:2]
    found = [("Picks a minute", *(f"{row['picks_a_minute']:.1f}" for row in rows))] if rows else []
    found += [
        (name.title(), *(words.percent(row[name]["value"] if row[name] else None) for row in rows))
        for name in ("purity", "recovery")
        if rows
    ]
    return [(title, value, f"{oracle} with eyes that know the truth") for title, value, oracle in found]


def film(folder: Path) -> Markup:
    """The film of a stage's folder as a data URI."""
    return Markup("data:image/webp;base64," + base64.b64encode((folder / FILM).read_bytes()).decode())
