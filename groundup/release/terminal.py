"""Prints the tables and answers of the report in the terminal, at the end of a run."""

import rich.table
from rich import box
from rich.console import Group, RenderableType
from rich.text import Text

from groundup.evaluate.display import Cell, Display, Table


def render(display: Display) -> RenderableType:
    """All tables of a display, then the recipe's prompts with the model's answers."""
    parts: list[RenderableType] = []
    for table in display.tables:
        parts += [_table(table), ""]
    for prompt, answer in display.answers:
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
