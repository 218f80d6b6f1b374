"""Multiple choice by log-likelihood, as lm-eval does it: the choice that surprises the model least is its answer."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from groundup.codecs.text import Tokenizer
from groundup.core.errors import InputError
from groundup.evaluate.figure import Figure, proportion
from groundup.evaluate.questions import Question, read
from groundup.generate.engine import Engine
from groundup.generate.scoring import ScoredText


@dataclass(frozen=True)
class Accuracy:
    """Shares of right answers: by the largest log-likelihood, `raw`, and by the largest for each byte, `per_byte`.

    `chance` is the share that guessing gets; `cut` counts questions that lost their beginning, being too long for the
    context.
    """

    raw: Figure
    per_byte: Figure
    chance: float
    cut: int

    def as_dict(self) -> dict[str, Any]:
        """The figures for JSON."""
        return {**vars(self), "raw": self.raw.as_dict(), "per_byte": self.per_byte.as_dict()}


@dataclass(frozen=True)
class _Mark:
    """How one question was answered."""

    question: Question
    raw: bool
    per_byte: bool
    cut: bool


def choices(engine: Engine, path: Path, advance: Callable[[int], None] = lambda done: None) -> dict[str, Accuracy]:
    """Accuracy on a file of questions (`questions.read`): of all under "", and of each subject under its name.

    A choice is scored as " choice" after "Question: ...\\nAnswer:". `advance` is told of choices done. Raises
    InputError for a file that cannot be used, and for a choice that alone is longer than the context.
    """
    marks = _marks(engine, read(path), path, advance)
    groups = {"": marks}
    for mark in marks:
        if mark.question.subject:
            groups.setdefault(mark.question.subject, []).append(mark)
    return {subject: _accuracy(group) for subject, group in groups.items()}


def _accuracy(marks: list[_Mark]) -> Accuracy:
    raw, per_byte = (
        proportion(sum(right), len(marks))
        for right in ([mark.raw for mark in marks], [mark.per_byte for mark in marks])
    )
    chance = sum(1 / len(mark.question.choices) for mark in marks) / len(marks)
    return Accuracy(raw, per_byte, chance, sum(mark.cut for mark in marks))


def _marks(engine: Engine, questions: list[Question], path: Path, advance: Callable[[int], None]) -> list[_Mark]:
    context = engine.config.context
    texts = [_texts(question, engine.tokenizer) for question in questions]
    scored = [_scored(*text, context, path) for group in texts for text in group]
    nll = iter(engine.scorer.negative_log_likelihoods(scored, advance))
    marks = []
    for question, group in zip(questions, texts, strict=True):
        values = [next(nll) for _ in group]
        by_byte = [value / len(choice.encode()) for value, choice in zip(values, question.choices, strict=True)]
        raw, per_byte = (sums.index(min(sums)) == question.answer for sums in (values, by_byte))
        marks.append(_Mark(question, raw, per_byte, any(len(asked) + len(said) > context + 1 for asked, said in group)))
    return marks


def _texts(question: Question, tokenizer: Tokenizer) -> list[tuple[list[int], list[int]]]:
    """The ids of the question and of each choice; the space before a choice keeps the tokens of the two apart."""
    asked = tokenizer.encode(f"Question: {question.text}\nAnswer:")
    return [(asked, tokenizer.encode(f" {choice}")) for choice in question.choices]


def _scored(asked: list[int], said: list[int], context: int, path: Path) -> ScoredText:
    if len(said) > context:
        raise InputError(
            f"{path}: a choice of {len(said)} tokens is longer than the model's context of {context}; shorten it"
        )
    ids = (asked + said)[-(context + 1) :]
    return ScoredText(ids, len(ids) - len(said))
