"""Exact match on verifiable tasks, by family and language."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from groundup.codecs import chat
from groundup.data.document import Document
from groundup.evaluate.figure import Figure, mean, proportion
from groundup.generate.engine import Engine
from groundup.generate.grammar import Grammar

MISTAKES = 3  # wrong answers of a family that are kept for the report
SPARE = 8  # tokens a wrong answer may have beyond the longest right one: enough to see what it is


@dataclass(frozen=True)
class Row:
    """One family in one language at one level: its share of exact matches, and a few wrong answers."""

    family: str
    language: str
    level: int
    exact_match: Figure
    mistakes: list[dict[str, str]]  # question, expected, answer

    def as_dict(self) -> dict[str, Any]:
        """The row for JSON."""
        return {**vars(self), "exact_match": self.exact_match.as_dict()}


@dataclass(frozen=True)
class Case:
    """A task and what the model said to it."""

    question: str
    expected: str
    answer: str


Same = Callable[[str, str], bool]


def equal(answer: str, expected: str) -> bool:
    """Equal character by character; the chat template drops white space around an answer, so it does not count."""
    return answer.strip() == expected.strip()


def exact_match(
    engine: Engine,
    documents: list[Document],
    advance: Callable[[int], None] = lambda done: None,
    same: Same = equal,
    grammar: Grammar | None = None,
) -> list[Row]:
    """Answer the last message of each task greedily; a row for each family and language, in the order they first come.

    Documents are conversations that end with the right answer, with `family`, `language` and `level` in their labels. A
    question too long for the context counts as answered with nothing. `advance` is told of tasks done; `same` says
    whether an answer is as good as the right one; `grammar` is what answers may be.
    """
    groups: dict[tuple[str, str, int], list[Case]] = {}
    for document, answer in zip(documents, _answers(engine, documents, advance, grammar), strict=True):
        messages, labels = document.messages or [], document.labels
        case = Case(messages[-2]["content"], messages[-1]["content"], answer)
        groups.setdefault((labels["family"], labels["language"], labels["level"]), []).append(case)
    return [row_of(key, cases, same) for key, cases in groups.items()]


def average(rows: Iterable[Row]) -> Figure:
    """The macro average: every family and language counts the same, however many cases it has."""
    return mean([row.exact_match for row in rows])


def _answers(
    engine: Engine, documents: list[Document], advance: Callable[[int], None], grammar: Grammar | None
) -> list[str]:
    tokenizer, context = engine.tokenizer, engine.config.context
    prompts = [chat.prompt(tokenizer, (document.messages or [])[:-1], document.tools) for document in documents]
    longest = max(
        (len(tokenizer.encode((document.messages or [])[-1]["content"])) for document in documents), default=0
    )
    fitting = [number for number, prompt in enumerate(prompts) if len(prompt) < context]
    answers = [""] * len(documents)
    completed = engine.complete(
        [prompts[number] for number in fitting], longest + SPARE, advance=advance, grammar=grammar
    )
    for number, ids in zip(fitting, completed, strict=True):
        answers[number] = tokenizer.decode(ids)
    return answers


def row_of(key: tuple[str, str, int], cases: list[Case], same: Same = equal) -> Row:
    """The row of the cases of one family in one language at one level, in this order in the key."""
    wrong = [vars(case) for case in cases if not same(case.answer, case.expected)]
    return Row(*key, proportion(len(cases) - len(wrong), len(cases)), wrong[:MISTAKES])
