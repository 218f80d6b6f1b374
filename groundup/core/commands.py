"""Shared parts of the command line: common options, and printing of results."""

import json
from typing import Annotated, Any, Literal

import typer

from groundup.core.console import visible

DeviceName = Annotated[
    str | None,
    typer.Option("--device", help="Where to compute; left out: the accelerator that is there, else the processor."),
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON on standard output.")]
Weights = Annotated[
    Literal["full", "int8", "int4"], typer.Option(help="Weights as they are, or quantised to int8 or int4.")
]


def show(as_json: bool, table: Any, lines: list[str]) -> None:
    """Print a result on standard output: as JSON, or as lines of text."""
    if as_json:
        print(json.dumps(table, ensure_ascii=False, indent=2))
    else:
        print(visible("\n".join(lines)))
