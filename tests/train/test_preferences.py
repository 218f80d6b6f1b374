"""Preference learning: losses against their formulas, packed pairs against pairs alone, trainings of a tiny model."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from groundup.codecs import chat
from groundup.config.preference import PreferencePart
from groundup.data.batches import Batch, Batches
from groundup.data.document import REJECTED, SCHEMA, Document
from groundup.data.shards import Shards, write_shards
from groundup.train.loop import TrainingConfig
from groundup.train.loss_module import tensors
from groundup.train.preference_loss import PreferenceLoss, reference_of
from tests.random_models import random_model
from tests.train.train_helpers import (
    CONFIG,
    Record,
    bytes_only,
    logged,
    make_job,
    start,
    together,
    train,
    weights,
)

CONTEXT = 192  # tokens: two pairs fit a row
WORDS = ("cat", "dog", "bird", "fish")
Message = dict[str, Any]


def pair(number: int) -> Document:
    """Say a word: chosen is the word alone, rejected the word twice."""
    word = WORDS[number % 4]
    asked = [{"role": "user", "content": f"say {word}{number // 4}"}]
    good, bad = ({"role": "assistant", "content": text} for text in (word, f"{word} {word}"))
    return Document("pairs", str(number), "CC0-1.0", messages=[*asked, good | {REJECTED: bad}], heldout=number % 5 == 0)


@pytest.fixture(scope="module")
def pairs(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shards of pairs, and the weights of a model that answers."""
    folder = tmp_path_factory.mktemp("pairs")
    rows = [document.row() for document in map(pair, range(60))]
    pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), folder / "pairs.parquet")
    write_shards(folder / "pairs.parquet", bytes_only(), CONTEXT, folder / "pairs", lambda done: None)
    train(make_job(data, folder / "start", source="talks", steps=20, validate_steps=0))
    return folder


def prefer(pairs: Path, folder: Path, part: PreferencePart | None = None, **changes: Any) -> TrainingConfig:
    parts = {name: Shards.open(pairs / "pairs" / name) for name in ("train", "heldout")}
    batches, held = (Batches({"pairs": each}, {"pairs": 1.0}, 4, 3, True, None, True) for each in parts.values())
    given = {"context": CONTEXT, "muon_lr": 0.003, "adamw_lr": 0.0005, "steps": 12, "checkpoint_steps": 3} | changes
    job = make_job(pairs, folder, source="pairs", **given)
    return replace(
        job, batches=batches, heldout={"pairs": [held[0]]}, start=pairs / "start", preference=part or PreferencePart()
    )


# --- the losses --------------------------------------------------------------------------------------------------


def log_probability(model: torch.nn.Module, prompt: list[Message], answer: Message) -> tuple[float, int]:
    """That of an answer after its prompt, computed from all logits of one conversation alone; and its tokens."""
    ids, mask = chat.encode(bytes_only(), [*prompt, answer])
    states = model(torch.tensor([ids]), torch.arange(len(ids))[None])
    logs = model.logits(states)[0].float().log_softmax(-1)
    found = [logs[place - 1, ids[place]].item() for place in range(1, len(ids)) if mask[place]]
    return sum(found), len(found)


def expected(
    part: PreferencePart, policy: torch.nn.Module, reference: torch.nn.Module, documents: list[Document]
) -> float:
    total = 0.0
    for document in documents:
        *prompt, last = document.chosen
        good, good_tokens = log_probability(policy, prompt, last)
        bad, bad_tokens = log_probability(policy, prompt, document.rejected[-1])  # type: ignore[index]
        if part.loss == "simpo":
            lead = 2.0 * (good / good_tokens - bad / bad_tokens) - part.target_margin
            total -= math.log(1 / (1 + math.exp(-lead)))
            continue
        good -= log_probability(reference, prompt, last)[0]
        bad -= log_probability(reference, prompt, document.rejected[-1])[0]  # type: ignore[index]
        if part.length_normalised:
            good, bad = good / good_tokens, bad / bad_tokens
        beta = part.beta or 0.1
        if part.loss == "ipo":
            total += (good - bad - 1 / (2 * beta)) ** 2
        else:
            right = 1 / (1 + math.exp(-beta * (good - bad)))
            total -= (1 - part.label_smoothing) * math.log(right) + part.label_smoothing * math.log(1 - right)
    return total


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"beta": 0.5},
        {"label_smoothing": 0.2},
        {"length_normalised": True, "beta": 2.0},
        {"loss": "ipo"},
        {"loss": "ipo", "length_normalised": True, "beta": 0.3},
        {"loss": "simpo"},
        {"loss": "simpo", "target_margin": 0.7},
    ],
    ids=str,
)
def test_the_loss_of_packed_pairs_is_that_of_each_pair_alone(
    pairs: Path, tmp_path: Path, given: dict[str, Any]
) -> None:
    """So pairs in one row do not see each other, and the formula is that of the paper, on plain log-softmax."""
    part = PreferencePart(**given)
    shape = {"vocab": CONFIG.vocab, "context": CONTEXT}
    policy, reference = random_model(1, **shape), random_model(2, **shape)
    batch = whole_part(pairs)
    learner = PreferenceLoss(policy, part, reference_of(reference) if part.compares else None)
    documents = [document for document in map(pair, range(60)) if document.heldout]
    assert batch.count == len(documents)
    found = learner(tensors(batch, torch.device("cpu"))).item()
    assert found == pytest.approx(expected(part, policy, reference, documents), rel=1e-5)


def whole_part(pairs: Path) -> Batch:
    """All held-out pairs once."""
    part = Shards.open(pairs / "pairs" / "heldout")
    return Batches({"pairs": part}, {"pairs": 1.0}, part.rows, 0, True, None, True)[0]


def test_equal_weights_give_the_loss_of_a_coin_and_no_drift(pairs: Path) -> None:
    policy = random_model(1, vocab=CONFIG.vocab, context=CONTEXT)
    reference = reference_of(random_model(1, vocab=CONFIG.vocab, context=CONTEXT))
    batch = whole_part(pairs)
    learner = PreferenceLoss(policy, PreferencePart(), reference)
    assert learner(tensors(batch, torch.device("cpu"))).item() == pytest.approx(batch.count * math.log(2), rel=1e-6)
    assert {name: figure.item() for name, figure in learner.figures.items()} == dict.fromkeys(learner.figures, 0.0)


def test_the_reference_is_not_trained_nor_saved(pairs: Path) -> None:
    policy, reference = random_model(1, vocab=CONFIG.vocab), random_model(2, vocab=CONFIG.vocab)
    learner = PreferenceLoss(policy, PreferencePart(), reference_of(reference))
    assert len(list(learner.parameters())) == len(list(policy.parameters()))
    learner(tensors(whole_part(pairs), torch.device("cpu"))).backward()
    assert all(parameter.grad is None for parameter in reference.parameters())


def test_a_micro_batch_of_any_size_gives_the_same_gradient(pairs: Path) -> None:
    batch, gradients = whole_part(pairs), []
    for rows in (1, 2, len(batch.ids)):
        policy = random_model(1, vocab=CONFIG.vocab, context=CONTEXT)
        reference = reference_of(random_model(2, vocab=CONFIG.vocab, context=CONTEXT))
        learner = PreferenceLoss(policy, PreferencePart(), reference)
        for micro in batch.micro(rows):
            learner(tensors(micro, torch.device("cpu"))).backward()
        gradients.append(policy.lm_head.weight.grad)
    assert all(torch.allclose(gradients[0], each, rtol=1e-4, atol=1e-6) for each in gradients[1:])


# --- trainings ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", ["dpo", "ipo", "simpo"])
def test_a_training_prefers_the_chosen_answers_of_prompts_it_never_saw(pairs: Path, tmp_path: Path, loss: Any) -> None:
    watch, result = train(prefer(pairs, tmp_path, PreferencePart(loss=loss), steps=30, validate_steps=30))
    figures = result.heldout_figures["pairs"]
    assert figures["accuracy"] > 0.9 and figures["margin"] > 0
    assert ("drift of chosen" in figures) == (loss != "simpo")
    assert watch.records[-1]["heldout_figures"] == {"pairs": figures}
    assert watch.records[-1]["figures"]["accuracy"] > 0.9
    assert result.heldout["pairs"] < (math.log(2) if loss == "dpo" else watch.losses[0])


def test_killed_and_run_again_it_ends_with_the_same_bits(pairs: Path, tmp_path: Path) -> None:
    run(pairs, tmp_path / "whole")
    child = start(kill_at, pairs, tmp_path / "killed", 7)
    child.join()
    assert child.exitcode != 0
    run(pairs, tmp_path / "killed")
    assert weights(tmp_path / "killed") == weights(tmp_path / "whole")
    assert logged(tmp_path / "killed") == logged(tmp_path / "whole")


def run(pairs: Path, folder: Path) -> None:
    train(prefer(pairs, folder))


def kill_at(pairs: Path, folder: Path, step: int) -> None:
    import os

    train(prefer(pairs, folder), Record(after_step=lambda done: os._exit(9) if done == step else None))


def test_another_loss_does_not_go_on_from_a_checkpoint(pairs: Path, tmp_path: Path) -> None:
    job = prefer(pairs, tmp_path)
    assert job.fingerprint != replace(job, preference=PreferencePart(loss="ipo")).fingerprint
    assert job.fingerprint != replace(job, preference=None).fingerprint


def test_two_processes_give_what_one_gives(pairs: Path, tmp_path: Path) -> None:
    run(pairs, tmp_path / "one")
    together(2, as_peer, pairs, tmp_path / "two")
    one, two = logged(tmp_path / "one"), logged(tmp_path / "two")
    assert [each["loss"] for each in two] == pytest.approx([each["loss"] for each in one], rel=1e-4)
    assert [each["figures"]["margin"] for each in two] == pytest.approx(
        [each["figures"]["margin"] for each in one], rel=1e-2, abs=1e-5
    )


def as_peer(pairs: Path, folder: Path) -> None:
    from groundup.train.distributed.mesh import join
    from tests.train.train_helpers import Eager

    device = Eager("cpu")
    train(prefer(pairs, folder), device=device, mesh=join(device))
