"""The suite "orders": an answer is scored by its effect on policies, and decoded under the grammar of the language."""

from random import Random

import pytest

from groundup.apps.sorter.orders_suite import POLICIES, Orders, alike, display, understood
from groundup.apps.sorter.policy import COLOURS, ORDER_CLASSES, PATTERN, SortingPolicy, apply, parse
from groundup.evaluate.exact_match import Case, row_of
from groundup.generate.grammar import Grammar
from tests.evaluate.test_exact_match import Parrot, task


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


def test_the_share_is_of_what_is_done(tokenizer):
    documents = [task(text, answer) for text, answer in (("a", "leave paper can"), ("b", "reset"), ("c", "sure more"))]
    parrot = Parrot(tokenizer, ["leave can paper", "reset", "sure less"])
    pytest.importorskip("llguidance", reason="needs the extra serve")
    [row] = understood(parrot, documents)
    assert (row.exact_match.value, row.exact_match.n) == (2 / 3, 3)
    assert row.mistakes == [Case("c", "sure more", "sure less")]
    assert parrot.grammar == Grammar.regex(PATTERN)


# --- display -----------------------------------------------------------------------------------------------------

COUNTS = {("heldout", "en"): 9, ("heldout", "zh"): 8, ("novel", "en"): 5, ("novel", "zh"): 4}
WRONG = Case("Cans to four.", "route can 4", "route can 5")


def orders() -> Orders:
    right = Case("Cans to four.", "route can 4", "route can 4")
    rows = [row_of((*key, 1), [right] * count + [WRONG] * (10 - count)) for key, count in COUNTS.items()]
    return Orders({"said": rows})


def test_orders_have_a_row_for_each_kind_of_phrasing_and_a_column_for_each_language():
    (table,) = display(orders()).tables
    assert table.columns == ("phrasings", ">English", ">Chinese")
    assert [[cell if isinstance(cell, str) else cell.text.split(" (")[0] for cell in row] for row in table.rows] == [
        ["known structure, other words", "90.0 %", "80.0 %"], ["another structure", "50.0 %", "40.0 %"]
    ]  # fmt: skip


def test_the_headline_is_what_was_understood_in_other_words_and_mistakes_are_displayed():
    found = display(orders())
    assert [(title, value) for title, value, _ in found.headline] == [("Orders translated exactly, said", "85.0 %")]
    assert len(found.mistakes) == 4
