"""Exact match: what is asked, what counts as right, and how it is added up."""

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from groundup.codecs import chat
from groundup.codecs.text import Tokenizer
from groundup.data.document import Document
from groundup.evaluate.exact_match import Case, average, exact_match


@dataclass
class Parrot:
    """An engine that says what it is told to say, and remembers what it was asked."""

    tokenizer: Tokenizer
    answers: list[str]
    context: int = 200
    asked: list[list[int]] = field(default_factory=list)
    limit: int = 0

    @property
    def config(self) -> Any:
        return SimpleNamespace(context=self.context)

    def complete(self, prompts, limit, advance, images):
        self.asked, self.limit = prompts, limit
        advance(len(prompts))
        return [self.tokenizer.encode(answer) for answer in self.answers[: len(prompts)]]


def task(question: str, answer: str, family: str = "copying", language: str = "en") -> Document:
    messages = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return Document(
        "tasks", "here", "CC0-1.0", messages=messages, labels={"family": family, "language": language, "level": 2}
    )


def test_rows_count_right_answers_by_family_and_language(tokenizer):
    documents = [
        task("a", "1"),
        task("b", "2", language="zh"),
        task("c", "3"),
        task("d", "4", "sorting"),
        task("e", "5"),
    ]
    rows = exact_match(Parrot(tokenizer, ["1", "2", "wrong", "4", "5"]), documents)
    assert [(row.family, row.language, row.level, row.exact_match.value, row.exact_match.n) for row in rows] == [
        ("copying", "en", 2, 2 / 3, 3),
        ("copying", "zh", 2, 1.0, 1),
        ("sorting", "en", 2, 1.0, 1),
    ]


@pytest.mark.parametrize(
    ("answer", "right"), [("12", True), (" 12\n", True), ("12.", False), ("1 2", False), ("", False), ("１２", False)]
)
def test_only_the_same_characters_are_right(tokenizer, answer, right):
    assert exact_match(Parrot(tokenizer, [answer]), [task("what?", "12")])[0].exact_match.value == right


def test_the_first_mistakes_are_kept_with_what_was_expected(tokenizer):
    documents = [task(f"question {number}", "right") for number in range(6)]
    [row] = exact_match(Parrot(tokenizer, ["right", "w1", "w2", "right", "w3", "w4"]), documents)
    assert row.mistakes == [Case(f"question {number}", "right", f"w{n}") for n, number in enumerate((1, 2, 4), 1)]


def test_a_family_weighs_the_same_however_many_cases_it_has(tokenizer):
    documents = [task("a", "1")] * 9 + [task("b", "1", "sorting")]
    rows = exact_match(Parrot(tokenizer, ["1"] * 9 + ["0"]), documents)
    figure = average(rows)
    assert (figure.value, figure.n) == (0.5, 10)
    assert figure.low < 0.5 < figure.high


def test_a_question_is_asked_in_the_ids_that_tuning_trains_on(tokenizer):
    document = task("how many?", "three")
    parrot = Parrot(tokenizer, ["three"])
    exact_match(parrot, [document])
    ids, trained = chat.encode(tokenizer, document.messages)
    assert parrot.asked == [ids[: trained.index(True)]]
    assert parrot.limit >= trained.count(True)


def test_a_question_longer_than_the_context_counts_as_wrong(tokenizer):
    rows = exact_match(Parrot(tokenizer, ["1"], context=40), [task("a " * 60, "1"), task("b", "1")])
    assert rows[0].exact_match.value == 0.5
    assert rows[0].mistakes[0].answer == ""


def test_progress_counts_the_tasks(tokenizer):
    done: list[int] = []
    exact_match(Parrot(tokenizer, ["1"] * 5), [task("a", "1")] * 5, done.append)
    assert sum(done) == 5
