"""Prompts of documents with images begin as training has them, and are answered greedily."""

from dataclasses import replace

import pytest

from groundup.codecs import chat
from groundup.core.errors import InputError
from groundup.evaluate.prompts import answer, prompt_of, supervised_ids
from groundup.generate.engine import Engine
from tests.random_models import random_model


@pytest.fixture
def rows(vision_engine, pictured):
    """Five rows of different lengths, with images of different shapes."""
    asked = [
        ("what?", (16, 16)),
        ("which one is it, then?", (24, 12)),
        ("", (8, 30)),
        ("where is the cat?", (5, 5)),
        ("how many?", (40, 40)),
    ]
    documents = [pictured(question=question, size=size, seed=seed) for seed, (question, size) in enumerate(asked)]
    return [prompt_of(vision_engine, document) for document in documents]


def test_a_row_is_the_beginning_of_what_training_sees(vision_engine, pictured):
    document = pictured("the cat", size=(24, 12))
    row = prompt_of(vision_engine, document)
    (image,) = row.images
    ids, trained = chat.encode(vision_engine.tokenizer, document.messages, None, [image.grid])
    assert row.ids == ids[: trained.index(True)]
    assert (
        row.ids[image.position : image.end] == [vision_engine.tokenizer.special("<|image_pad|>")] * image.grid.patches
    )
    assert image.patches.shape == (image.grid.patches, 48)
    assert supervised_ids(vision_engine.tokenizer, "the cat") == [
        id for id, own in zip(ids, trained, strict=True) if own
    ]


def test_a_batch_answers_as_each_row_alone(vision_engine, rows):
    together = answer(vision_engine, rows, 6)
    assert together == [answer(vision_engine, [row], 6)[0] for row in rows]
    assert len(set(together)) > 1


def test_an_answer_ends_with_the_context_and_a_row_too_long_has_none(vision_engine, pictured):
    rows = [prompt_of(vision_engine, pictured(question="cat " * count)) for count in (5, 60)]
    tight = Engine(
        random_model(patch=4, patches=16, context=rows[0].size + 2, vocab=vision_engine.tokenizer.size),
        vision_engine.tokenizer,
    )
    said = answer(tight, rows, 50)
    assert said[1] == "" and len(vision_engine.tokenizer.encode(said[0])) <= 50


def test_a_document_without_words_is_its_image(vision_engine, pictured):
    row = prompt_of(vision_engine, replace(pictured(), messages=None, text=""))
    assert len(row.images) == 1 and row.images[0].grid.patches == 16


def test_a_picture_of_which_nothing_is_asked_is_shown_as_one_without_words(vision_engine, pictured):
    shown = [
        replace(pictured(), messages=messages)
        for messages in (None, [{"role": "user", "content": [{"type": "image"}]}])
    ]
    rows = [prompt_of(vision_engine, document) for document in shown]
    assert rows[0].ids == rows[1].ids


def test_a_model_without_a_vision_encoder_refuses_images(engine, pictured):
    with pytest.raises(InputError, match="no vision encoder"):
        prompt_of(engine, pictured())
