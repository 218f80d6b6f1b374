"""Progress and warnings for the user, on standard error; standard output is for results.

In file names and texts of models control characters are escaped, so that they cannot send terminal commands.
"""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType, RenderHook
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.segment import Segment

SILENCE, LONGEST_SILENCE = 2.0, 60.0  # seconds without a line, at first and at most

_CONTROL = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160)) if chr(code) not in "\n\t"}
_CONTROL |= {code: f"\\u{code:04x}" for code in range(0xD800, 0xE000)}  # surrogates, in file names that are not UTF-8


def visible(text: str) -> str:
    """A text with control characters (except line ends and tabs) and surrogates escaped.

    >>> visible("a\x1b[31m b")
    'a\\\\x1b[31m b'
    """
    return text.translate(_CONTROL)


class _Visible:
    """A renderable that renders another one with control characters escaped."""

    def __init__(self, shown: RenderableType):
        self.shown = shown

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Segment]:
        for segment in console.render(self.shown, options):
            yield segment if segment.control else segment._replace(text=visible(segment.text))


class _Escaping(RenderHook):
    """Escapes control characters in everything that a console prints."""

    def process_renderables(self, renderables: list[Any]) -> list[Any]:
        _Work.shown = time.monotonic()
        return [_Visible(shown) for shown in renderables]


class _Work:
    """Work that goes on: unless a bar shows it, a line after two seconds of silence, the next after twice as long."""

    shown = 0.0  # when something was last shown
    stack: "list[_Work]" = []  # noqa: RUF012 - of the process, the innermost last

    def __init__(self, told: Callable[[], str], drawn: bool):
        self.told, self.drawn = told, drawn
        self.began, self.done = time.monotonic(), threading.Event()

    def watch(self) -> None:
        """Tell of the work until it is done."""
        pause = SILENCE
        while not self.done.wait(max(0.05, max(_Work.shown, self.began) + pause - time.monotonic())):
            silent = time.monotonic() - max(_Work.shown, self.began)
            if silent >= pause and _Work.stack[-1:] == [self] and not self.drawn:
                note(f"  {self.told()}, {time.monotonic() - self.began:.0f} s")
                pause = min(2 * pause, LONGEST_SILENCE)


@contextmanager
def working(told: str | Callable[[], str], drawn: bool = False) -> Iterator[None]:
    """Tell what goes on while it lasts, whenever nothing is shown for long; `drawn`: a bar shows it."""
    work = _Work(told if callable(told) else lambda: told, drawn)
    thread = threading.Thread(target=work.watch, daemon=True)
    _Work.stack.append(work)
    thread.start()
    try:
        yield
    finally:
        _Work.stack.remove(work)
        work.done.set()
        thread.join()


def _console(**options: Any) -> Console:
    made = Console(highlight=False, **options)
    made.push_render_hook(_Escaping())
    return made


console = _console(stderr=True)


def silence() -> None:
    """Silence this process: of several processes, only the main one reports."""
    console.quiet = True


def result(what: RenderableType) -> None:
    """Print a table or tree on standard output; in a pipe with a width that fits most tables."""
    _console(width=None if sys.stdout.isatty() else 120).print(what)


def note(text: str) -> None:
    """Print one sentence of information."""
    console.print(text, markup=False, soft_wrap=True)


def warn(text: str) -> None:
    """Print one sentence that the user should act on."""
    console.print(f"warning: {text}", style="yellow", markup=False, soft_wrap=True)


@contextmanager
def progress(title: str, total: float | None, unit: str) -> Iterator[Callable[[float], None]]:
    """Show a progress bar with the time left; yields the function that advances it."""
    with _bars(title, total, f"{{task.completed:,.0f}} {unit}") as (bars, task):
        yield lambda amount: bars.advance(task, amount)


@contextmanager
def training(title: str, steps: int) -> Iterator[Callable[[int, str], None]]:
    """Show a progress bar for training; yields the function that sets the steps done and the text after the bar."""
    with _bars(title, steps, "{task.completed:.0f}/{task.total:.0f} steps") as (bars, task):
        yield lambda done, text: bars.update(task, completed=done, text=text)


@contextmanager
def _bars(title: str, total: float | None, count: str) -> Iterator[tuple[Progress, TaskID]]:
    """A bar where the output is a terminal, else lines."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn(count),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[text]}"),
    )
    drawn = console.is_terminal
    with Progress(*columns, console=console, transient=True, disable=not drawn) as bars:
        task = bars.add_task(title, total=total, text="")
        with working(lambda: f"{title}: {count} {{task.fields[text]}}".format(task=bars.tasks[0]).rstrip(), drawn):
            yield bars, task
