"""The display of a result: headline figures, tables, pictures: the only types that page, card and terminal render."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import NamedTuple

from groundup.core import units
from groundup.evaluate.figure import Figure

EMBEDDED = ("data:image/jpeg;base64,", "data:image/png;base64,", "data:image/webp;base64,")


class Headline(NamedTuple):
    """A figure for the top of the report: its title, its value, and a note below it."""

    title: str
    value: str
    note: str = ""


# --- tables ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Cell:
    """A table cell. `warn` marks a warning; `verbatim` text is a user's or a model's and may be long.

    `fraction` is a value in 0 to 1 with the ends of its interval, drawn beside the text.
    """

    text: str
    warn: bool = False
    verbatim: bool = False
    fraction: tuple[float, float, float] | None = None


Row = Sequence[str | Cell]


@dataclass(frozen=True)
class Table:
    """A table: caption, columns (a leading ">" aligns a column of figures to the right), rows, and a summary row."""

    caption: str
    columns: tuple[str, ...]
    rows: Sequence[Row]
    foot: Row = ()


def interval(figure: Figure | None) -> str | Cell:
    """The cell of a fraction with its 95 % interval; a dash for None."""
    if figure is None:
        return units.NONE
    if figure.low is None or figure.high is None:
        return units.percent(figure.value)
    text = f"{100 * figure.value:.1f} % ({100 * figure.low:.0f}–{100 * figure.high:.0f})"
    return Cell(text, fraction=(figure.value, figure.low, figure.high))


# --- pictures ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Rectangle:
    """A rectangle in a picture's units, with a tooltip. `style` is a class of the page's style sheet."""

    left: float
    top: float
    width: float
    height: float
    title: str
    style: str
    opacity: float = 1.0


@dataclass(frozen=True)
class Polygon:
    """A polygon in a picture's units, "x,y x,y ...", with a tooltip; `style` as a rectangle's."""

    points: str
    title: str
    style: str


@dataclass(frozen=True)
class Picture:
    """An image and overlay of one size (data URIs; others are dropped) with shapes; `label` is alternative text."""

    width: float
    height: float
    label: str
    caption: str
    image: str = ""
    overlay: str = ""
    rectangles: tuple[Rectangle, ...] = ()
    polygons: tuple[Polygon, ...] = ()

    def __post_init__(self) -> None:
        for name in ("image", "overlay"):
            object.__setattr__(self, name, embedded(getattr(self, name)))


@dataclass(frozen=True)
class Gallery:
    """Pictures under one title, with a note that explains them."""

    title: str
    note: str
    pictures: Sequence[Picture]


@dataclass(frozen=True)
class Film:
    """An animated image (a data URI) with its title, its text alternative and its caption."""

    title: str
    image: str
    label: str
    caption: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "image", embedded(self.image))


def embedded(uri: str) -> str:
    """The data URI of an image; empty for any other address."""
    return uri if uri.startswith(EMBEDDED) else ""


# --- together ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Display:
    """The display of a result. `answers` are prompts with the model's answers; `notes` list what was not measured."""

    headline: Sequence[Headline] = ()
    tables: Sequence[Table] = ()
    films: Sequence[Film] = ()
    answers: Sequence[tuple[str, str]] = ()
    notes: Sequence[str] = ()
    galleries: Sequence[Gallery] = ()
    mistakes: Sequence[Row] = ()  # family, question, expected answer, answer

    @property
    def wrong_answers(self) -> Table:
        """Some wrong answers, each with its question and the right one."""
        return Table("Wrong answers", ("family", "question", "expected", "answered"), self.mistakes)


def join(displays: Iterable[Display]) -> Display:
    """One display of several, in their order; tables without rows and galleries without pictures are left out."""
    displays = list(displays)
    joined = {each.name: [item for one in displays for item in getattr(one, each.name)] for each in fields(Display)}
    joined["tables"] = [table for table in joined["tables"] if table.rows]
    joined["galleries"] = [gallery for gallery in joined["galleries"] if gallery.pictures]
    return Display(**joined)
