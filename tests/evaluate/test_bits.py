"""Bits per byte: exact where the answer is known, and the same however the work is cut."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from groundup.core.errors import InputError
from groundup.evaluate.suites.bits_per_byte import bits_per_byte, windows
from groundup.generate import packing, scoring
from groundup.generate.engine import Engine
from tests.random_models import random_model

TEXTS = ["the cat sat", "x", "", "the dog, 三只猫 and the mat. " * 20, "by the door there were three of them " * 3]


def test_a_model_that_knows_nothing_pays_log_of_the_vocabulary_for_each_token(tokenizer):
    model = random_model(tied=False)
    torch.nn.init.zeros_(model.lm_head.weight)
    tokens, size = sum(len(tokenizer.encode(text)) for text in TEXTS), sum(len(text.encode()) for text in TEXTS)
    assert bits_per_byte(Engine(model, tokenizer), TEXTS).value == pytest.approx(
        tokens * math.log2(model.config.vocab) / size, rel=1e-6
    )


@torch.no_grad()
def test_a_text_within_the_context_costs_what_its_tokens_cost(tokenizer):
    model, text = random_model(), "the cat sat on the mat and then by the door"
    ids = torch.tensor([tokenizer.encode(text)])
    assert ids.shape[1] <= model.config.context
    logits = model.logits(model(ids, torch.arange(ids.shape[1])[None]))[0]
    nats = F.cross_entropy(logits[:-1], ids[0, 1:], reduction="sum").item() + math.log(model.config.vocab)
    assert bits_per_byte(Engine(model, tokenizer), [text]).value == pytest.approx(
        nats / math.log(2) / len(text), rel=1e-5
    )


@pytest.mark.parametrize(
    ("module", "limit", "value"), [(packing, "MAX_TOKENS", 1), (packing, "MAX_TOKENS", 200), (scoring, "CHUNK", 3)]
)
def test_the_size_of_batches_changes_nothing(monkeypatch, tokenizer, module, limit, value):
    expected = bits_per_byte(Engine(random_model(), tokenizer), TEXTS)
    monkeypatch.setattr(module, limit, value)
    found = bits_per_byte(Engine(random_model(), tokenizer), TEXTS)
    # fp32: other batch shapes sum in another order.
    assert (found.value, found.low, found.high) == pytest.approx(
        (expected.value, expected.low, expected.high), rel=1e-5
    )


def test_texts_are_measured_in_groups_like_at_once(monkeypatch, tokenizer):
    expected = bits_per_byte(Engine(random_model(), tokenizer), TEXTS)
    monkeypatch.setattr("groundup.evaluate.suites.bits_per_byte.CHARACTERS", 1)
    done: list[int] = []
    assert bits_per_byte(Engine(random_model(), tokenizer), iter(TEXTS), done.append).value == pytest.approx(
        expected.value, rel=1e-5
    )
    assert done == [1, 1, 1, 1]  # the empty text is none


@settings(deadline=None, derandomize=True, max_examples=200)
@given(length=st.integers(0, 300), context=st.integers(1, 70))
def test_every_token_but_the_first_is_predicted_once_from_half_a_context(length, context):
    counted = []
    for row in windows(list(range(length)), context):
        assert 1 <= row.first < len(row.ids) <= context + 1
        assert row.ids == list(range(row.ids[0], row.ids[-1] + 1))
        assert row.ids[0] == 0 or row.first >= context / 2
        counted += row.ids[row.first :]
    assert counted == list(range(1, length))


def test_texts_are_cases_of_the_interval(tokenizer):
    figure = bits_per_byte(Engine(random_model(), tokenizer), TEXTS)
    assert figure.n == 4
    assert figure.low < figure.value < figure.high


def test_no_text_is_refused(tokenizer):
    with pytest.raises(InputError, match="no text"):
        bits_per_byte(Engine(random_model(), tokenizer), ["", ""])
