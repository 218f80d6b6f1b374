"""The suite "orders": an answer is scored by its effect on policies, and decoded under the grammar of the language."""

import math
from dataclasses import replace
from functools import partial
from random import Random
from types import SimpleNamespace

import pytest

from groundup.apps.sorter.interpretation import CERTAIN, Interpretation
from groundup.apps.sorter.orders_suite import (
    POLICIES,
    Orders,
    alike,
    calibrated,
    changes,
    display,
    interpreted,
    rows_of,
    threshold,
)
from groundup.apps.sorter.policy import ANSWER, COLOURS, END, ORDER_CLASSES, SortingPolicy, apply, parse
from groundup.core import ledger
from groundup.data.document import Document
from groundup.evaluate.exact_match import Case, row_of
from groundup.generate.grammar import Grammar
from groundup.generate.request import OutputDelta, TokenLogprob
from tests.evaluate.test_exact_match import task


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("leave paper", "leave paper"),
        ("leave can paper", "leave paper can"),
        ("leave paper; leave can", "leave paper can"),
        ("sure more; leave paper", "leave paper; sure more"),
        ("route glass 2", "route glass-brown glass-green glass-clear 2"),
        ("swap 2 1", "swap 1 2"),
        ("leave hazard", "leave hazard paper"),  # refused in the same words
        ("ask bin", "ask bin"),
    ],
)
def test_orders_with_one_effect_are_alike(answer, expected):
    assert alike(answer, expected)
    assert alike(expected, answer)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("route paper 1", "route paper blue"),  # the same in the standard, and not where bins have other colours
        ("route paper 1", "resume paper"),
        ("resume paper", "leave paper"),
        ("route paper 1; leave paper", "leave paper"),
        ("only can", "first can"),
        ("first can paper", "first paper can"),
        ("sure 90", "sure more"),
        ("sure more", "sure less"),
        ("swap 1 2", "swap 1 3"),
        ("reset", "sure 80"),
        ("leave glass", "leave glass-brown"),
        ("leave hazard", "route hazard 1"),  # the first may be a box for hazards
        ("route paper 6", "route paper 7"),  # refused in other words
        ("ask bin", "ask kind"),
        ("refuse kind", "refuse other"),
        ("", "leave paper"),
        ("leave", "leave paper"),
        ("leave wood", "refuse kind"),
        ("leave paper; ask bin", "ask bin"),
    ],
)
def test_lines_that_do_another_thing_are_not(answer, expected):
    assert not alike(answer, expected)
    assert not alike(expected, answer)


def clauses() -> list[str]:
    """Each clause of the language with one kind, some bins and percentages."""
    bins = ["1", "2", "4", *COLOURS]
    some = [f"{verb} {kind}" for verb in ("leave", "manual", "only", "resume", "first") for kind in ORDER_CLASSES]
    some += [f"route {kind} {bin_}" for kind in ORDER_CLASSES for bin_ in bins if kind != "hazard"]
    some += [f"swap {one} {other}" for one in bins for other in bins if one < other]
    return [*some, "reset", "sure more", "sure less", *(f"sure {percent}" for percent in range(50, 100))]


def test_of_single_clauses_none_is_taken_for_another():
    found: dict[tuple, list[str]] = {}
    for line in clauses():
        found.setdefault(tuple(repr(apply(parse(line), policy)) for policy in POLICIES), []).append(line)
    assert [lines for lines in found.values() if len(lines) > 1] == []


def test_what_is_alike_does_the_same_to_other_policies():
    rng, policies = Random(1), list(POLICIES)
    while len(policies) < 40:
        after = apply(parse(rng.choice(clauses())), rng.choice(policies))
        policies += [after] if isinstance(after, SortingPolicy) else []
    lines = ["; ".join(rng.choices(clauses(), k=2)) for _ in range(150)]
    lines += ["; ".join(reversed(line.split("; "))) for line in lines]
    for one, other in zip(lines[:150], lines[150:], strict=True):
        if alike(one, other):
            assert all(apply(parse(one), policy) == apply(parse(other), policy) for policy in policies)


class Parrot:
    """An engine that answers what it is told to, with a probability of each whole answer."""

    def __init__(self, tokenizer, answers: list[tuple[str, float]]):
        self.tokenizer, self.config = tokenizer, SimpleNamespace(context=200)
        self.answers, self.asked = iter(answers), []

    def add(self, request, on_delta) -> None:
        self.asked.append((request, on_delta))

    def step(self) -> bool:
        for request, on_delta in self.asked:
            assert (request.grammar, request.logprobs) == (Grammar.regex(ANSWER), 0)
            text, probability = next(self.answers)
            on_delta(OutputDelta(text[:3], (1,), (TokenLogprob(1, math.log(probability) / 2),)))
            on_delta(OutputDelta(text[3:], (2,), (TokenLogprob(2, math.log(probability) / 2),), finish="stop"))
        again, self.asked = bool(self.asked), []
        return again


def said(text: str, answer: str) -> Document:
    return task(text, answer + END)


def test_the_fraction_is_of_what_is_done(tokenizer):
    pytest.importorskip("llguidance", reason="needs the extra serve")
    documents = [said("a", "leave paper can"), said("b", "reset"), said("c", "sure more"), said("d", "reset")]
    parrot, done = (
        Parrot(tokenizer, [("leave can paper.", 0.9), ("reset.", 0.8), ("sure less.", 0.7), ("reset", 1)]),
        [],
    )
    answers = interpreted(parrot, documents, done.append)
    assert sum(done) == 4
    assert [round(answer.probability, 6) for answer in answers] == [0.9, 0.8, 0.7, CERTAIN]
    [row] = rows_of(documents, answers)
    assert (row.exact_match.value, row.exact_match.n) == (1 / 2, 4)
    assert row.mistakes == [Case("c", "sure more", "sure less"), Case("d", "reset", "")]  # one was cut off
    assert changes(documents, answers) == [
        (pytest.approx(0.9), True), (pytest.approx(0.8), True), (pytest.approx(0.7), False)
    ]  # fmt: skip


def test_a_sentence_beyond_the_context_comes_to_nothing(tokenizer):
    pytest.importorskip("llguidance", reason="needs the extra serve")
    parrot = Parrot(tokenizer, [("reset.", 0.9)])
    assert [each.line for each in interpreted(parrot, [said("no " * 300, "reset"), said("b", "reset")])] == [
        "",
        "reset",
    ]


def test_the_threshold_is_of_orders_that_were_not_measured():
    """Questions and refusals change nothing, and are not counted."""
    before = [(0.95, True)] * 900 + [(0.6, False)] * 100
    measured = [(0.99, True)] * 50 + [(0.95, False)] + [(0.9, True)] * 20
    found = calibrated(before, measured, 100)
    assert (found.threshold, found.carried_out.value, found.right.value) == (0.95, 0.51, 50 / 51)
    assert [(each.right.value, each.right.n) for each in found.reliability.bins] == [(0.0, 100), (1.0, 900)]
    nothing = calibrated(before[:50], measured, 100)
    assert (nothing.threshold, nothing.carried_out.value, nothing.right) == (None, 0.0, None)
    documents = [said("a", "ask bin"), said("b", "reset")]
    answers = [Interpretation("refuse kind", 0.9), Interpretation("ask bin", 0.9)]
    assert changes(documents, answers) == []


@pytest.mark.parametrize(
    ("found", "digest", "expected"),
    [
        ([0.97, 0.99], "same", 0.99),
        ([0.97, None], "same", 1.0),
        ([], "same", 1.0),
        ([0.97], "other", 1.0),
        (None, "same", 1.0),
    ],
)
def test_a_threshold_is_that_of_the_model_that_was_measured(tmp_path, found, digest, expected):
    model = tmp_path / "instruct"
    manifest = partial(ledger.Manifest, key="k", part={}, code="", inputs={}, seed=0, outputs={})
    for folder in (model, tmp_path / "evaluate"):
        folder.mkdir()
    made = manifest("instruct", parents={})
    ledger.write(model, made)
    if found is not None:
        results = {str(number): replace(calibrated([], [], 1), threshold=limit) for number, limit in enumerate(found)}
        figures = ledger.figures(Orders({}, results))
        parents = {"instruct": made.digest if digest == "same" else digest}
        ledger.write(tmp_path / "evaluate", manifest("evaluate", parents=parents, metrics=figures))
    assert threshold(model) == expected


def test_a_folder_without_a_run_has_no_threshold(tmp_path):
    assert threshold(tmp_path) == 1.0


# --- display -----------------------------------------------------------------------------------------------------

COUNTS = {("heldout", "en"): 9, ("heldout", "zh"): 8, ("novel", "en"): 5, ("novel", "zh"): 4}
WRONG = Case("Cans to four.", "route can 4", "route can 5")


def orders() -> Orders:
    """Rows of ten sentences, and a calibration that carries out half of them."""
    right = Case("Cans to four.", "route can 4", "route can 4")
    rows = [row_of((*key, 1), [right] * count + [WRONG] * (10 - count)) for key, count in COUNTS.items()]
    found = calibrated([(0.999, True)] * 990 + [(0.5, False)] * 10, [(0.999, True)] * 20, 40)
    return Orders({"said": rows}, {"said": found})


def test_orders_have_a_row_for_each_kind_of_phrasing_and_a_column_for_each_language():
    table, reliability = display(orders()).tables
    assert "from 0.9990 on, which are 50.0 % of the measured sentences" in reliability.caption
    assert [[str(cell) for cell in row[:2]] for row in (*reliability.rows, reliability.foot)] == [
        ["0.5000", "10"], ["0.9990", "990"], ["measured, without asking", "20"]
    ]  # fmt: skip
    assert table.columns == ("phrasings", ">English", ">Chinese")
    assert [[cell if isinstance(cell, str) else cell.text.split(" (")[0] for cell in row] for row in table.rows] == [
        ["known structure, other words", "90.0 %", "80.0 %"], ["another structure", "50.0 %", "40.0 %"]
    ]  # fmt: skip


def test_the_headline_is_what_was_understood_in_other_words_and_mistakes_are_displayed():
    found = display(orders())
    assert [(title, value) for title, value, _ in found.headline] == [
        ("Orders translated exactly, said", "85.0 %"),
        ("Orders carried out, said", "100.0 %"),
    ]
    assert len(found.mistakes) == 4
