"""The model card of an exported model: Markdown, every figure rendered from the manifests."""

import re
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from groundup.core import units
from groundup.evaluate.display import Cell, Table
from groundup.release import tables
from groundup.release.about import About
from groundup.release.lineage import UNSTATED, Lineage
from groundup.release.part import display
from groundup.train.result import TrainingResult

_MARKED = re.compile(r"([\\`*_{}\[\]<>#|~&$])")


def card(found: Lineage, stated: About) -> str:
    """The card of a model, the text of its README.md, with the purpose that its recipe states."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        undefined=StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"plain": plain, "table": markdown}
    model = found.trainings[-1]
    return environment.get_template("card.md.jinja").render(
        model=model,
        name=stated.name or model.stage,
        purpose=stated.purpose,
        examples=stated.examples,
        kind=tables.kind(found),
        shape=model.part["model"],
        total=units.short(sum(model.result(TrainingResult).parameters.values())),
        dtype=found.model.part["dtype"],
        digest=model.digest,
        record=model.record,
        unstated=[stage.part["name"] for stage in found.sources if UNSTATED in stage.licences],
        weights=found.weights,
        base=None if found.base is None else found.base.model,
        data=[tables.sources(found), tables.licences(found), tables.drops(found)],
        training=[tables.model(found), tables.training(found)],
        figures=display(found.evaluation).tables,
        cost=[tables.cost(found.timed), tables.environment(found.timed)],
    )


def plain(value: str | Cell) -> str:
    """A text escaped for Markdown, on one line: a model's text must not become a link or a heading.

    >>> print(plain("a|b <b>\\n# c"))
    a\\|b \\<b\\> \\# c
    """
    text = value.text if isinstance(value, Cell) else value
    return _MARKED.sub(r"\\\1", " ".join(text.split()))


def markdown(table: Table) -> str:
    """A table in Markdown, its caption above it; nothing for one without rows."""
    if not table.rows:
        return ""
    names = [column.removeprefix(">") for column in table.columns]
    sides = ["---:" if column.startswith(">") else "---" for column in table.columns]
    rows = [[plain(cell) for cell in row] for row in (*table.rows, table.foot) if row]
    lines = ["| " + " | ".join(row) + " |" for row in (names, sides, *rows)]
    return f"**{table.caption}**\n\n" + "\n".join(lines) + "\n"
