"""Suite: a user's own questions, asked in the chat template and answered by greedy decoding."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from groundup.core import units
from groundup.core.errors import InputError
from groundup.core.tables import SUITES
from groundup.evaluate.display import Cell, Display, Headline, Table, interval
from groundup.evaluate.exact_match import MISTAKES, SPARE, Case, cells
from groundup.evaluate.figure import Figure, proportion
from groundup.evaluate.matching import MATCHINGS, Matching, has_number
from groundup.evaluate.prompts import answer, prompt_of_question, supervised_ids
from groundup.evaluate.questions import by_subject, records, text
from groundup.evaluate.suite import Advance, Suite, SuiteInputs, ignored
from groundup.generate.engine import Engine

_KEYS = ("question", "answer", "match", "subject")


@dataclass(frozen=True)
class OpenQuestion:
    """A question, its accepted answers, how they are compared, and its subject ("" if it has none)."""

    text: str
    answers: tuple[str, ...]
    match: Matching
    subject: str


@dataclass(frozen=True)
class Answered:
    """The fraction answered right (a question too long for the context is wrong), and a few wrong answers."""

    right: Figure
    mistakes: list[Case]


@dataclass(frozen=True)
class OpenQuestions:
    """The result, by file and then by subject; "" is the whole file."""

    open_questions: dict[str, dict[str, Answered]] = field(default_factory=dict)


# --- measuring ---------------------------------------------------------------------------------------------------


def measure(inputs: SuiteInputs) -> OpenQuestions:
    """Ask the files that the recipe names."""
    files = inputs.paths(inputs.options.questions)
    return OpenQuestions({path: ask(inputs.engine, file, inputs.advance) for path, file in files.items()})


def ask(engine: Engine, path: Path, advance: Advance = ignored) -> dict[str, Answered]:
    """The answers to a file of questions: all under "", and each subject under its name. Raises as `read`."""
    questions = read(path)
    prompts = [prompt_of_question(engine, each.text) for each in questions]
    longest = max(len(supervised_ids(engine.tokenizer, right)) for each in questions for right in each.answers)
    answered = zip(questions, answer(engine, prompts, longest + SPARE, advance), strict=True)
    groups = by_subject(answered, lambda pair: pair[0].subject)
    return {subject: _answered(group) for subject, group in groups.items()}


def read(path: Path) -> list[OpenQuestion]:
    """The questions of a file. Raises InputError that names a wrong line, or for an empty or missing file.

    A line: {"question": text, "answer": text, number or list of right ones, "match": "exact", "set" or "numeric",
    "subject": text}; the last two are optional.
    """
    return [_question(value, where) for where, value in records(path, _KEYS)]


def _answered(group: list[tuple[OpenQuestion, str]]) -> Answered:
    wrong = [
        Case(question.text, " | ".join(question.answers), found)
        for question, found in group
        if not any(MATCHINGS[question.match](found, right) for right in question.answers)
    ]
    return Answered(proportion(len(group) - len(wrong), len(group)), wrong[:MISTAKES])


def _question(value: dict[str, Any], where: str) -> OpenQuestion:
    match = value.get("match", "exact")
    if not isinstance(match, str) or match not in MATCHINGS:
        known = ", ".join(map(repr, MATCHINGS))
        raise InputError(f"{where}: 'match' must be one of {known}, found {json.dumps(match)}")
    answers = _answers(value.get("answer"), where)
    if match == "numeric" and (without := [each for each in answers if not has_number(each)]):
        raise InputError(f"{where}: 'answer' must hold a number to be compared as one, found {json.dumps(without[0])}")
    return OpenQuestion(text(value, "question", where), answers, match, text(value, "subject", where, ""))


def _answers(found: Any, where: str) -> tuple[str, ...]:
    """The accepted answers: one, or a list; numbers as they are written."""
    several = found if isinstance(found, list) else [found]
    if not several or any(isinstance(each, bool) or not isinstance(each, str | int | float) for each in several):
        raise InputError(
            f"{where}: 'answer' must be a text, a number or a list of right ones, found {json.dumps(found)}"
        )
    texts = (each if isinstance(each, str) else json.dumps(each) for each in several)
    return tuple(text({"answer": each}, "answer", where) for each in texts)


# --- display -----------------------------------------------------------------------------------------------------


def display(result: OpenQuestions) -> Display:
    """A headline a file; a row a file, and one a subject."""
    rows = [
        [Cell(subject or path, verbatim=True), str(answered.right.n), interval(answered.right)]
        for path, subjects in result.open_questions.items()
        for subject, answered in subjects.items()
    ]
    headline = [
        Headline(f"Right answers, {path}", units.percent(subjects[""].right.value), f"{subjects[''].right.n} questions")
        for path, subjects in result.open_questions.items()
    ]
    mistakes = [
        [Cell(path, verbatim=True), *cells(case)]
        for path, subjects in result.open_questions.items()
        for case in subjects[""].mistakes
    ]
    table = Table("Own questions: fraction answered right", ("file or subject", ">questions", ">right"), rows)
    return Display(headline, [table], mistakes=mistakes)


SUITES.add("questions", Suite(1, OpenQuestions, measure, display, "evaluate.questions names no file"))
