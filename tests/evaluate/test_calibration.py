"""Calibration: probabilities against what was right, and from which on answers are trusted."""

from random import Random

import pytest

from groundup.evaluate.calibration import reliability, threshold
from groundup.evaluate.figure import proportion


def answers(count: int, seed: int = 0) -> list[tuple[float, bool]]:
    """Answers that are right as often as their probability says."""
    rng = Random(seed)
    return [(probability, rng.random() < probability) for probability in (rng.uniform(0.1, 1) for _ in range(count))]


def test_answers_that_are_right_as_often_as_their_probability_says_have_no_calibration_error():
    judged = answers(20_000)
    assert reliability(judged).error < 0.02
    certain = reliability([(probability, True) for probability, _ in judged])
    assert certain.error == pytest.approx(1 - sum(probability for probability, _ in judged) / 20_000)


def test_each_bin_has_the_answers_from_its_edge_to_the_next():
    found = reliability([(0.0, False), (0.5, True), (0.75, False), (0.9, True), (1.0, True)], (0.0, 0.5, 0.9))
    assert [(each.probability, each.right.value, each.right.n) for each in found.bins] == [
        (0.0, 0.0, 1), (0.625, 0.5, 2), (0.95, 1.0, 2)
    ]  # fmt: skip
    assert found.cases == 5 and reliability([]).error == 0


@pytest.mark.parametrize("seed", range(5))
def test_what_is_above_the_threshold_is_right_often_enough_and_no_lower_one_would_do(seed):
    judged = [(probability**0.05, right) for probability, right in answers(5000, seed)]
    limit = threshold(judged, 0.6)
    assert limit is not None

    def low(least: float) -> float:
        above = [right for probability, right in judged if probability >= least]
        return proportion(sum(above), len(above)).low

    assert low(limit) >= 0.6
    assert all(low(least) < 0.6 for least, _ in judged if least < limit)


def test_there_is_no_threshold_where_too_few_answers_could_show_it():
    assert threshold([(0.99, True)] * 760, 0.995) is None
    assert threshold([(0.99, True)] * 770, 0.995) == 0.99
    assert threshold([], 0.5) is None


def test_equal_probabilities_go_together():
    """A threshold among them would let the wrong ones pass as well."""
    assert threshold([(0.9, True)] * 900 + [(0.9, False)] * 100, 0.95) is None
