"""What a run ends with, for the terminal: the same tables and answers as in the report."""

from typing import Any

import rich.table
from rich import box
from rich.console import Group, RenderableType
from rich.text import Text

from groundup.apps.sorter import report as line
from groundup.release import figures
from groundup.release.tables import Cell, Table


def render(evaluation: dict[str, Any], work: dict[str, Any] | None = None) -> RenderableType:
    """All figures of an evaluation and of a model's work on the sorting line, then the recipe's prompts with the
    model's answers.
    """
    parts: list[RenderableType] = []
    for table in (*figures.tables(evaluation), *([line.table(work)] if work else [])):
        parts += [_table(table), ""]
    for prompt, answer in figures.answers(evaluation):
        parts.append(Text.assemble(("you> ", "dim"), prompt, "\n", ("model> ", "dim"), answer))
    return Group(*parts)


def _table(table: Table) -> rich.table.Table:
    shown = rich.table.Table(
        title=table.caption, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, show_footer=bool(table.foot)
    )
    feet = [_text(cell) for cell in table.foot] or [Text()] * len(table.columns)
    for column, foot in zip(table.columns, feet, strict=True):
        shown.add_column(
            column.removeprefix(">"), foot, justify="right" if column.startswith(">") else "left", overflow="fold"
        )
    for row in table.rows:
        shown.add_row(*map(_text, row))
    return shown


def _text(cell: str | Cell) -> Text:
    return Text(cell.text, style="yellow" if cell.warn else "") if isinstance(cell, Cell) else Text(cell)
