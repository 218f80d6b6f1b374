"""The engine: answers equal recomputing everything for every id, in any company, and nothing is lost on the way."""

from itertools import takewhile
from pathlib import Path

import pytest
import torch

from groundup import device
from groundup.core.errors import InputError
from groundup.device import Device
from groundup.generate import engine as engine_module
from groundup.generate import scheduler as scheduler_module
from groundup.generate.engine import Engine
from groundup.generate.request import Request
from groundup.generate.sampling import GREEDY, Sampling
from groundup.generate.scoring import ScoredText, Scorer
from groundup.kernels.kv_cache import BLOCK_SIZE
from groundup.model import cost, weights
from tests.generate.generate_helpers import Heard, Ids, ask, engine, random_prompts, recompute, small_tokenizer
from tests.random_models import CONFIG, random_model

NEVER = Ids(im_end=-1, end=-2)
BOTH = pytest.mark.parametrize("native", [False, True], ids=["plain", "native"])
SAMPLED = Sampling(temperature=1.0, top_p=0.9, seed=4)
POOL = cost.cache_bytes(CONFIG, 8 * BLOCK_SIZE, 4)  # eight pages: two contexts


def until(ids: list[int], *stops: int) -> list[int]:
    return list(takewhile(lambda id: id not in stops, ids))


# --- the right answers --------------------------------------------------------------------------------------------


@BOTH
def test_answers_equal_full_recomputation(native):
    model, prompts = random_model(), random_prompts(24)
    expected = [recompute(model, prompt, 16) for prompt in prompts]
    stops = Ids(im_end=expected[0][3], end=expected[1][7])
    assert engine(native, stops).complete(prompts, 16) == [until(ids, stops.im_end, stops.end) for ids in expected]


@BOTH
def test_log_probabilities_equal_those_the_trainer_sees(native):
    """fp32: 48 terms of size 1 summed in another order, through three layers."""
    prompts = random_prompts(6)
    for prompt, heard in zip(
        prompts, ask(engine(native, NEVER), *[Request(prompt, 8, logprobs=0) for prompt in prompts]), strict=True
    ):
        found = sum(score.logprob for score in heard.logprobs)
        assert -found == pytest.approx(
            Scorer(random_model()).negative_log_likelihoods([ScoredText(prompt + heard.ids, len(prompt))])[0], abs=1e-3
        )


@BOTH
def test_an_echo_scores_the_prompt(native):
    prompts = random_prompts(5, 60)
    for prompt, heard in zip(
        prompts,
        ask(engine(native, NEVER), *[Request(prompt, 1, logprobs=3, echo=True) for prompt in prompts]),
        strict=True,
    ):
        scores = heard.pieces[0].prompt_logprobs
        assert [score.id for score in scores] == prompt
        assert scores[0].logprob != scores[0].logprob  # nan: nothing predicts the first
        assert -sum(score.logprob for score in scores[1:]) == pytest.approx(
            Scorer(random_model()).negative_log_likelihoods([ScoredText(prompt, 1)])[0], abs=2e-3
        )
        assert all(len(score.top) == 3 and score.top[0][1] >= score.logprob for score in scores[1:])


def test_the_likeliest_come_first_and_are_those_of_the_model():
    heard = ask(engine(tokenizer=NEVER), Request([1, 2, 3], 4, logprobs=5))[0]
    for score in heard.logprobs:
        assert score.top[0] == (score.id, score.logprob)
        assert sorted(score.top, key=lambda entry: -entry[1]) == list(score.top)


# --- in any company -----------------------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_an_answer_has_the_same_bits_in_any_company(native, precision, monkeypatch):
    """Alone, among many, with another size of chunks, and out of a cache so small that answers are given up and
    computed again.

    The library's own kernels promise no such thing, so without ours only the ids are held equal, in fp32, where no two
    scores tie.
    """
    if not native and precision is torch.bfloat16:
        pytest.skip("only the kernels promise it")
    prompts, sampling = random_prompts(17), Sampling(temperature=1.0, seed=3)
    requests = [
        Request(prompt, 20, sampling if number % 2 else GREEDY, number, logprobs=2)
        for number, prompt in enumerate(prompts)
    ]
    alone = [ask(engine(native, NEVER, precision=precision), request)[0] for request in requests]
    together = ask(engine(native, NEVER, precision=precision), *requests)
    monkeypatch.setattr(scheduler_module, "PREFILL_CHUNK", 23)
    small = engine(native, NEVER, POOL, precision)
    crowded = ask(small, *requests)
    assert small.scheduler.stats.preemptions > 0
    for one, other, third in zip(alone, together, crowded, strict=True):
        assert one.ids == other.ids == third.ids
        if native:
            assert one.logprobs == other.logprobs == third.logprobs


@BOTH
def test_a_shared_beginning_is_computed_once_and_changes_nothing(native):
    beginning = random_prompts(1, 60, seed=5)[0] * 2
    beginning = beginning[: 2 * BLOCK_SIZE + 5]
    requests = [Request([*beginning, number], 8, Sampling(temperature=1.0), number) for number in range(6)]
    alone = [ask(engine(native, NEVER), request)[0].ids for request in requests]
    shared = engine(native, NEVER)
    heard = ask(shared, *requests)
    assert [each.ids for each in heard] == alone
    assert [each.pieces[0].cached_tokens for each in heard] == [0] + [2 * BLOCK_SIZE] * 5
    assert shared.scheduler.stats.prefix_hit_tokens == 5 * 2 * BLOCK_SIZE
    assert (
        shared.scheduler.stats.prefilled_tokens
        == sum(len(request.prompt) for request in requests) - shared.scheduler.stats.prefix_hit_tokens
    )


def test_several_answers_to_one_prompt_differ_and_share_it():
    shared, prompt = engine(tokenizer=NEVER), [3] * (2 * BLOCK_SIZE + 1)
    heard = ask(shared, *[Request(prompt, 12, Sampling(temperature=1.5), number) for number in range(4)])
    assert len({tuple(each.ids) for each in heard}) == 4
    assert shared.scheduler.stats.prefilled_tokens == len(prompt) + 3  # the last id is computed for each


@pytest.mark.parametrize("sampling", [GREEDY, SAMPLED])
def test_the_number_of_rows_changes_no_answer(monkeypatch, sampling):
    prompts = random_prompts(17)
    expected = engine().complete(prompts, 12, sampling)
    for rows in (1, 5):
        monkeypatch.setattr(scheduler_module, "MAX_SEQUENCES", rows)
        assert engine().complete(prompts, 12, sampling) == expected


@pytest.mark.parametrize("sampling", [GREEDY, SAMPLED])
def test_a_stream_gives_the_ids_of_complete(sampling):
    prompt = random_prompts(1)[0]
    assert (
        list(engine(tokenizer=NEVER).stream(prompt, 20, sampling))
        == engine(tokenizer=NEVER).complete([prompt], 20, sampling)[0]
    )


# --- who waits for whom -------------------------------------------------------------------------------------------


def test_a_long_prompt_does_not_stall_others(monkeypatch):
    monkeypatch.setattr(scheduler_module, "PREFILL_CHUNK", 8)
    busy, first, second = engine(tokenizer=NEVER), Heard(), Heard()
    busy.add(Request([1, 2], 30), first)
    busy.step()
    busy.add(Request([5] * 50, 4), second)
    spoken = []
    while not second.pieces:
        busy.step()
        spoken.append(len(first.ids))
    assert spoken == list(range(2, 2 + len(spoken)))  # one id each step, whatever else is read
    assert len(spoken) == -(-50 // 7)


def test_a_cancelled_answer_frees_its_blocks_at_once():
    busy, heard = engine(tokenizer=NEVER, cache_bytes=POOL), Heard()
    answer = busy.add(Request([7] * 40, 20), heard)
    waiting = busy.add(Request([8] * 40, 20), heard)
    busy.step()
    assert busy.scheduler.blocks.available < 8
    busy.cancel(answer)
    busy.cancel(waiting)
    assert busy.scheduler.blocks.available == 8
    busy.scheduler.check()
    assert not busy.step()


def test_a_stream_that_is_left_frees_its_blocks():
    busy = engine(tokenizer=NEVER)
    stream = busy.stream([1, 2, 3], 20)
    next(stream)
    stream.close()
    assert not busy.scheduler.running


def test_one_who_waits_for_a_beginning_lets_others_pass_and_is_not_forgotten(monkeypatch):
    """The first is given up while it computes what the second waits for."""
    monkeypatch.setattr(scheduler_module, "PREFILL_CHUNK", 4)
    busy, beginning = engine(tokenizer=NEVER), [4] * 40
    owner, follower, other = Heard(), Heard(), Heard()
    answer = busy.add(Request([*beginning, 1], 3), owner)
    busy.step()
    busy.add(Request([*beginning, 2], 3), follower)
    busy.add(Request([9, 9], 3), other)
    busy.step()
    busy.cancel(answer)
    while busy.step():
        busy.scheduler.check()
    assert (owner.pieces, len(follower.ids), len(other.ids)) == ([], 3, 3)


# --- where answers end --------------------------------------------------------------------------------------------


def test_an_answer_ends_where_the_context_ends():
    answers = engine(tokenizer=NEVER).complete([[5] * (CONFIG.context - 3), [5] * 10], 20)
    assert [len(answer) for answer in answers] == [3, 20]


def test_the_last_piece_says_why_the_answer_ended():
    whole = ask(engine(tokenizer=NEVER), Request([1], 12))[0]
    assert (whole.finish, len(whole.ids)) == ("length", 12)
    assert whole.text == "".join(f"{id} " for id in whole.ids)
    ended = ask(engine(tokenizer=Ids(im_end=whole.ids[5], end=-1)), Request([1], 12))[0]
    assert (ended.finish, ended.ids) == ("stop", until(whole.ids, whole.ids[5]))
    stop = f"{whole.ids[6]} {whole.ids[7]}"
    stopped = ask(engine(tokenizer=NEVER), Request([1], 12, stops=("nothing like it", stop)))[0]
    assert (stopped.finish, stopped.text) == ("stop", whole.text[: whole.text.index(stop)])


def test_ids_that_the_tokenizer_lacks_are_never_said():
    answers = engine(tokenizer=Ids(size=30, im_end=-1, end=-1)).complete(
        [[id % 30 for id in ids] for ids in random_prompts(8)], 20, Sampling(temperature=5.0)
    )
    assert max(id for answer in answers for id in answer) < 30


def test_progress_counts_every_prompt():
    done: list[int] = []
    engine().complete(random_prompts(9), 4, advance=done.append)
    assert sum(done) == 9


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (Request([1] * CONFIG.context, 5), "64 tokens leaves no room for an answer in a context of 64"),
        (Request([], 5), "no tokens"),
        (Request([1], 0), "at least 1"),
        (Request([1, 300], 1), "no token with the id 300"),
        (Request([-1], 1), "no token with the id -1"),
        (Request([1], 1, Sampling(bias={300: 1.0})), "no token with the id 300"),
        (Request([1], 1, logprobs=21), "the most is 20"),
    ],
)
def test_requests_that_cannot_be_answered_are_refused(request_, words):
    with pytest.raises(InputError, match=words):
        engine().add(request_, Heard())


def test_a_tokenizer_of_another_model_is_refused():
    with pytest.raises(InputError, match="301 ids, the model 300"):
        engine(tokenizer=Ids(size=CONFIG.vocab + 1))


def test_a_cache_that_holds_no_context_is_refused():
    with pytest.raises(InputError, match="does not hold one context of 64 tokens"):
        engine(cache_bytes=cost.cache_bytes(CONFIG, CONFIG.context - 1, 4))


def test_the_cache_keeps_to_its_bytes():
    small = engine(cache_bytes=POOL)
    assert small.scheduler.blocks.count == 8
    assert all(
        len(answer) == 8
        for answer in small.complete([[3, 4]] * 40, 8, Sampling(temperature=2.0, bias={26: -100, 40: -100}))
    )


# --- embeddings, and the files of a model --------------------------------------------------------------------------


@BOTH
def test_an_embedding_is_the_mean_of_the_last_states(native):
    ids = random_prompts(1)[0]
    with torch.no_grad():
        mean = random_model()(torch.tensor([ids]), torch.arange(len(ids))[None])[0].mean(0)
    torch.testing.assert_close(torch.tensor(engine(native).embed(ids)), mean / mean.norm(), rtol=0, atol=2e-5)
    for wrong in ([], [1] * (CONFIG.context + 1)):
        with pytest.raises(InputError, match="cannot be embedded"):
            engine(native).embed(wrong)


@pytest.mark.parametrize("tied", [True, False])
def test_matrices_kept_in_bf16_give_the_bits_of_the_model_that_trained(tmp_path: Path, tied: bool, monkeypatch):
    monkeypatch.setattr(engine_module, "cpu_backend", lambda config: None)
    model = random_model(precision=torch.bfloat16, tied=tied)
    weights.save(model, tmp_path, None)
    small_tokenizer(tmp_path)
    loaded = Engine.load(tmp_path, Device("cpu"), "bf16")
    ids = torch.tensor([random_prompts(1)[0]])
    positions = torch.arange(ids.shape[1])[None]
    with torch.no_grad():
        expected = model.logits(model(ids, positions))
        assert torch.equal(loaded.model.logits(loaded.model(ids, positions)), expected)
    assert loaded.model.lm_head.weight.dtype == torch.bfloat16


@pytest.mark.parametrize("tied", [True, False])
def test_a_loaded_engine_answers_as_the_model_that_trained(tmp_path: Path, tied: bool):
    model, prompts = random_model(tied=tied), [[id % 280 for id in ids] for ids in random_prompts(6)]
    weights.save(model, tmp_path, None)
    small_tokenizer(tmp_path)
    loaded = Engine.load(tmp_path, Device("cpu"), "fp32")
    expected = Engine(model, loaded.tokenizer).complete(prompts, 10)
    assert loaded.complete(prompts, 10) == expected


def test_a_context_that_the_cache_does_not_hold_is_cut_with_a_warning(tmp_path, capsys):
    tokenizer = small_tokenizer(tmp_path)
    weights.save(random_model(depth=1, width=16, ffn=16, vocab=tokenizer.size, context=131_072), tmp_path, None)
    loaded = Engine.load(tmp_path, device.pick("cpu"), cache_bytes=1 << 20)
    assert 0 < loaded.config.context < 131_072
    assert "longer prompts are refused" in "".join(capsys.readouterr())
    assert len(loaded.complete([[5] * (loaded.config.context - 4)], 100)[0]) <= 4
