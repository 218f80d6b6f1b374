"""Sampling: the right ids are possible, each with its probability, and draws repeat."""

from random import Random

import pytest
import torch
from torch import Tensor

from groundup.core.errors import InputError
from groundup.generate import sampling as sampling_module
from groundup.generate.sampling import Sampling

DRAWS = 4000


def scores(vocab: int = 40) -> Tensor:
    return 2 * torch.randn(vocab, generator=torch.Generator().manual_seed(5))


def draw(sampling: Sampling, row: Tensor) -> Tensor:
    """How often each id is drawn, as a share, [V]."""
    draws = sampling.random(0)
    return torch.bincount(torch.tensor([sampling.sample(row, draws) for _ in range(DRAWS)]), minlength=len(row)) / DRAWS


def within_chance(found: Tensor, shares: Tensor) -> bool:
    """Four standard deviations: one of 40 ids is beyond by chance in 1 of 400 seeds, and the seed is fixed."""
    return bool(((found - shares).abs() <= 4 * (shares * (1 - shares) / DRAWS).sqrt() + 1e-3).all())


def test_temperature_zero_takes_the_best_and_the_first_of_equals():
    assert Sampling().sample(scores(), Random(0)) == int(scores().argmax())
    assert Sampling().sample(torch.tensor([1.0, 3.0, 3.0]), Random(0)) == 1


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_ids_come_with_their_probability(temperature):
    assert within_chance(draw(Sampling(temperature=temperature), scores()), (scores() / temperature).softmax(-1))


def test_top_k_keeps_the_k_best():
    found = draw(Sampling(temperature=3.0, top_k=5), scores())
    assert set(found.nonzero()[:, 0].tolist()) == set(scores().topk(5).indices.tolist())


@pytest.mark.parametrize("looked_at", [1024, 3, 1])
def test_top_p_keeps_the_fewest_that_reach_it_however_many_are_looked_at(monkeypatch, looked_at):
    monkeypatch.setattr(sampling_module, "NUCLEUS", looked_at)
    shares = torch.tensor([0.05, 0.4, 0.2, 0.3, 0.05])
    found = draw(Sampling(temperature=1.0, top_p=0.65), shares.log())
    torch.testing.assert_close(found, torch.tensor([0.0, 4 / 7, 0.0, 3 / 7, 0.0]), rtol=0, atol=0.04)


@pytest.mark.judge
@pytest.mark.parametrize(
    ("top_k", "top_p", "min_p"),
    [(0, 0.3, 0), (0, 0.9, 0), (7, 1.0, 0), (7, 0.6, 0), (30, 0.95, 0), (0, 1.0, 0.1), (0, 0.9, 0.05), (7, 1.0, 0.2)],
)
def test_possible_ids_are_those_of_transformers(top_k, top_p, min_p):
    process = pytest.importorskip("transformers.generation.logits_process")
    wanted = scores()[None] / 1.7
    if top_k:
        wanted = process.TopKLogitsWarper(top_k)(None, wanted)
    wanted = process.TopPLogitsWarper(top_p)(None, wanted)
    if min_p:
        wanted = process.MinPLogitsWarper(min_p)(None, wanted)
    found = draw(Sampling(temperature=1.7, top_k=top_k, top_p=top_p, min_p=min_p), scores())
    assert found[wanted[0].softmax(-1) == 0].sum() == 0
    assert within_chance(found, wanted[0].softmax(-1))


@pytest.mark.judge
def test_the_repetition_penalty_is_that_of_transformers():
    process = pytest.importorskip("transformers.generation.logits_process")
    prompt, answer, found = [3, 5, 5], [7, 39], scores()
    expected = process.RepetitionPenaltyLogitsProcessor(1.3)(torch.tensor([prompt + answer]), scores()[None])[0]
    Sampling(repetition_penalty=1.3).adjust(found, prompt, answer)
    torch.testing.assert_close(found, expected)


def test_presence_and_frequency_are_taken_from_the_ids_of_the_answer():
    """As the OpenAI API says: score - count * frequency - (count > 0) * presence."""
    found, expected = scores(), scores()
    expected[7] -= 0.5 + 2 * 0.25
    expected[9] -= 0.5 + 0.25
    Sampling(presence_penalty=0.5, frequency_penalty=0.25).adjust(found, [1, 2], [7, 9, 7])
    torch.testing.assert_close(found, expected)


def test_a_bias_is_added():
    found, expected = scores(), scores()
    expected[3] += 100
    expected[int(scores().argmax())] -= 100
    Sampling(bias={3: 100.0, int(scores().argmax()): -100.0}).adjust(found, [], [])
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("sampling", [Sampling(), Sampling(temperature=0.7, top_k=3, min_p=0.1)])
def test_what_shifts_no_score_says_so(sampling):
    found = scores()
    assert not sampling.adjusts_logits
    sampling.adjust(found, [1], [2])
    assert torch.equal(found, scores())


def test_the_same_seed_and_number_draw_alike_another_otherwise():
    def drawn(seed: int, number: int) -> list[int]:
        sampling = Sampling(1.5, seed=seed)
        draws = sampling.random(number)
        return [sampling.sample(scores(), draws) for _ in range(40)]

    assert drawn(1, 0) == drawn(1, 0)
    assert len({tuple(drawn(seed, number)) for seed in (1, 2) for number in (0, 1)}) == 4


@pytest.mark.parametrize(
    "wrong",
    [
        {"temperature": -0.1}, {"temperature": float("nan")}, {"temperature": float("inf")}, {"top_k": -1},
        {"top_p": 0.0}, {"top_p": 1.01},
        {"min_p": 1.0}, {"min_p": -0.1}, {"repetition_penalty": 0.0}, {"presence_penalty": float("nan")},
        {"frequency_penalty": 101.0},
    ],
)  # fmt: skip
def test_values_out_of_range_are_refused_by_name(wrong):
    with pytest.raises(InputError, match=next(iter(wrong))):
        Sampling(**wrong)


# --- numbers that fp32 cannot hold ----------------------------------------------------------------------------------

TINY = [
    5e-324,
    1e-300,
    1e-46,
    1e-45,
    1e-40,
    1e-38,
    1e-30,
    1e-7,
]  # smallest and subnormal numbers of fp64 and fp32 among them


@pytest.mark.parametrize(
    "more",
    [{}, {"top_p": 0.5}, {"top_p": 1e-300}, {"top_k": 3}, {"top_k": 2**70}, {"min_p": 5e-324}, {"min_p": 1 - 1e-16}],
)
@pytest.mark.parametrize("temperature", TINY)
def test_a_temperature_that_is_almost_none_is_greedy(temperature, more):
    for row in (scores(), -scores().abs(), scores() * 1e-3, torch.zeros(40).index_fill(0, torch.tensor([7]), 1e-3)):
        assert Sampling(temperature=temperature, **more).sample(row, Random(0)) == int(row.argmax())


def test_an_endless_temperature_draws_evenly_from_what_is_allowed():
    row = scores().masked_fill(torch.arange(40) % 2 == 0, float("-inf"))
    found = draw(Sampling(temperature=1e300), row)
    assert within_chance(found, (torch.arange(40) % 2) / 20)


@pytest.mark.parametrize("top_p", TINY)
def test_the_best_id_is_kept_however_small_top_p_is(top_p):
    assert Sampling(temperature=2.0, top_p=top_p).sample(scores(), Random(0)) == int(scores().argmax())
    assert Sampling(temperature=2.0, top_p=top_p, top_k=4).sample(scores(), Random(0)) == int(scores().argmax())


@pytest.mark.parametrize("penalty", [*TINY[:5], 1e300, 1.7e308])
@pytest.mark.parametrize("temperature", [0.0, 1e-40, 1.0])
def test_an_endless_repetition_penalty_keeps_the_order(penalty, temperature):
    row, seen = scores(), scores().topk(20).indices.tolist()[5:]  # of both signs
    Sampling(repetition_penalty=penalty).adjust(row, seen, [])
    assert row.isfinite().all()
    kept = [id for id in seen if (scores()[id] > 0) == (penalty < 1)]
    assert sorted(kept, key=lambda id: row[id]) == sorted(kept, key=lambda id: scores()[id])
    if penalty < 1:
        assert Sampling(temperature=temperature).sample(row, Random(0)) == max(seen, key=lambda id: scores()[id])


def test_whatever_the_numbers_an_id_that_may_come_comes():
    """2,000 draws with each number at its smallest, largest or in between."""
    random, extremes = Random(3), [*TINY, 0.0, 0.5, 1.0, 1 - 1e-16, 2.0, 1e38, 1e300]
    for number in range(2000):
        row = scores() * random.choice([1.0, 1e-30, 1e30])
        sampling = Sampling(
            temperature=random.choice(extremes), top_k=random.choice([0, 1, 2**31, 2**63, 2**70]),
            top_p=random.choice([value for value in extremes if 0 < value <= 1]),
            min_p=random.choice([v for v in extremes if v < 1]),
            repetition_penalty=random.choice([value for value in extremes if value]),
            presence_penalty=random.choice([-100, -5e-324, 0, 100]),
            frequency_penalty=random.choice([-100, 0, 1e-300, 100]), seed=random.choice([0, -(2**63), 2**63, 2**200]),
            bias=dict.fromkeys(random.sample(range(40), random.choice([0, 1, 40])), random.choice([-100.0, 100.0,
            5e-324])),
        )  # fmt: skip
        sampling.adjust(row, [1, 2, 3], [4, 4, 5])
        allowed = torch.rand(40, generator=torch.Generator().manual_seed(number)) < 0.5
        allowed[number % 40] = True
        assert allowed[sampling.sample(row.masked_fill(~allowed, float("-inf")), sampling.random(0))]
