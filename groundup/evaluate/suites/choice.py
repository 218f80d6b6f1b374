"""Suite: multiple choice by log-likelihood, as lm-eval scores it: the likeliest choice is the model's answer."""

from dataclasses import dataclass, field
from pathlib import Path

from groundup.codecs.text import Tokenizer
from groundup.core import units
from groundup.core.errors import InputError
from groundup.core.tables import SUITES
from groundup.evaluate.display import Cell, Display, Row, Table, interval
from groundup.evaluate.figure import Figure, proportion
from groundup.evaluate.questions import Question, by_subject, read
from groundup.evaluate.suite import Advance, Suite, SuiteInputs, ignored
from groundup.generate.engine import Engine
from groundup.generate.scoring import ScoredText


@dataclass(frozen=True)
class Accuracy:
    """Accuracy by the largest log-likelihood, `raw` or `per_byte`; `chance` is guessing's.

    `cut` counts questions that are too long for the context; they are truncated at the beginning.
    """

    raw: Figure
    per_byte: Figure
    chance: float
    cut: int


@dataclass(frozen=True)
class Choice:
    """The result, by file and then by subject; "" is the whole file."""

    choice: dict[str, dict[str, Accuracy]] = field(default_factory=dict)


@dataclass(frozen=True)
class _Mark:
    """Whether one question was answered right, and whether it was truncated."""

    question: Question
    raw: bool
    per_byte: bool
    cut: bool


# --- measuring ---------------------------------------------------------------------------------------------------


def measure(inputs: SuiteInputs) -> Choice:
    """Answer the files that the recipe names."""
    files = inputs.paths(inputs.options.choice)
    return Choice({path: choices(inputs.engine, file, inputs.advance) for path, file in files.items()})


def choices(engine: Engine, path: Path, advance: Advance = ignored) -> dict[str, Accuracy]:
    """Accuracy on a file of questions (`questions.read`): of all under "", and of each subject under its name.

    A choice is scored as " choice" after "Question: ...\\nAnswer:". Raises InputError for an unusable file, and for a
    choice longer than the context.
    """
    marks = _marks(engine, read(path), path, advance)
    groups = by_subject(marks, lambda mark: mark.question.subject)
    return {subject: _accuracy(group) for subject, group in groups.items()}


def _accuracy(marks: list[_Mark]) -> Accuracy:
    raw, per_byte = (
        proportion(sum(right), len(marks))
        for right in ([mark.raw for mark in marks], [mark.per_byte for mark in marks])
    )
    chance = sum(1 / len(mark.question.choices) for mark in marks) / len(marks)
    return Accuracy(raw, per_byte, chance, sum(mark.cut for mark in marks))


def _marks(engine: Engine, questions: list[Question], path: Path, advance: Advance) -> list[_Mark]:

    context = engine.config.context
    ids = [_ids(question, engine.tokenizer) for question in questions]
    scored = [_scored(*pair, context, path) for pairs in ids for pair in pairs]
    values = iter(engine.scorer.negative_log_likelihoods(scored, advance))
    marks = []
    for question, pairs in zip(questions, ids, strict=True):
        raw = [next(values) for _ in pairs]
        per_byte = [value / len(choice.encode()) for value, choice in zip(raw, question.choices, strict=True)]
        right, right_per_byte = (each.index(min(each)) == question.answer for each in (raw, per_byte))
        cut = any(len(before) + len(choice) > context + 1 for before, choice in pairs)
        marks.append(_Mark(question, right, right_per_byte, cut))
    return marks


def _ids(question: Question, tokenizer: Tokenizer) -> list[tuple[list[int], list[int]]]:
    """The ids of the question and of each choice; the space before a choice keeps the tokens of the two apart."""
    before = tokenizer.encode_start(f"Question: {question.text}\nAnswer:")
    return [(before, tokenizer.encode_after(f" {choice}")) for choice in question.choices]


def _scored(before: list[int], choice: list[int], context: int, path: Path) -> ScoredText:

    if len(choice) > context:
        raise InputError(
            f"{path}: a choice of {len(choice)} tokens is longer than the model's context of {context}; shorten it"
        )
    ids = (before + choice)[-(context + 1) :]
    return ScoredText(ids, len(ids) - len(choice))


# --- display -----------------------------------------------------------------------------------------------------


def display(result: Choice) -> Display:
    """A row a file, and one a subject."""
    rows = [
        _accuracies(subject or path, accuracy)
        for path, subjects in result.choice.items()
        for subject, accuracy in subjects.items()
    ]
    columns = ("file or subject", ">questions", ">by log-likelihood", ">by log-likelihood a byte", ">by chance")
    return Display(tables=[Table("Multiple choice: accuracy", columns, rows)])


def _accuracies(name: str, accuracy: Accuracy) -> Row:
    figures = (interval(accuracy.raw), interval(accuracy.per_byte), units.percent(accuracy.chance))
    return [Cell(name, verbatim=True), str(accuracy.raw.n), *figures]


SUITES.add("choice", Suite(1, Choice, measure, display, "evaluate.choice names no file"))
