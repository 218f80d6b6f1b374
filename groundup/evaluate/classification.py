"""Image classification: the class that is likeliest as the answer, the confusion matrix and the worst mistakes."""

import heapq
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from pydantic import Field

from groundup.core import units
from groundup.data.document import Document
from groundup.evaluate.cases import answer_of, chunks
from groundup.evaluate.display import Cell, Gallery, Headline, Picture, Rectangle, Row, Table, interval
from groundup.evaluate.figure import Figure, proportion
from groundup.evaluate.prompts import prompt_of, supervised_ids
from groundup.evaluate.suite import Advance, SuiteInputs, ignored
from groundup.evaluate.texts import answers
from groundup.evaluate.thumbnails import spotlight, thumbnail
from groundup.generate.engine import Engine

WORST = 12  # mistakes that are kept with their image
LONGEST = 20  # classes that a table lists
WIDEST = 12  # classes whose confusion matrix is a table; that of more is a picture
CONFUSIONS = 10  # pairs of classes


@dataclass(frozen=True)
class Mistake:
    """A misclassified image with its attention map (data URIs) and the probability of the predicted class."""

    image: str
    size: tuple[int, int]
    attention: Annotated[str, Field(alias="looked")]
    truth: str
    predicted: Annotated[str, Field(alias="said")]
    probability: float


@dataclass(frozen=True)
class Classification:
    """The figures of one source: `counts[t][p]` images of class t were predicted as p, both indices into `classes`.

    `commonest` is the accuracy of the most frequent class; `worst` are the mistakes with the highest probability.
    """

    accuracy: Figure
    commonest: float
    classes: list[str]
    counts: list[list[int]]
    recall: dict[str, Figure]
    worst: list[Mistake]


# --- measuring ---------------------------------------------------------------------------------------------------


@dataclass(order=True, frozen=True)
class _Candidate:
    """A mistake; the more probable the wrong class, the worse."""

    probability: float
    number: int  # of the image; breaks ties
    document: Document = field(compare=False)
    predicted: str = field(compare=False)


def labelled(inputs: SuiteInputs) -> Iterator[tuple[str, Path, list[str]]]:
    """Name, documents and classes of each source of images by class."""
    for source, file in inputs.files():
        if source.has_classes:
            yield source.name, file, answers(file)


def classify(
    engine: Engine, documents: Iterable[Document], classes: Sequence[str], advance: Advance = ignored
) -> Classification | None:
    """Predict each image's class: the likeliest answer, with <|im_end|> after it. None without documents.

    Documents are conversations about one image that end with one of the `classes`.
    """

    encoded = [supervised_ids(engine.tokenizer, name) for name in classes]
    indices = {name: index for index, name in enumerate(classes)}
    pairs: Counter[tuple[int, int]] = Counter()
    worst: list[_Candidate] = []
    for chunk in chunks(documents):
        rows = [prompt_of(engine, document) for document in chunk]
        probable, chosen = engine.scorer.log_probabilities(rows, encoded).softmax(-1).max(-1)
        for document, probability, predicted in zip(chunk, probable.tolist(), chosen.tolist(), strict=True):
            truth = indices[answer_of(document)]
            if predicted != truth:
                mistake = _Candidate(probability, pairs.total(), document, classes[predicted])
                worst = heapq.nlargest(WORST, [*worst, mistake])
            pairs[truth, predicted] += 1
        advance(len(chunk))
    return _classification(pairs, classes, [_mistake(engine, each) for each in worst]) if pairs else None


def _classification(pairs: Counter[tuple[int, int]], classes: Sequence[str], worst: list[Mistake]) -> Classification:
    indices = range(len(classes))
    counts = [[pairs[truth, predicted] for predicted in indices] for truth in indices]
    right, total = sum(counts[index][index] for index in indices), pairs.total()
    recall = {
        name: proportion(row[index], sum(row))
        for index, (name, row) in enumerate(zip(classes, counts, strict=True))
        if sum(row)
    }
    return Classification(proportion(right, total), max(map(sum, counts)) / total, list(classes), counts, recall, worst)


def _mistake(engine: Engine, mistake: _Candidate) -> Mistake:

    row = prompt_of(engine, mistake.document)
    image, size = thumbnail(mistake.document.images[0])
    attention = spotlight(engine.scorer.attention_weights(row)[0], row.images[0].grid)
    return Mistake(image, size, attention, answer_of(mistake.document), mistake.predicted, mistake.probability)


# --- display -----------------------------------------------------------------------------------------------------


def headline(source: str, entry: Classification) -> Headline:
    """The accuracy of a source."""
    note = f"{len(entry.classes)} classes, {units.number(entry.accuracy.n)} images held out"
    return Headline(f"Accuracy, {source}", units.percent(entry.accuracy.value), note)


def tables(entries: dict[str, Classification]) -> list[Table]:
    """A row a source, then for each source recall, confusion matrix and most frequent confusions."""
    rows = [
        [source, units.number(entry.accuracy.n), interval(entry.accuracy), units.percent(entry.commonest)]
        for source, entry in entries.items()
    ]
    columns = ("source", ">images", ">accuracy", ">always the most frequent class")
    details = [
        table
        for source, entry in entries.items()
        for table in (_recall(source, entry), _matrix(source, entry), _confusions(source, entry))
    ]
    return [Table("Classification of held-out images", columns, rows), *details]


def _recall(source: str, entry: Classification) -> Table:
    """A row a class, the lowest recall first."""
    lowest = sorted(entry.recall.items(), key=lambda item: item[1].value)
    rows: list[Row] = [
        [Cell(name, verbatim=True), units.number(figure.n), interval(figure)] for name, figure in lowest[:LONGEST]
    ]
    return Table(f"Recall by class of {source}{cut(len(lowest))}", ("class", ">images", ">recall"), rows)


def cut(count: int) -> str:
    """The caption of a table cut to LONGEST rows."""
    return f", the {LONGEST} lowest of {count}" if count > LONGEST else ""


def _matrix(source: str, entry: Classification) -> Table:
    """The confusion matrix, if it is small enough for a table."""
    counted = zip(entry.classes, entry.counts, strict=True) if len(entry.classes) <= WIDEST else ()
    rows: list[Row] = [
        [Cell(name, verbatim=True), *(f"{count:,}" if count else "·" for count in row)] for name, row in counted
    ]
    columns = ("class", *(f">{name}" for name in entry.classes))
    return Table(f"Confusion matrix of {source}: a row a true class, a column a predicted one", columns, rows)


def _confusions(source: str, entry: Classification) -> Table:
    """The most frequent confusions, a row a pair of classes."""
    often = sorted(((count, *pair) for pair, count in _cells(entry) if pair[0] != pair[1]), key=lambda each: -each[0])
    rows: list[Row] = [
        [
            Cell(entry.classes[truth], verbatim=True),
            Cell(entry.classes[predicted], verbatim=True),
            f"{count:,}",
            units.percent(count / sum(entry.counts[truth])),
        ]
        for count, truth, predicted in often[:CONFUSIONS]
    ]
    return Table(f"Most frequent confusions of {source}", ("class", "predicted", ">images", ">of the class"), rows)


def _cells(entry: Classification) -> Iterator[tuple[tuple[int, int], int]]:
    """True and predicted class, and the count, of each cell of the confusion matrix that is not empty."""
    for truth, row in enumerate(entry.counts):
        yield from (((truth, predicted), count) for predicted, count in enumerate(row) if count)


def galleries(source: str, entry: Classification) -> list[Gallery]:
    """The confusion matrix of many classes, and the worst mistakes."""
    matrix = [_map(entry)] if len(entry.classes) > WIDEST else []
    return [
        Gallery(
            f"Confusion matrix, {source}",
            "A row is a true class, a column a predicted one, both in the order of their names; the darker a cell, the"
            " larger its fraction of the true class.",
            matrix,
        ),
        Gallery(
            f"Mistakes with the highest probability, {source}",
            "Light: attention of the last token before the answer in the last block, mean over heads. The percentage"
            " is the probability of the predicted class among all classes.",
            [_picture(mistake) for mistake in entry.worst],
        ),
    ]


def _map(entry: Classification) -> Picture:
    """The confusion matrix as a picture; each row sums to one."""
    classes, counts = entry.classes, entry.counts
    cells = tuple(
        Rectangle(
            predicted,
            truth,
            1,
            1,
            f"{classes[truth]} predicted as {classes[predicted]}: {count:,}",
            "cell",
            round(count / sum(counts[truth]), 3),
        )
        for (truth, predicted), count in _cells(entry)
    )
    right = sum(row[index] for index, row in enumerate(counts))
    label = (
        f"Confusion matrix of {len(classes)} classes: {right:,} of {sum(map(sum, counts)):,} images lie on the diagonal"
    )
    return Picture(len(classes), len(classes), label, label, rectangles=cells)


def _picture(mistake: Mistake) -> Picture:
    width, height = mistake.size
    caption = f"{mistake.truth}, predicted as {mistake.predicted} ({units.percent(mistake.probability, 0)})"
    return Picture(width, height, f"Mistake: {caption}", caption, mistake.image, mistake.attention)
