"""The console: names of files and texts of models steer no terminal; a second Ctrl-C leaves no traceback."""

import signal
import subprocess
import sys
import time

import pytest
from rich.table import Table
from rich.text import Text

from groundup.core import console
from groundup.core.commands import show

NASTY = "a\x1b[2J\x1b]0;title\x07\x9b31m\x7f\udcff.md"
SHOWN = r"a\x1b[2J\x1b]0;title\x07\x9b31m\x7f\udcff.md"


def test_control_characters_are_shown_and_line_ends_kept():
    assert console.visible(NASTY + "\n\tb 机") == SHOWN + "\n\tb 机"


@pytest.mark.parametrize("print_it", [console.note, console.warn])
def test_sentences_are_shown_so(capsys, print_it):
    print_it(f"{NASTY}: no such file")
    said = capsys.readouterr().err
    assert r"a\x1b[2J\x1b]0;title" in said
    assert not {"\x1b", "\x9b", "\udcff"} & {*said}


def test_tables_are_shown_so(capsys):
    table = Table("file")
    table.add_row(Text(NASTY))
    console.result(table)
    said = capsys.readouterr().out
    assert r"\x1b[2J" in said
    assert "\x1b" not in said
    assert "\udcff" not in said


def test_lines_of_results_are_shown_so_and_json_is_json(capsys):
    show(False, None, [NASTY])
    assert capsys.readouterr().out == SHOWN + "\n"


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> list[tuple[float, str]]:
    """What is shown from now on, with its time, where a silence of 0.2 s is the longest."""
    found: list[tuple[float, str]] = []
    monkeypatch.setattr(console, "SILENCE", 0.2)
    monkeypatch.setattr(console, "note", lambda text: (found.append((time.monotonic(), text)), shown()))

    def shown() -> None:
        console._Work.shown = time.monotonic()

    return found


def test_silent_work_is_told_of_after_a_while_then_after_twice_as_long(lines: list[tuple[float, str]]) -> None:
    began = time.monotonic()
    with console.working("sums are summed"):
        time.sleep(1.7)
    assert [text.partition(",")[0] for _, text in lines] == ["  sums are summed"] * 3  # after 0.2, 0.6 and 1.4 s
    assert 0.15 < lines[0][0] - began < 0.5
    assert lines[2][0] - lines[1][0] > 0.7


def test_work_that_says_something_itself_is_not_told_of(lines: list[tuple[float, str]]) -> None:
    with console.working("sums are summed"):
        for _ in range(8):
            time.sleep(0.05)
            console.note("a sum")
    assert {text for _, text in lines} == {"a sum"}


def test_of_work_in_work_the_inner_is_told_of_with_what_its_bar_counts(lines: list[tuple[float, str]]) -> None:
    with console.working("outer"), console.progress("sums", 40, "sums") as advance:
        advance(1234)
        time.sleep(0.5)
    assert [text.partition(",  ")[0][:20] for _, text in lines] == ["  sums: 1,234 sums, "]


def test_a_bar_on_a_terminal_needs_no_lines(lines: list[tuple[float, str]]) -> None:
    with console.working("outer", drawn=True):
        time.sleep(0.5)
    assert not lines


STOPPED = """
import atexit, sys, time
from groundup import cli

def app():
    atexit.register(wait)
    raise KeyboardInterrupt

def wait():
    print("ending", flush=True)
    time.sleep(60)

cli.app = app
cli.main()
"""


def test_a_second_interrupt_ends_the_process_at_once_without_a_traceback():
    with subprocess.Popen(
        [sys.executable, "-c", STOPPED], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "ending\n"
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGINT
    assert said.splitlines() == ["stopped; the same command resumes from the last saved state"]
