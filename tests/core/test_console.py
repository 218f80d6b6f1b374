"""The console: names of files and texts of models steer no terminal; a second Ctrl-C leaves no traceback."""

import signal
import subprocess
import sys

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
