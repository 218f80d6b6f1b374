"""Boxes: a perfect finder has 1, COCO's figures are COCO's, and what counts as a match."""

import io
import json
from contextlib import redirect_stdout

import numpy as np
import pytest
import torch

from groundup.codecs.boxes import Detection, to_labels
from groundup.evaluate import detection
from groundup.evaluate.average_precision import Picture, average_precision, matches
from groundup.evaluate.prompts import prompt_of

A, B = (0.1, 0.1, 0.5, 0.5), (0.5, 0.5, 0.9, 0.8)
PICTURES = [
    Picture(
        (100, 50),
        [Detection("cat", A), Detection("dog", B)],
        [Detection("cat", (0.1, 0.1, 0.5, 0.45), 0.9), Detection("dog", A, 0.8), Detection("dog", B, 0.3)],
    ),
    Picture(
        (64, 64),
        [Detection("cat", B)],
        [Detection("cat", (0.55, 0.5, 0.95, 0.8), 0.6), Detection("cat", B, 0.4), Detection("cow", A, 0.7)],
    ),
    Picture((32, 64), [], [Detection("cat", A, 0.95)]),
]


def test_what_is_found_exactly_has_1():
    pytest.importorskip("pycocotools")
    pictures = [Picture(picture.size, picture.truth, picture.truth) for picture in PICTURES]
    found = average_precision(pictures)
    assert (found.ap, found.ap50, found.ar) == pytest.approx((1, 1, 1))
    assert found.kinds == pytest.approx({"cat": 1, "dog": 1})
    assert matches(pictures).f1.value == 1


def test_figures_are_those_that_cocos_own_summary_prints():
    coco, judge = pytest.importorskip("pycocotools.coco"), pytest.importorskip("pycocotools.cocoeval")
    truth = coco.COCO()
    images = [
        {"id": number, "width": picture.size[0], "height": picture.size[1]} for number, picture in enumerate(PICTURES)
    ]
    names = ["cat", "dog"]

    def box(thing, picture):
        (left, top, right, bottom), (width, height) = thing.box, picture.size
        return [left * width, top * height, (right - left) * width, (bottom - top) * height]

    rows = [
        {"image_id": number, "category_id": names.index(thing.kind), "bbox": box(thing, picture), "iscrowd": 0}
        for number, picture in enumerate(PICTURES)
        for thing in picture.truth
    ]
    truth.dataset = {
        "info": {},
        "images": images,
        "categories": [{"id": number, "name": name} for number, name in enumerate(names)],
        "annotations": [
            row | {"id": 7 + number, "area": row["bbox"][2] * row["bbox"][3]} for number, row in enumerate(rows)
        ],
    }
    said = [
        {"image_id": number, "category_id": names.index(thing.kind), "bbox": box(thing, picture), "score": thing.score}
        for number, picture in enumerate(PICTURES)
        for thing in picture.found
        if thing.kind in names
    ]
    with redirect_stdout(io.StringIO()):
        truth.createIndex()
        judged = judge.COCOeval(truth, truth.loadRes(said), "bbox")
        judged.evaluate()
        judged.accumulate()
        judged.summarize()
    found = average_precision(PICTURES)
    assert (found.ap, found.ap50, found.ar) == pytest.approx((judged.stats[0], judged.stats[1], judged.stats[8]))
    assert 0 < found.ap < found.ap50 < 1


def test_nothing_prints_and_nothing_found_has_0(capsys):
    pytest.importorskip("pycocotools")
    found = average_precision([Picture(picture.size, picture.truth, []) for picture in PICTURES])
    assert (found.ap, found.ar) == (0, 0)
    assert average_precision([Picture((8, 8), [], [Detection("cat", A)])]) is None
    assert capsys.readouterr().out == ""


def test_matches_are_of_one_kind_each_truth_once_above_the_score():
    found = matches(PICTURES)
    assert (found.precision.n, found.recall.n, found.f1.n) == (
        5,
        3,
        3,
    )  # the dog of 0.3 and the cat of 0.4 do not count
    assert found.recall.value == pytest.approx(2 / 3)
    assert found.precision.value == pytest.approx(2 / 5)
    assert found.f1.value == pytest.approx(2 * 2 / (5 + 3))
    twice = Picture((8, 8), [Detection("cat", A)], [Detection("cat", A, 0.9), Detection("cat", A, 0.8)])
    assert matches([twice]).precision.value == 0.5


def test_without_boxes_there_is_no_figure():
    assert set(matches([Picture((8, 8), [], [])]).as_dict().values()) == {None}


def test_a_perfect_head_finds_everything(seer, pictured, monkeypatch):
    pytest.importorskip("pycocotools")
    things = (Detection("a", (0.0, 0.0, 0.5, 0.5)), Detection("b", (0.5, 0.5, 1.0, 1.0)))
    documents = [pictured(seed=seed, things=(things,), heldout=True) for seed in range(10)]
    grid = prompt_of(seer, documents[0]).images[0].view.grid

    def labels(states_ND):
        kinds, values = to_labels(np.array([thing.box for thing in things], np.float32), np.array([1, 2]), grid)
        return torch.nn.functional.one_hot(torch.from_numpy(kinds), 3) * 20.0, torch.from_numpy(values)

    monkeypatch.setattr(seer.model.vision, "detect", labels)
    table = detection.detect(seer, documents).as_dict()
    assert table["ap"]["value"] == table["f1"]["value"] == table["kinds"]["b"]["value"] == pytest.approx(1)
    assert len(table["pictures"]) == detection.SHOWN
    assert table["pictures"][0]["image"].startswith("data:image/jpeg;base64,")
    assert json.loads(json.dumps(table, allow_nan=False)) == table


def test_images_that_nobody_looked_at_do_not_count(seer, pictured):
    pytest.importorskip("pycocotools")
    assert detection.detect(seer, [pictured()]) is None
