"""Rows with images: neither padding nor other answers change what is computed, and it is what training computes."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from groundup.codecs import chat
from groundup.codecs.boxes import Detection, to_labels
from groundup.core.errors import InputError
from groundup.evaluate import seeing
from groundup.generate.engine import Engine
from groundup.model.transformer import document_mask
from tests.random_models import random_model


@pytest.fixture
def rows(seer, pictured):
    """Five rows of different lengths, with images of different shapes."""
    asked = [
        ("what?", (16, 16)),
        ("which one is it, then?", (24, 12)),
        ("", (8, 30)),
        ("where is the cat?", (5, 5)),
        ("how many?", (40, 40)),
    ]
    documents = [pictured(question=question, size=size, seed=seed) for seed, (question, size) in enumerate(asked)]
    return [seeing.look(seer.model, seer.tokenizer, document) for document in documents]


def test_a_row_is_the_beginning_of_what_training_sees(seer, pictured):
    document = pictured("the cat", size=(24, 12))
    row = seeing.look(seer.model, seer.tokenizer, document)
    (look,) = row.looks
    ids, trained = chat.encode(seer.tokenizer, document.messages, None, [look.view.grid])
    assert row.ids == ids[: trained.index(True)]
    assert (
        row.ids[look.place : look.place + look.view.grid.patches]
        == [seer.tokenizer.special("<|image_pad|>")] * look.view.grid.patches
    )
    assert look.view.patches.shape == (look.view.grid.patches, 48)
    assert seeing.spoken(seer.tokenizer, "the cat") == [id for id, own in zip(ids, trained, strict=True) if own]


def test_states_are_those_of_the_model_alone(seer, rows):
    row = rows[1]
    (look,) = row.looks
    blocks = torch.zeros(1, row.size, dtype=torch.long)
    blocks[0, look.place : look.place + look.view.grid.patches] = 1
    image_inputs = seeing._image_inputs([row], row.size, torch.device("cpu"))
    with torch.inference_mode():
        plain = seer.model(
            torch.tensor([row.ids]),
            torch.arange(row.size)[None],
            document_mask(torch.zeros_like(blocks), blocks),
            images=image_inputs,
        )
    padded = seeing.states(seer.model, rows)[1, : row.size]
    torch.testing.assert_close(padded, plain[0], atol=1e-4, rtol=1e-4)


def test_a_batch_answers_as_each_row_alone(seer, rows):
    together = seeing.answer(seer, rows, 6)
    assert together == [seeing.answer(seer, [row], 6)[0] for row in rows]
    assert len(set(together)) > 1


def test_the_engine_says_what_a_forward_of_the_whole_row_finds_likeliest(seer, rows):
    with torch.inference_mode():
        ends = [
            seer.model.logits(seeing.states(seer.model, [row])[0, -1])[: seer.tokenizer.size].argmax() for row in rows
        ]
    assert seeing.answer(seer, rows, 1) == [seer.tokenizer.decode([int(id)]) for id in ends]


def test_answers_weigh_the_same_side_by_side_as_one_by_one(seer, rows):
    answers = [seeing.spoken(seer.tokenizer, text) for text in ("cat", "the dog", "three of them", "")]
    together = seeing.likelihoods(seer.model, rows, answers)
    for number, row in enumerate(rows):
        for place, answer in enumerate(answers):
            with torch.inference_mode():
                logits = seer.model.logits(seeing.states(seer.model, [replace(row, ids=row.ids + answer)]))[
                    0, row.size - 1 : -1
                ]
            alone = logits.log_softmax(-1)[range(len(answer)), answer].sum()
            assert float(together[number, place]) == pytest.approx(float(alone), abs=1e-3)


def test_many_answers_take_several_rows(seer, rows, monkeypatch):
    answers = [seeing.spoken(seer.tokenizer, text) for text in ("cat", "the dog", "three of them", "mat")]
    whole = seeing.likelihoods(seer.model, rows, answers)
    monkeypatch.setattr(seeing, "TAILS", 4)
    torch.testing.assert_close(seeing.likelihoods(seer.model, rows, answers), whole, atol=1e-4, rtol=1e-4)


def test_an_answer_ends_with_the_context_and_a_row_too_long_has_none(seer, pictured):
    rows = [seeing.look(seer.model, seer.tokenizer, pictured(question="cat " * count)) for count in (5, 60)]
    tight = Engine(
        random_model(patch=4, patches=16, context=rows[0].size + 2, vocab=seer.tokenizer.size), seer.tokenizer
    )
    said = seeing.answer(tight, rows, 50)
    assert said[1] == "" and len(seer.tokenizer.encode(said[0])) <= 50


def test_a_document_without_words_is_its_image(seer, pictured):
    row = seeing.look(seer.model, seer.tokenizer, replace(pictured(), messages=None, text=""))
    assert len(row.looks) == 1 and row.looks[0].view.grid.patches == 16


def test_a_picture_of_which_nothing_is_asked_is_shown_as_one_without_words(seer, pictured):
    shown = [
        replace(pictured(), messages=messages)
        for messages in (None, [{"role": "user", "content": [{"type": "image"}]}])
    ]
    rows = [seeing.look(seer.model, seer.tokenizer, document) for document in shown]
    assert rows[0].ids == rows[1].ids


def test_a_model_without_eyes_says_so(engine, pictured):
    with pytest.raises(InputError, match="no eyes"):
        seeing.look(engine.model, engine.tokenizer, pictured())


def test_attention_is_shares_of_the_patches_and_leaves_the_model_as_it_was(seer, rows):
    usual = seer.model.attend
    (shares,) = seeing.attention(seer.model, rows[0])
    assert seer.model.attend is usual
    assert shares.shape == (16,) and (shares >= 0).all() and 0 < shares.sum() < 1


def test_things_are_read_from_the_labels_of_the_patches(seer, rows, monkeypatch):
    truth = {
        tuple(row.looks[0].view.grid): Detection("ab"[number % 2], (0.0, 0.0, 0.5, 1.0))
        for number, row in enumerate(rows)
    }

    def labels(states_ND):
        grid = next(row.looks[0].view.grid for row in rows if row.looks[0].view.grid.patches == len(states_ND))
        thing = truth[tuple(grid)]
        kinds, values = to_labels(np.array([thing.box], np.float32), np.array(["ab".index(thing.kind) + 1]), grid)
        return torch.nn.functional.one_hot(torch.from_numpy(kinds), 3) * 20.0, torch.from_numpy(values)

    monkeypatch.setattr(seer.model.vision, "detect", labels)
    for row, [found] in zip(rows[:2], seeing.things(seer.model, rows[:2]), strict=True):
        expected = truth[tuple(row.looks[0].view.grid)]
        assert [thing.kind for thing in found] == [expected.kind]
        assert found[0].box == pytest.approx(expected.box, abs=1e-3)
