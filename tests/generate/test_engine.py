"""The engine: cached, batched generation equals recomputing everything for every token."""

from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

import pytest
import torch

from groundup.codecs.text import Tokenizer
from groundup.device import Device
from groundup.errors import InputError
from groundup.generate import engine as engine_module
from groundup.generate.cache import DenseCache
from groundup.generate.engine import Engine
from groundup.generate.sampling import Sampling
from groundup.model import weights
from groundup.model.trunk import Trunk
from tests.random_models import SHAPE, random_trunk


@dataclass
class Ids:
    """All that the engine asks of a tokenizer; the stops are ids that the random model likes to say."""

    size: int = SHAPE.vocab
    im_end: int = 26
    end: int = 40


def random_prompts(count: int, longest: int = 40) -> list[list[int]]:
    generator = torch.Generator().manual_seed(11)
    lengths = torch.randint(1, longest, (count,), generator=generator).tolist()
    return [torch.randint(0, SHAPE.vocab, (length,), generator=generator).tolist() for length in lengths]


@torch.no_grad()
def recompute(trunk: Trunk, prompt: list[int], limit: int) -> list[int]:
    """Greedy continuation without a cache: one forward over the whole text for every id."""
    ids = list(prompt)
    while len(ids) < min(len(prompt) + limit, trunk.shape.context):
        states = trunk(torch.tensor([ids]), torch.arange(len(ids))[None])
        ids.append(int(trunk.logits(states[0, -1]).argmax()))
    return ids[len(prompt) :]


def until(ids: list[int], *stops: int) -> list[int]:
    return list(takewhile(lambda id: id not in stops, ids))


def test_answers_equal_full_recomputation():
    trunk, prompts = random_trunk(), random_prompts(24)
    expected = [recompute(trunk, prompt, 16) for prompt in prompts]
    stops = Ids(im_end=expected[0][3], end=expected[1][7])
    assert Engine(trunk, stops).complete(prompts, 16) == [until(ids, stops.im_end, stops.end) for ids in expected]


def test_scores_equal_full_recomputation(monkeypatch):
    trunk, prompts = random_trunk(), random_prompts(6)
    seen: list[torch.Tensor] = []
    choose = Sampling.choose
    monkeypatch.setattr(Sampling, "choose", lambda self, scores, sources: seen.append(scores) or choose(self, scores, sources))
    Engine(trunk, Ids(im_end=-1, end=-1)).complete(prompts, 1)
    longest_first = sorted(prompts, key=lambda prompt: -len(prompt))
    for prompt, found in zip(longest_first, seen[0], strict=True):
        with torch.no_grad():
            expected = trunk.logits(trunk(torch.tensor([prompt]), torch.arange(len(prompt))[None])[0, -1])
        # fp32: 48 terms of size 1 summed in another order, through three layers.
        torch.testing.assert_close(found, expected, rtol=0, atol=2e-5)


@pytest.mark.parametrize("sampling", [Sampling(), Sampling(temperature=1.0, top_p=0.9, seed=4)])
@pytest.mark.parametrize(("limit", "value"), [("ROWS", 1), ("ROWS", 5), ("MEMORY", 1), ("MEMORY", 300_000)])
def test_the_size_of_batches_changes_no_answer(monkeypatch, sampling, limit, value):
    engine, prompts = Engine(random_trunk(), Ids()), random_prompts(17)
    expected = engine.complete(prompts, 12, sampling)
    monkeypatch.setattr(engine_module, limit, value)
    assert engine.complete(prompts, 12, sampling) == expected


def test_memory_bounds_the_rows_of_a_batch(monkeypatch):
    made: list[tuple[int, int]] = []

    class Watched(DenseCache):
        def __init__(self, shape, rows, length, device, dtype):
            made.append((rows, length))
            super().__init__(shape, rows, length, device, dtype)

    monkeypatch.setattr(engine_module, "DenseCache", Watched)
    monkeypatch.setattr(engine_module, "MEMORY", 2_000_000)
    Engine(random_trunk(), Ids()).complete(random_prompts(40), 8)
    assert sum(rows for rows, _ in made) == 40
    assert len(made) > 1
    assert all(SHAPE.cache_bytes(rows * length, 4) <= 2_000_000 for rows, length in made)


@pytest.mark.parametrize("sampling", [Sampling(), Sampling(temperature=1.3, seed=9)])
def test_a_stream_gives_the_ids_of_complete(sampling):
    engine, prompt = Engine(random_trunk(), Ids(im_end=-1, end=-1)), random_prompts(1)[0]
    assert list(engine.stream(prompt, 20, sampling)) == engine.complete([prompt], 20, sampling)[0]


def test_an_answer_ends_where_the_context_ends():
    engine = Engine(random_trunk(), Ids(im_end=-1, end=-1))
    answers = engine.complete([[5] * (SHAPE.context - 3), [5] * 10], 20)
    assert [len(answer) for answer in answers] == [3, 20]


def test_ids_that_the_tokenizer_lacks_are_never_said():
    engine = Engine(random_trunk(), Ids(size=30, im_end=-1, end=-1))
    answers = engine.complete(random_prompts(8), 20, Sampling(temperature=5.0))
    assert max(id for answer in answers for id in answer) < 30


def test_progress_counts_every_prompt():
    done: list[int] = []
    Engine(random_trunk(), Ids()).complete(random_prompts(9), 4, advance=done.append)
    assert sum(done) == 9


@pytest.mark.parametrize(
    ("prompt", "limit", "words"),
    [
        ([1] * SHAPE.context, 5, "64 tokens leaves no room for an answer in a context of 64"),
        ([], 5, "no tokens"),
        ([1], 0, "at least 1"),
    ],
)
def test_prompts_that_cannot_be_answered_are_refused(prompt, limit, words):
    engine = Engine(random_trunk(), Ids())
    with pytest.raises(InputError, match=words):
        engine.complete([[1], prompt], limit)
    with pytest.raises(InputError, match=words):
        engine.stream(prompt, limit)


def test_a_tokenizer_of_another_model_is_refused():
    with pytest.raises(InputError, match="301 ids, the model 300"):
        Engine(random_trunk(), Ids(size=SHAPE.vocab + 1))


@pytest.mark.parametrize("tied", [True, False])
def test_matrices_kept_in_bf16_give_the_bits_of_the_trunk_that_trained(tmp_path: Path, tied: bool):
    trunk = random_trunk(precision=torch.bfloat16, tied=tied)
    weights.save(trunk, tmp_path, None)
    Tokenizer.learn(["one two three four five six seven eight nine ten " * 20], 290).save(tmp_path)
    engine = Engine.load(tmp_path, Device("cpu"), "bf16")
    ids = torch.tensor([random_prompts(1)[0]])
    positions = torch.arange(ids.shape[1])[None]
    with torch.no_grad():
        expected = trunk.logits(trunk(ids, positions))
        assert torch.equal(engine.trunk.logits(engine.trunk(ids, positions)), expected)
    assert engine.trunk.lm_head.weight.dtype == torch.bfloat16
