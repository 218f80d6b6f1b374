"""What a model says to images: the likeliest class, and answers to questions."""

import heapq
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from groundup.codecs import boxes
from groundup.data.document import Document, said
from groundup.evaluate.average_precision import Matches, Picture, matches
from groundup.evaluate.figure import Figure, proportion
from groundup.evaluate.prompts import answer, prompt_of, supervised_ids
from groundup.evaluate.tasks import SPARE, Case, Row, row_of
from groundup.evaluate.thumbnails import spotlight, thumbnail
from groundup.generate.engine import Engine

CHUNK = 256  # images in memory at once
WORST = 12  # mistakes that are kept with their image

Advance = Callable[[int], None]


def ignored(done: int) -> None:
    """Progress that nobody looks at."""


def chunks(documents: Iterable[Document], count: int = CHUNK) -> Iterator[list[Document]]:
    """Lists of at most `count`, so that few images are in memory."""
    documents = iter(documents)
    while chunk := list(islice(documents, count)):
        yield chunk


# --- classes ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Classified:
    """Images by class: `counts[t][s]` of the class t were said to be s, both places in `classes`.

    `commonest` is the share of the images that always saying their commonest class gets. `recall` has the classes that
    were there. `worst` are the surest mistakes: image, where the model looked, truth, said, and the probability of what
    was said among the classes.
    """

    accuracy: Figure
    commonest: float
    classes: list[str]
    counts: list[list[int]]
    recall: dict[str, Figure]
    worst: list[dict[str, Any]]

    def as_dict(self) -> dict[str, Any]:
        """The figures for JSON."""
        recall = {name: figure.as_dict() for name, figure in self.recall.items()}
        return {**vars(self), "accuracy": self.accuracy.as_dict(), "recall": recall}


@dataclass(order=True, frozen=True)
class _Mistake:
    """The surer the model, the worse."""

    probability: float
    number: int  # of the image: settles ties
    document: Document = field(compare=False)
    said: str = field(compare=False)


def classify(
    engine: Engine, documents: Iterable[Document], classes: Sequence[str], advance: Advance = ignored
) -> Classified | None:
    """Take for each image the class that is likeliest as its answer, <|im_end|> after it; None where there are no
    documents.

    Documents are conversations about one image that end with one of the `classes`. `advance` is told of images done.
    """
    answers = [supervised_ids(engine.tokenizer, name) for name in classes]
    places = {name: place for place, name in enumerate(classes)}
    pairs: Counter[tuple[int, int]] = Counter()
    worst: list[_Mistake] = []
    for chunk in chunks(documents):
        rows = [prompt_of(engine, document) for document in chunk]
        probable, chosen = engine.scorer.log_probabilities(rows, answers).softmax(-1).max(-1)
        for document, probability, place in zip(chunk, probable.tolist(), chosen.tolist(), strict=True):
            truth = places[_last(document)]
            if place != truth:
                mistake = _Mistake(probability, pairs.total(), document, classes[place])
                worst = heapq.nlargest(WORST, [*worst, mistake])
            pairs[truth, place] += 1
        advance(len(chunk))
    return _classified(pairs, classes, [_shown(engine, mistake) for mistake in worst]) if pairs else None


def _classified(pairs: Counter[tuple[int, int]], classes: Sequence[str], worst: list[dict[str, Any]]) -> Classified:
    counts = [[pairs[truth, place] for place in range(len(classes))] for truth in range(len(classes))]
    right, total = sum(counts[place][place] for place in range(len(classes))), pairs.total()
    recall = {
        name: proportion(row[place], sum(row))
        for place, (name, row) in enumerate(zip(classes, counts, strict=True))
        if sum(row)
    }
    return Classified(proportion(right, total), max(map(sum, counts)) / total, list(classes), counts, recall, worst)


def _shown(engine: Engine, mistake: _Mistake) -> dict[str, Any]:
    row = prompt_of(engine, mistake.document)
    image, size = thumbnail(mistake.document.images[0])
    looked = spotlight(engine.scorer.attention_weights(row)[0], row.images[0].view.grid)
    truth = _last(mistake.document)
    return {
        "image": image,
        "size": [*size],
        "looked": looked,
        "truth": truth,
        "said": mistake.said,
        "probability": mistake.probability,
    }


def _last(document: Document) -> str:
    return said((document.messages or [{}])[-1])


# --- questions --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Answered:
    """The exact matches of one family in one language, and how well boxes were found, where right answers hold any."""

    row: Row
    boxes: Matches | None

    def as_dict(self) -> dict[str, Any]:
        """The row for JSON, with `boxes`."""
        return self.row.as_dict() | {"boxes": self.boxes and self.boxes.as_dict()}


def ask(engine: Engine, documents: Sequence[Document], name: str, advance: Advance = ignored) -> list[Answered]:
    """Answer the last message of each conversation greedily; a row for each family and language, in the order they
    first come.

    Documents are conversations with images that end with the right answer, with `family`, `language` and `level` in
    their labels; those without labels are the family `name`. `advance` is told of questions done.
    """
    groups: dict[tuple[str, str, int], list[Document]] = {}
    for document in documents:
        labels = document.labels or {"family": name, "language": "any", "level": 1}
        groups.setdefault((labels["family"], labels["language"], labels["level"]), []).append(document)
    return [
        _answered(key, [case for chunk in chunks(group) for case in _cases(engine, chunk, advance)])
        for key, group in groups.items()
    ]


def _cases(engine: Engine, documents: list[Document], advance: Advance) -> list[Case]:
    rows = [prompt_of(engine, document) for document in documents]
    expected = [_last(document) for document in documents]
    answers = answer(
        engine, rows, max(len(supervised_ids(engine.tokenizer, text)) for text in expected) + SPARE, advance
    )
    questions = [said((document.messages or [])[-2]) for document in documents]
    return [Case(*each) for each in zip(questions, expected, answers, strict=True)]


def _answered(key: tuple[str, str, int], cases: list[Case]) -> Answered:
    pictures = [Picture((1, 1), boxes.read(case.expected), boxes.read(case.answer)) for case in cases]
    placed = any(picture.truth for picture in pictures)
    return Answered(row_of(key, cases), matches(pictures) if placed else None)
