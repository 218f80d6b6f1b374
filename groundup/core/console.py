"""Progress and warnings for the user, on standard error; standard output is for results.

In file names and texts of models control characters are escaped, so that they cannot send terminal commands.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType, RenderHook
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.segment import Segment

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
        return [_Visible(shown) for shown in renderables]


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
    with _bars(TextColumn(f"{{task.completed:,.0f}} {unit}")) as bars:
        task = bars.add_task(title, total=total, text="")
        yield lambda amount: bars.advance(task, amount)


@contextmanager
def training(title: str, steps: int) -> Iterator[Callable[[int, str], None]]:
    """Show a progress bar for training; yields the function that sets the steps done and the text after the bar."""
    with _bars(TextColumn("{task.completed:.0f}/{task.total:.0f} steps")) as bars:
        task = bars.add_task(title, total=steps, text="")
        yield lambda done, text: bars.update(task, completed=done, text=text)


def _bars(count: TextColumn) -> Progress:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        count,
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[text]}"),
    )
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
