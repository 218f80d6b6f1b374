"""Exact match of generated answers, by task family and language; how suites measure and display it."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass

from groundup.data.document import Document
from groundup.evaluate.cases import answer_of, question_of
from groundup.evaluate.display import Cell, interval
from groundup.evaluate.display import Row as TableRow
from groundup.evaluate.figure import Figure, mean, proportion
from groundup.evaluate.matching import exact
from groundup.evaluate.prompts import answer, prompt_of
from groundup.evaluate.suite import Advance, ignored
from groundup.generate.engine import Engine
from groundup.generate.packing import PackedRow

MISTAKES = 3  # wrong answers of a family that are kept for the report
SPARE = 8  # tokens of a wrong answer beyond the longest right one
DISPLAYED = 1  # wrong answers of a family and language that the report displays
LANGUAGES = {"en": "English", "zh": "Chinese"}


@dataclass(frozen=True)
class Case:
    """A question, the right answer and the model's answer."""

    question: str
    expected: str
    answer: str


@dataclass(frozen=True)
class Row:
    """One family in one language at one level: the fraction of exact matches, and a few wrong answers."""

    family: str
    language: str
    level: int
    exact_match: Figure
    mistakes: list[Case]


Same = Callable[[str, str], bool]


# --- measuring ---------------------------------------------------------------------------------------------------


def exact_match(engine: Engine, documents: list[Document], advance: Advance = ignored) -> list[Row]:
    """Exact match of greedy answers: a row for each family and language, in order of first occurrence.

    Documents are conversations that end with the right answer, with `family`, `language` and `level` in their labels. A
    question too long for the context has an empty answer.
    """
    prompts = [prompt_of(engine, document) for document in documents]
    longest = max((len(engine.tokenizer.encode(answer_of(document))) for document in documents), default=0)
    return rows_of(documents, greedy_cases(engine, documents, prompts, longest, advance))


def rows_of(documents: Sequence[Document], cases: Sequence[Case], same: Same = exact) -> list[Row]:
    """The cases of documents by the labels of these, a row for each; `same` compares answers."""
    groups: dict[tuple[str, str, int], list[Case]] = {}
    for document, case in zip(documents, cases, strict=True):
        labels = document.labels
        groups.setdefault((labels["family"], labels["language"], labels["level"]), []).append(case)
    return [row_of(key, of_key, same) for key, of_key in groups.items()]


def average(rows: Iterable[Row]) -> Figure:
    """The macro average: every family and language counts the same, however many cases it has."""
    return mean([row.exact_match for row in rows])


def greedy_cases(
    engine: Engine, documents: Sequence[Document], prompts: Sequence[PackedRow], longest: int, advance: Advance
) -> list[Case]:
    """The last message of each conversation, of at most `longest` tokens, beside the greedy answer to its prompt."""
    answers = answer(engine, prompts, longest + SPARE, advance)
    return [
        Case(question_of(document), answer_of(document), text)
        for document, text in zip(documents, answers, strict=True)
    ]


def row_of(key: tuple[str, str, int], cases: list[Case], same: Same = exact) -> Row:
    """The row of the cases of one family, language and level; the key has these in this order."""
    wrong = [case for case in cases if not same(case.answer, case.expected)]
    return Row(*key, proportion(len(cases) - len(wrong), len(cases)), wrong[:MISTAKES])


# --- display -----------------------------------------------------------------------------------------------------


def languages(rows: Sequence[Row]) -> list[str]:
    """The languages of rows, in order of first occurrence."""
    return list(dict.fromkeys(row.language for row in rows))


def columns(rows: Sequence[Row]) -> list[str]:
    """A column of figures for each language."""
    return [f">{LANGUAGES.get(language, language)}" for language in languages(rows)]


def by_language(rows: Sequence[Row], family: str) -> list[str | Cell]:
    """The exact matches of a family, one cell for each language."""
    figures = {row.language: row.exact_match for row in rows if row.family == family}
    return [interval(figures.get(language)) for language in languages(rows)]


def largest(rows: Sequence[Row]) -> int:
    """The largest number of cases of a family and language."""
    return max((row.exact_match.n for row in rows), default=0)


def cells(case: Case) -> list[Cell]:
    """Question, right answer and the model's answer, verbatim."""
    return [Cell(text, verbatim=True) for text in asdict(case).values()]


def mistakes(rows: Iterable[Row]) -> list[TableRow]:
    """Some wrong answers of each family and language, as rows of a display's `mistakes`."""
    return [[row.family, *cells(case)] for row in rows for case in row.mistakes[:DISPLAYED]]
