"""`python3 start.py demo`: what it runs, and how it ends at a terminal and elsewhere."""

import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType

import pytest

from groundup.apps.sorter.config import LinePart
from groundup.config.load import load

ROOT = Path(__file__).parent.parent


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script with nothing set up or run, but noted in `did`."""
    spec = importlib.util.spec_from_file_location("start", ROOT / "start.py")
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    made.did = []
    monkeypatch.setattr(made, "setup", lambda *extras: made.did.append(extras) or 0)
    monkeypatch.setattr(made, "run", lambda *command: made.did.append(command) or 0)
    monkeypatch.setattr(os, "execv", lambda program, command: made.did.append(command))
    return made


def test_elsewhere_than_at_a_terminal_the_demo_ends_with_the_command_of_the_live_page(start, capsys):
    assert start.demo() == 0
    assert start.did == [("serve", "vision", "sorter"), ("groundup", "run", "recipes/sorter.toml")]
    sure = load(ROOT / "recipes" / "sorter.toml").application(LinePart).sure
    assert f"groundup sort runs/sorter --sure {sure} --page" in capsys.readouterr().out


def test_at_a_terminal_the_demo_ends_with_the_live_page(start, monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    start.demo()
    assert start.did[-1] == ("groundup", *start.LIVE)


def test_a_demo_that_failed_shows_no_line(start, monkeypatch, capsys):
    monkeypatch.setattr(start, "run", lambda *command: 2)
    assert start.demo() == 2
    assert capsys.readouterr().out == ""


def test_the_live_page_is_that_of_the_recipe(start):
    recipe = load(ROOT / "recipes" / "sorter.toml")
    assert list(start.LIVE) == f"sort runs/{recipe.name} --sure {recipe.application(LinePart).sure} --page".split()
