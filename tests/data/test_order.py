"""The order in closed form, against what stepping through it gives."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from groundup.data.order import assign, deviation, mixing_tree, shuffled, stream_key

SHARES = [
    [1.0],
    [0.5, 0.5],
    [0.9, 0.1],
    [0.7, 0.2, 0.1],
    [0.97, 0.01, 0.01, 0.01],
    [1.0] * 10,
    [9.0] + [0.1] * 10,
    [0.34, 0.33, 0.32, 0.01],
]
ROWS = 3000


@pytest.mark.parametrize("shares", SHARES)
def test_after_any_number_of_rows_a_source_is_off_its_share_by_the_stated_bound(shares: list[float]) -> None:
    tree = mixing_tree(shares)
    sources, _ = assign(np.arange(ROWS), tree)
    for source, share in enumerate(shares):
        counts = np.cumsum(sources == source)
        ideal = np.arange(1, ROWS + 1) * share / sum(shares)
        assert np.abs(counts - ideal).max() <= deviation(tree, source) + 1e-9


@given(st.lists(st.floats(1e-3, 1e3), min_size=2, max_size=40))
@settings(deadline=None, derandomize=True, max_examples=200)
def test_the_bound_is_below_two_rows_for_any_mix(shares: list[float]) -> None:
    tree = mixing_tree(shares)
    assert max(deviation(tree, source) for source in range(len(shares))) < 1.7


def test_two_sources_are_never_off_by_more_than_half_a_row() -> None:
    assert deviation(mixing_tree([0.3, 0.7]), 0) == 0.5


@pytest.mark.parametrize("shares", SHARES)
def test_each_source_gives_its_rows_one_after_the_other(shares: list[float]) -> None:
    sources, indices = assign(np.arange(ROWS), mixing_tree(shares))
    for source in range(len(shares)):
        assert indices[sources == source].tolist() == list(range((sources == source).sum()))


def test_a_row_is_the_same_asked_alone_or_among_others() -> None:
    tree = mixing_tree([0.6, 0.3, 0.1])
    together = assign(np.arange(10**9, 10**9 + 50), tree)
    alone = [assign(np.array([row]), tree) for row in range(10**9, 10**9 + 50)]
    assert [(int(source[0]), int(index[0])) for source, index in alone] == list(
        zip(*(part.tolist() for part in together), strict=True)
    )


@pytest.mark.parametrize("rows", [*range(1, 40), 97, 1000, 4097])
def test_an_epoch_visits_every_row_once(rows: int) -> None:
    for epoch in range(3):
        order = shuffled(np.arange(epoch * rows, (epoch + 1) * rows), rows, stream_key(5, "notes"))
        assert sorted(order.tolist()) == list(range(rows))


def test_epochs_seeds_and_sources_have_orders_of_their_own() -> None:
    orders = {
        tuple(shuffled(np.arange(epoch * 100, epoch * 100 + 100), 100, stream_key(seed, name)).tolist())
        for epoch in range(3)
        for seed in (0, 1)
        for name in ("a", "b")
    }
    assert len(orders) == 12


def test_the_order_looks_random() -> None:
    """Every row lands in each tenth of the epoch about equally often: chi-squared with 81 degrees of freedom, over 400
    orders.
    """
    counts = np.zeros((10, 10))
    for key in range(400):
        order = shuffled(np.arange(100), 100, stream_key(key, "notes"))
        np.add.at(counts, (np.arange(100) // 10, order // 10), 1)
    statistic = ((counts - 400) ** 2 / 400).sum()
    assert statistic < 135  # odds of more by chance: about 1 in 5,000
