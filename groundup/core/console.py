"""Progress and warnings for the user, on standard error; standard output is for results."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

console = Console(stderr=True, highlight=False)


def silence() -> None:
    """Silence this process: of several, one reports for all."""
    console.quiet = True


def result(what: RenderableType) -> None:
    """Show a table or tree on standard output; in a pipe as wide as most tables need."""
    Console(highlight=False, width=None if sys.stdout.isatty() else 120).print(what)


def note(text: str) -> None:
    """One sentence about what happens."""
    console.print(text, markup=False, soft_wrap=True)


def warn(text: str) -> None:
    """One sentence the user should act on."""
    console.print(f"warning: {text}", style="yellow", markup=False, soft_wrap=True)


@contextmanager
def progress(title: str, total: float | None, unit: str) -> Iterator[Callable[[float], None]]:
    """A progress bar with the time left; yields the function that advances it."""
    with _bars(TextColumn(f"{{task.completed:,.0f}} {unit}")) as bars:
        task = bars.add_task(title, total=total, text="")
        yield lambda amount: bars.advance(task, amount)


@contextmanager
def training(title: str, steps: int) -> Iterator[Callable[[int, str], None]]:
    """A bar for training; yields the function that sets the steps done and the text behind the bar."""
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
