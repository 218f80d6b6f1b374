"""Packed rows: neither padding nor other continuations change what is computed, and it is what training computes."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from groundup.codecs.detections import Detection, to_targets
from groundup.generate import scoring
from groundup.generate.packing import PackedRow, hidden_states, image_inputs
from groundup.model.attention import document_mask
from groundup.model.ops import TORCH
from groundup.model.transformer import Transformer
from tests.generate.generate_helpers import Ids, engine
from tests.generate.test_engine_images import NEVER, VISION, image_input, request

CONTINUATIONS = [[5, 6, 7, 3], [5], [9, 9, 8], [200, 3]]


@pytest.fixture
def vision_engine():
    return engine(tokenizer=Ids(), **VISION)


@pytest.fixture
def rows():
    """Five rows of different lengths, with images of different grids."""
    asked = [
        request(before, image_input(before, *grid), seed=before)
        for before, grid in enumerate([(4, 4), (3, 6), (2, 7), (1, 1), (4, 5)], 1)
    ]
    return [PackedRow(list(each.prompt), each.images) for each in asked]


def test_hidden_states_are_those_of_each_row_alone(vision_engine, rows):
    row = rows[1]
    (image,) = row.images
    blocks = torch.zeros(1, row.size, dtype=torch.long)
    blocks[0, image.position : image.end] = 1
    images = image_inputs([(image.position, image)], torch.device("cpu"))
    with torch.inference_mode():
        plain = vision_engine.model(
            torch.tensor([row.ids]),
            torch.arange(row.size)[None],
            document_mask(torch.zeros_like(blocks), blocks),
            images=images,
        )
    padded = hidden_states(vision_engine.model, rows)[1, : row.size]
    torch.testing.assert_close(padded, plain[0], atol=1e-4, rtol=1e-4)


def test_the_engine_generates_the_argmax_of_a_forward_over_the_whole_row(vision_engine, rows):
    with torch.inference_mode():
        best = [
            int(vision_engine.model.logits(hidden_states(vision_engine.model, [row])[0, -1]).argmax()) for row in rows
        ]
    never = engine(tokenizer=NEVER, **VISION)
    assert never.complete([row.ids for row in rows], 1, images=[row.images for row in rows]) == [[id] for id in best]


def test_continuations_in_a_tree_have_the_log_probabilities_of_each_alone(vision_engine, rows):
    tree = vision_engine.scorer.log_probabilities(rows, CONTINUATIONS)
    for index, row in enumerate(rows):
        for place, ids in enumerate(CONTINUATIONS):
            with torch.inference_mode():
                states = hidden_states(vision_engine.model, [replace(row, ids=row.ids + ids)])
                logits = vision_engine.model.logits(states)[0, row.size - 1 : -1]
            alone = logits.log_softmax(-1)[range(len(ids)), ids].sum()
            assert float(tree[index, place]) == pytest.approx(float(alone), abs=1e-3)


def test_many_continuations_take_several_rows(vision_engine, rows, monkeypatch):
    whole = vision_engine.scorer.log_probabilities(rows, CONTINUATIONS)
    monkeypatch.setattr(scoring, "TREE_TOKENS", 4)
    torch.testing.assert_close(vision_engine.scorer.log_probabilities(rows, CONTINUATIONS), whole, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("window", [0, 12])
@torch.inference_mode()
def test_attention_weights_are_those_of_the_last_layer(vision_engine, rows, window):
    """Against scores computed from the last layer's own projections, for a row with an image."""
    model = vision_engine.model
    if window:
        model = Transformer(replace(model.config, layers=("window",), window=window)).eval()
        model.load_state_dict(vision_engine.model.state_dict())
    [weights] = scoring.Scorer(model).attention_weights(rows[0])
    assert weights.shape == (16,) and (weights >= 0).all() and 0 < weights.sum() < 1
    kept = []
    hook = model.model.layers[-1].self_attn.register_forward_pre_hook(lambda module, given: kept.append(given))
    hidden_states(model, [rows[0]])
    hook.remove()
    module, (x_BTD, context) = model.model.layers[-1].self_attn, kept[0]
    q, k = module.q_proj(x_BTD).unflatten(2, (-1, 16)), module.k_proj(x_BTD).unflatten(2, (-1, 16))
    q, k = (TORCH.rotary_embedding(each, *context.angles)[0] for each in (module.q_norm(q), module.k_norm(k)))
    scores_HT = torch.einsum("he,the->ht", q[-1], k.repeat_interleave(2, 1)) / 4
    scores_HT = scores_HT.masked_fill(~context.mask_BTS[0, -1], float("-inf"))
    expected = scores_HT.softmax(-1).mean(0)[rows[0].images[0].position : rows[0].images[0].end]
    torch.testing.assert_close(torch.from_numpy(weights), expected, atol=1e-5, rtol=1e-4)


def test_detections_are_read_from_the_outputs_of_the_patches(vision_engine, rows, monkeypatch):
    truth = {
        tuple(row.images[0].grid): Detection("ab"[number % 2], (0.0, 0.0, 0.5, 1.0)) for number, row in enumerate(rows)
    }

    def labels(states_ND):
        grid = next(row.images[0].grid for row in rows if row.images[0].grid.patches == len(states_ND))
        thing = truth[tuple(grid)]
        kinds, values = to_targets(
            np.array([thing.box], np.float32), np.array(["ab".index(thing.class_name) + 1]), grid
        )
        return torch.nn.functional.one_hot(torch.from_numpy(kinds), 3) * 20.0, torch.from_numpy(values)

    monkeypatch.setattr(vision_engine.model.vision, "detect", labels)
    for row, [found] in zip(rows[:2], vision_engine.detector.detect(rows[:2]), strict=True):
        expected = truth[tuple(row.images[0].grid)]
        assert [thing.class_name for thing in found] == [expected.class_name]
        assert found[0].box == pytest.approx(expected.box, abs=1e-3)
