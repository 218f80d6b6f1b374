"""The page on running the server says what the command says, and names every figure."""

import re
from pathlib import Path

import pytest
import typer

from groundup.cli import app
from groundup.serve.metrics import Metrics
from tests.serve.test_admission import BUSY

PAGE = (Path(__file__).parents[2] / "docs" / "operate.md").read_text(encoding="utf-8")


def options() -> dict[str, str]:
    """Every option of `groundup serve`, and its default as the page writes it."""
    command = typer.main.get_command(app).commands["serve"]
    named = [
        parameter
        for parameter in command.params
        if parameter.opts[0].startswith("--") and parameter.opts[0] != "--help"
    ]
    return {
        parameter.opts[0]: "" if parameter.default in (None, False) else str(parameter.default) for parameter in named
    }


def test_every_option_is_in_the_table_with_its_default():
    rows = re.findall(r"^\| `(--[a-z-]+)` \| (?:`([^`]*)`)? ?\|", PAGE, re.MULTILINE)
    assert dict(rows) == options()


@pytest.mark.parametrize(
    "family",
    sorted(set(re.findall(r"^# TYPE (\w+) ", Metrics(lambda: [("small", BUSY)]).text().decode(), re.MULTILINE))),
)
def test_every_metric_is_named(family):
    if not family.endswith("_created"):
        assert family in PAGE or f"`{family.removeprefix('groundup_engine')}`" in PAGE
