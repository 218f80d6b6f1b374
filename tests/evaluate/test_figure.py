"""Intervals: equal to published ones, and right as often as they say."""

import numpy as np
import pytest

from groundup.evaluate.figure import Figure, mean, proportion, ratio


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    # Newcombe (1998), "Two-sided confidence intervals for the single proportion", table I, method 3.
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_intervals_equal_published_ones(successes, n, low, high):
    figure = proportion(successes, n)
    assert (round(figure.low, 4), round(figure.high, 4), figure.n) == (low, high, n)


@pytest.mark.parametrize("n", [1, 7, 50, 1000])
def test_a_share_lies_in_its_interval_and_that_in_the_unit(n):
    for successes in range(n + 1):
        figure = proportion(successes, n)
        assert 0 <= figure.low <= figure.value <= figure.high <= 1


def covered(figures: list[Figure], truth: float) -> float:
    return sum(figure.low <= truth <= figure.high for figure in figures) / len(figures)


def test_the_interval_of_a_mean_covers_it():
    random, shares = np.random.default_rng(1), (0.5, 0.8, 0.95, 0.99)
    figures = [mean([proportion(int(random.binomial(30, share)), 30) for share in shares]) for _ in range(1000)]
    # 95 % by design; Wilson's interval is a little wide near 1, and 1,000 draws have a deviation of 0.7 %.
    assert 0.93 < covered(figures, sum(shares) / 4) < 0.99


def test_a_mean_of_certain_looking_shares_is_not_certain():
    figure = mean([proportion(20, 20)] * 4)
    assert figure.value == figure.high == 1
    assert 0.9 < figure.low < 0.95
    assert figure.n == 80


def test_the_interval_of_a_ratio_covers_it():
    random = np.random.default_rng(2)
    figures = []
    for _ in range(1000):
        sizes = random.lognormal(5, 0.7, 60)
        figures.append(ratio((sizes * (2 + 0.3 * random.standard_normal(60))).tolist(), sizes.tolist()))
    # 95 % by design; with 60 uneven cases a little less.
    assert 0.91 < covered(figures, 2.0) < 0.97


def test_a_single_case_has_no_interval():
    assert ratio([10.0], [5.0]) == Figure(2.0, None, None, 1)
