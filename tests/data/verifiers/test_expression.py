"""Expressions of the game countdown: exact values, each number once, nothing but arithmetic."""

import pytest

from groundup.data.verifiers.expression import countdown, evaluate


@pytest.mark.parametrize(
    "answer",
    ["(7 - 3) * 25 / 5", "25*(7-3)/5", " 25 × (7 − 3) ÷ 5 ", "(7-3)*25/5 = 20", "（7-3）*(25/5)", "25/(5/(7-3))"],
)
def test_a_right_expression_passes(answer: str) -> None:
    assert countdown(answer, [3, 5, 7, 25], 20)


@pytest.mark.parametrize(
    "answer",
    [
        "", "20", "(7-3)*5", "(7-3)*25/5 = 21", "(7-3)*25/5 = 20 = 20", "3*5+7-25/5/5", "25-5", "25-7+3-5+5-1",
        "(7-3)*25//5", "7**3", "-(3-7)*25/5", "f(7)", "(7-3)*25.0/5", "25/(5-5)", "True*20", "__import__('os')",
        "(" * 150 + "20" + ")" * 40, "9" * 300, "lambda: 20", "20 if 1 else 0", "7-3*25/5\n20", "\x00",
    ],
)  # fmt: skip
def test_anything_else_fails(answer: str) -> None:
    assert not countdown(answer, [3, 5, 7, 25], 20)


def test_divisions_are_exact() -> None:
    assert countdown("8/(3-8/3)", [8, 3, 8, 3], 24)


def test_an_expression_has_a_value_and_numbers() -> None:
    assert evaluate("1 + 2 / 4") == (1.5, [1, 2, 4])
