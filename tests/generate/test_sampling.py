"""Sampling: the right ids are possible, each with its probability, and draws repeat."""

from random import Random

import pytest
import torch
from torch import Tensor

from groundup.errors import InputError
from groundup.generate.sampling import Sampling

DRAWS = 4000


def scores(rows: int = 1, vocab: int = 40) -> Tensor:
    return 2 * torch.randn(rows, vocab, generator=torch.Generator().manual_seed(5))


def draw(sampling: Sampling, row: Tensor) -> Tensor:
    """How often each id is drawn, as a share, [V]."""
    ids = sampling.choose(row.expand(DRAWS, -1), [sampling.source(number) for number in range(DRAWS)])
    return torch.bincount(torch.tensor(ids), minlength=row.shape[1]) / DRAWS


def test_temperature_zero_takes_the_best():
    table = scores(rows=6)
    assert Sampling().choose(table, [Random(0)] * 6) == table.argmax(-1).tolist()


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_ids_come_with_their_probability(temperature):
    shares = (scores()[0] / temperature).softmax(-1)
    found = draw(Sampling(temperature=temperature), scores())
    # Four standard deviations: one of 40 ids is beyond by chance in 1 of 400 seeds, and the seed is fixed.
    assert ((found - shares).abs() <= 4 * (shares * (1 - shares) / DRAWS).sqrt() + 1e-3).all()


def test_top_k_keeps_the_k_best():
    found = draw(Sampling(temperature=3.0, top_k=5), scores())
    assert set(found.nonzero()[:, 0].tolist()) == set(scores()[0].topk(5).indices.tolist())


def test_top_p_keeps_the_fewest_that_reach_it():
    shares = torch.tensor([[0.05, 0.4, 0.2, 0.3, 0.05]])
    found = draw(Sampling(temperature=1.0, top_p=0.65), shares.log())
    torch.testing.assert_close(found, torch.tensor([0.0, 4 / 7, 0.0, 3 / 7, 0.0]), rtol=0, atol=0.04)


@pytest.mark.judge
@pytest.mark.parametrize(("top_k", "top_p"), [(0, 0.3), (0, 0.9), (7, 1.0), (7, 0.6), (30, 0.95)])
def test_possible_ids_are_those_of_transformers(top_k, top_p):
    logits_process = pytest.importorskip("transformers.generation.logits_process")
    wanted = scores() / 1.7
    if top_k:
        wanted = logits_process.TopKLogitsWarper(top_k)(None, wanted)
    wanted = logits_process.TopPLogitsWarper(top_p)(None, wanted)[0].softmax(-1)
    found = draw(Sampling(temperature=1.7, top_k=top_k, top_p=top_p), scores())
    assert found[wanted == 0].sum() == 0
    assert ((found - wanted).abs() <= 4 * (wanted * (1 - wanted) / DRAWS).sqrt() + 1e-3).all()


def test_a_row_is_drawn_with_its_own_random_numbers():
    sampling, table = Sampling(temperature=1.5), scores(rows=8)
    together = sampling.choose(table, [sampling.source(number) for number in range(8)])
    alone = [sampling.choose(table[number : number + 1], [sampling.source(number)])[0] for number in range(8)]
    assert together == alone


def test_another_seed_draws_otherwise():
    table = scores(rows=32)
    first, second = ([Sampling(1.0, seed=seed).source(number) for number in range(32)] for seed in (1, 2))
    assert Sampling(1.0).choose(table, first) != Sampling(1.0).choose(table, second)


@pytest.mark.parametrize("wrong", [{"temperature": -0.1}, {"top_k": -1}, {"top_p": 0.0}, {"top_p": 1.01}, {"temperature": float("nan")}])
def test_values_out_of_range_are_refused_by_name(wrong):
    with pytest.raises(InputError, match=next(iter(wrong))):
        Sampling(**wrong)
