"""The lineage of a model as a picture: from files and licences on the left to figures on the right.

Columns: files, documents, tokenizer, shards, training, evaluation. A row is a source; the tokenizer has its own row
below, training goes from top to bottom. No line crosses a box.
"""

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from groundup.core import units
from groundup.core.ledger import Manifest
from groundup.data.results import DocumentsResult, ShardsResult, TokenizerResult
from groundup.release.lineage import UNSTATED, Lineage
from groundup.train.result import TrainingResult

COLUMNS = ("Files", "Documents", "Tokenizer", "Shards", "Training", "Evaluation")
FILES, DOCUMENTS, TOKENIZER, SHARDS, TRAINING, EVALUATION = range(6)
WIDTH, HEIGHT, GAP_X, GAP_Y, TOP = 150, 92, 36, 18, 28  # of a box, between boxes, and of the headings, in pixels
TITLE, LINE = 17, 21  # characters that fit into a box, of its title and of a line below


@dataclass(frozen=True)
class Box:
    """A node of the graph: its column and row, its title and its lines of text."""

    column: int
    row: int
    title: str
    lines: tuple[str, ...]
    digest: str = ""
    warn: bool = False

    @property
    def x(self) -> int:
        """Left edge."""
        return self.column * (WIDTH + GAP_X) + 1

    @property
    def y(self) -> int:
        """Upper edge."""
        return self.row * (HEIGHT + GAP_Y) + TOP

    @property
    def shown_title(self) -> str:
        """The title, cut where it would leave the box."""
        return fit(self.title, TITLE)

    @property
    def shown_lines(self) -> list[str]:
        """The lines, cut where they would leave the box."""
        return [fit(line, LINE) for line in self.lines]


def picture(found: Lineage) -> Markup:
    """The lineage as SVG in the page's colours, with a text alternative."""
    boxes = dict(_boxes(found))
    last = 1 + max(box.column for box in boxes.values())
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    template = environment.get_template("picture.svg.jinja")
    return Markup(
        template.render(
            boxes=list(boxes.values()),
            paths=[_path(boxes[start], boxes[end]) for start, end in _edges(found, boxes)],
            columns=[(number * (WIDTH + GAP_X) + 1, name) for number, name in enumerate(COLUMNS[:last])],
            size=(last * (WIDTH + GAP_X) - GAP_X + 2, max(box.y for box in boxes.values()) + HEIGHT + 2),
            box=(WIDTH, HEIGHT),
            label=_label(found),
        )
    )


def fit(text: str, width: int) -> str:
    """A text cut to `width` columns; a Chinese character takes two.

    >>> fit("documents", 6), fit("手册文字", 5), fit("short", 6)
    ('docum…', '手册…', 'short')
    """
    widths = [2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text]
    if sum(widths) <= width:
        return text
    kept = next(count for count in range(len(text), -1, -1) if sum(widths[:count]) < width)
    return text[:kept] + "…"


def _label(found: Lineage) -> str:
    sources = ", ".join(f"{stage.part['name']} ({', '.join(stage.licences)})" for stage in found.sources)
    return (
        f"From the sources {sources} over documents, tokenizer and shards to"
        f" {' and '.join(stage.stage for stage in found.trainings)}"
    )


# --- boxes ---------------------------------------------------------------------------------------------------


def _boxes(found: Lineage) -> Iterator[tuple[str, Box]]:
    """The boxes by name: that of a stage, or "files of" one."""
    stages = {stage.stage: stage for stage in found.stages}
    below = len(found.sources)
    for row, stage in enumerate(found.sources):
        name, licence = stage.part["name"], ", ".join(stage.licences)
        yield (
            f"files of {stage.stage}",
            Box(FILES, row, name, (stage.part["kind"], _origin(stage), licence), warn=UNSTATED in licence),
        )
        documents = stage.result(DocumentsResult)
        yield (
            stage.stage,
            Box(DOCUMENTS, row, f"{units.short(documents.documents)} documents", _kept(documents), stage.digest),
        )
        if (shards := stages.get(f"shards-{name}")) is not None:
            yield shards.stage, Box(SHARDS, row, name, _packed(shards), shards.digest)
    if (tokenizer := stages.get("tokenizer")) is not None:
        yield (
            tokenizer.stage,
            Box(TOKENIZER, below, "tokenizer", (f"{tokenizer.result(TokenizerResult).size:,} ids",), tokenizer.digest),
        )
        yield from _given(tokenizer, below)
    for row, stage in enumerate(found.trainings):
        yield stage.stage, Box(TRAINING, row, stage.stage, _trained(stage), stage.digest)
        yield from _given(stage, below + 1)
    if (evaluation := found.evaluation) is not None:
        row = len(found.trainings) - 1
        yield evaluation.stage, Box(EVALUATION, row, "evaluation", tuple(evaluation.part["suites"]), evaluation.digest)


def _given(stage: Manifest, row: int) -> Iterator[tuple[str, Box]]:
    """The base artefact of a stage: a tokenizer, or initial weights."""
    if stage.inputs:
        yield f"files of {stage.stage}", Box(FILES, row, f"for {stage.stage}", (f"{_files(stage)}, given",))


def _origin(stage: Manifest) -> str:
    if stage.inputs:
        return _files(stage)
    return f"of Python {stage.part['python']}" if "python" in stage.part else "made by procedures"


def _files(stage: Manifest) -> str:
    return f"{len(stage.inputs):,} file{'s' if len(stage.inputs) > 1 else ''}"


def _kept(documents: DocumentsResult) -> tuple[str, ...]:
    filtered = sum(documents.dropped.values())
    return (
        f"{units.short(documents.characters)} characters",
        f"{filtered:,} filtered" if filtered else "none filtered",
    )


def _packed(stage: Manifest) -> tuple[str, ...]:
    train = stage.result(ShardsResult).train
    return f"{units.short(train.tokens)} tokens", f"{train.rows:,} rows"


def _trained(stage: Manifest) -> tuple[str, ...]:
    training = stage.result(TrainingResult)
    return f"{units.short(training.tokens)} tokens seen", f"{training.steps:,} steps"


# --- lines ---------------------------------------------------------------------------------------------------


def _edges(found: Lineage, boxes: dict[str, Box]) -> Iterator[tuple[str, str]]:
    """The edges of the chain; without training's use of the tokenizer and evaluation's of documents (clutter)."""
    left = {(TOKENIZER, TRAINING), (DOCUMENTS, EVALUATION), (DOCUMENTS, DOCUMENTS)}
    stages = [*found.stages, *([found.evaluation] if found.evaluation else [])]
    for stage in stages:
        if stage.stage not in boxes:
            continue
        if f"files of {stage.stage}" in boxes:
            yield f"files of {stage.stage}", stage.stage
        for parent in stage.parents:
            if parent in boxes and (boxes[parent].column, boxes[stage.stage].column) not in left:
                yield parent, stage.stage


def _path(start: Box, end: Box) -> str:
    """A line from box to box that bends only in the gap before the second."""
    if start.column == end.column:
        middle = start.x + WIDTH // 2
        return f"M{middle} {start.y + HEIGHT}V{end.y}"
    right, left, bend = start.x + WIDTH, end.x, end.x - GAP_X
    y1, y2 = start.y + HEIGHT // 2, end.y + HEIGHT // 2
    return f"M{right} {y1}H{bend}C{bend + GAP_X // 2} {y1} {left - GAP_X // 2} {y2} {left} {y2}"
