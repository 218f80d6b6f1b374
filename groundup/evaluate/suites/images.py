"""Suite: held-out images by class, and questions about held-out images."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from groundup.codecs.detections import from_text
from groundup.core import units
from groundup.core.tables import SUITES
from groundup.data.document import Document, measured, read
from groundup.evaluate import classification
from groundup.evaluate.average_precision import Matches, ScoredImage, matches
from groundup.evaluate.cases import answer_of, chunks
from groundup.evaluate.classification import Classification, classify, labelled
from groundup.evaluate.display import Display, Headline, Table
from groundup.evaluate.exact_match import Case, Row, average, greedy_cases, mistakes, row_of
from groundup.evaluate.figure import Figure
from groundup.evaluate.prompts import prompt_of, supervised_ids
from groundup.evaluate.suite import Advance, Suite, SuiteInputs, ignored
from groundup.evaluate.suites import tasks
from groundup.evaluate.texts import conversations
from groundup.generate.engine import Engine

QUESTIONS = 500  # held-out conversations about images of a source


@dataclass(frozen=True)
class QuestionRow(Row):
    """Exact matches of one family in one language, and box matches where right answers hold boxes."""

    boxes: Matches | None


@dataclass(frozen=True)
class ImageQuestions:
    """The questions of one source."""

    average: Figure
    rows: list[QuestionRow]


@dataclass(frozen=True)
class Images:
    """The result, by source."""

    images: dict[str, Classification] = field(default_factory=dict)
    questions: dict[str, ImageQuestions] = field(default_factory=dict)


# --- measuring ---------------------------------------------------------------------------------------------------


def measure(inputs: SuiteInputs) -> Images:
    """Classify the held-out images of each source with classes, and ask the held-out questions of each other source."""
    classes, questions = {}, {}
    for name, file, names in labelled(inputs):
        if found := classify(inputs.engine, read(measured(file), heldout=True), names, inputs.advance):
            classes[name] = found
    for name, documents in _conversations(inputs).items():
        if rows := ask(inputs.engine, documents, name, inputs.advance):
            questions[name] = ImageQuestions(average(rows), rows)
    return Images(classes, questions)


def _conversations(inputs: SuiteInputs) -> dict[str, list[Document]]:
    """Questions about images by source: made for the measurement, or those held out of its conversations."""
    made = {
        source.name: source.heldout(inputs.options.per_family)
        for source in inputs.sources
        if source.holds == "images" and source.exact_answers
    }
    return made | {
        source.name: list(conversations(file, heldout=True, limit=QUESTIONS, images=True))
        for source, file in inputs.files()
        if source.holds == "conversations" and not source.exact_answers
    }


def ask(engine: Engine, documents: Sequence[Document], name: str, advance: Advance = ignored) -> list[QuestionRow]:
    """Answer the last message of each conversation greedily; a row a family and language, in order of occurrence.

    Documents are conversations with images that end with the right answer; their labels are `family` (default `name`),
    `language` and `level`.
    """
    groups: dict[tuple[str, str, int], list[Document]] = {}
    for document in documents:
        labels = document.labels or {"family": name, "language": "any", "level": 1}
        groups.setdefault((labels["family"], labels["language"], labels["level"]), []).append(document)
    return [
        _row(key, [case for chunk in chunks(group) for case in _cases(engine, chunk, advance)])
        for key, group in groups.items()
    ]


def _cases(engine: Engine, documents: list[Document], advance: Advance) -> list[Case]:

    rows = [prompt_of(engine, document) for document in documents]
    longest = max(len(supervised_ids(engine.tokenizer, answer_of(document))) for document in documents)
    return greedy_cases(engine, documents, rows, longest, advance)


def _row(key: tuple[str, str, int], cases: list[Case]) -> QuestionRow:
    images = [ScoredImage((1, 1), from_text(case.expected), from_text(case.answer)) for case in cases]
    located = any(image.truth for image in images)
    return QuestionRow(**vars(row_of(key, cases)), boxes=matches(images) if located else None)


# --- display -----------------------------------------------------------------------------------------------------


def display(result: Images) -> Display:
    """Classification, then questions."""
    questions = result.questions.items()
    return Display(
        [
            *(classification.headline(source, entry) for source, entry in result.images.items()),
            *(_headline(source, entry) for source, entry in questions),
        ],
        [
            *classification.tables(result.images),
            *(tasks.table(source, entry.average, entry.rows) for source, entry in questions),
            _boxes(result.questions),
        ],
        galleries=[
            gallery for source, entry in result.images.items() for gallery in classification.galleries(source, entry)
        ],
        mistakes=[row for _, entry in questions for row in mistakes(entry.rows)],
    )


def _headline(source: str, entry: ImageQuestions) -> Headline:
    return Headline(f"Exact match, {source}", units.percent(entry.average.value), "questions about held-out images")


def _boxes(questions: dict[str, ImageQuestions]) -> Table:
    """Boxes written in answers, a row a family and language."""
    rows = [
        [source, row.family, row.language, str(row.exact_match.n), *row.boxes.cells()]
        for source, entry in questions.items()
        for row in entry.rows
        if row.boxes is not None
    ]
    columns = ("source", "family", "language", ">images", ">precision", ">recall", ">F1")
    return Table("Boxes in answers about held-out images, at an IoU of 0.5", columns, rows)


SUITES.add(
    "images",
    Suite(1, Images, measure, display, "no source has held-out images with a class or a question", image_inputs=True),
)
