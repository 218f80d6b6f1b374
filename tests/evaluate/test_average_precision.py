"""Detection metrics: a perfect detector has 1, COCO's figures are COCO's, and what counts as a match."""

import io
import json
from contextlib import redirect_stdout

import numpy as np
import pytest
import torch

from groundup.codecs.detections import Detection, to_targets
from groundup.core.ledger import figures as to_json
from groundup.evaluate.average_precision import ScoredImage, average_precision, matches
from groundup.evaluate.prompts import prompt_of
from groundup.evaluate.suites import boxes

A, B = (0.1, 0.1, 0.5, 0.5), (0.5, 0.5, 0.9, 0.8)
IMAGES = [
    ScoredImage(
        (100, 50),
        [Detection("cat", A), Detection("dog", B)],
        [Detection("cat", (0.1, 0.1, 0.5, 0.45), 0.9), Detection("dog", A, 0.8), Detection("dog", B, 0.3)],
    ),
    ScoredImage(
        (64, 64),
        [Detection("cat", B)],
        [Detection("cat", (0.55, 0.5, 0.95, 0.8), 0.6), Detection("cat", B, 0.4), Detection("cow", A, 0.7)],
    ),
    ScoredImage((32, 64), [], [Detection("cat", A, 0.95)]),
]


def test_exact_detections_have_1():
    pytest.importorskip("pycocotools")
    images = [ScoredImage(image.size, image.truth, image.truth) for image in IMAGES]
    found = average_precision(images)
    assert (found.ap, found.ap50, found.ar) == pytest.approx((1, 1, 1))
    assert found.classes == pytest.approx({"cat": 1, "dog": 1})
    assert matches(images).f1.value == 1


def test_figures_are_those_that_cocos_own_summary_prints():
    coco, judge = pytest.importorskip("pycocotools.coco"), pytest.importorskip("pycocotools.cocoeval")
    truth = coco.COCO()
    images = [{"id": number, "width": image.size[0], "height": image.size[1]} for number, image in enumerate(IMAGES)]
    names = ["cat", "dog"]

    def box(detection, image):
        (left, top, right, bottom), (width, height) = detection.box, image.size
        return [left * width, top * height, (right - left) * width, (bottom - top) * height]

    rows = [
        {
            "image_id": number,
            "category_id": names.index(detection.class_name),
            "bbox": box(detection, image),
            "iscrowd": 0,
        }
        for number, image in enumerate(IMAGES)
        for detection in image.truth
    ]
    truth.dataset = {
        "info": {},
        "images": images,
        "categories": [{"id": number, "name": name} for number, name in enumerate(names)],
        "annotations": [
            row | {"id": 7 + number, "area": row["bbox"][2] * row["bbox"][3]} for number, row in enumerate(rows)
        ],
    }
    detected = [
        {
            "image_id": number,
            "category_id": names.index(detection.class_name),
            "bbox": box(detection, image),
            "score": detection.score,
        }
        for number, image in enumerate(IMAGES)
        for detection in image.detections
        if detection.class_name in names
    ]
    with redirect_stdout(io.StringIO()):
        truth.createIndex()
        judged = judge.COCOeval(truth, truth.loadRes(detected), "bbox")
        judged.evaluate()
        judged.accumulate()
        judged.summarize()
    found = average_precision(IMAGES)
    assert (found.ap, found.ap50, found.ar) == pytest.approx((judged.stats[0], judged.stats[1], judged.stats[8]))
    assert 0 < found.ap < found.ap50 < 1


BAR = np.array([[0.1, 0.2], [0.2, 0.1], [0.9, 0.8], [0.8, 0.9]])  # a long one, turned by 45 degrees


def outlined(detection):
    return Detection.rotated(detection.class_name, detection.outline, detection.score)


def test_boxes_that_are_rotated_by_nothing_have_the_figures_of_upright_ones():
    pytest.importorskip("pycocotools")
    images = [
        ScoredImage(image.size, [*map(outlined, image.truth)], [*map(outlined, image.detections)]) for image in IMAGES
    ]
    upright, rotated = average_precision(IMAGES), average_precision(images)
    assert (rotated.ap, rotated.ap50, rotated.ar) == pytest.approx((upright.ap, upright.ap50, upright.ar))
    assert rotated.classes == pytest.approx(upright.classes)
    assert matches(images) == matches(IMAGES)


def test_a_rotated_box_is_found_by_its_angle_not_by_its_bounds():
    pytest.importorskip("pycocotools")
    truth = Detection.rotated("bar", BAR)
    across = Detection.rotated("bar", BAR * [-1, 1] + [1, 0], 0.9)
    assert across.box == pytest.approx(truth.box)
    for found, right in ((truth, 1), (across, 0), (Detection("bar", truth.box, 0.9), 0)):
        image = ScoredImage((64, 48), [truth], [found])
        assert average_precision([image]).ap == pytest.approx(right)
        assert matches([image]).recall.value == right


def test_kept_pictures_show_corners(vision_engine, pictured):
    pytest.importorskip("pycocotools")
    found = boxes.detect(vision_engine, [pictured(detections=((Detection.rotated("a", BAR),),))])
    shown = boxes.display(boxes.Boxes({"bars": found}))
    assert found.pictures[0].truth[0].box == pytest.approx(tuple(BAR.flatten()))
    width, height = found.pictures[0].size
    assert shown.galleries[0].pictures[0].polygons[0].points.split()[0] == f"{0.1 * width:.2f},{0.2 * height:.2f}"
    assert "a rotated IoU of 0.5" in shown.headline[0].note
    assert "IoU is that of rotated boxes in bars" in shown.tables[0].caption


def test_nothing_prints_and_no_detection_has_0(capsys):
    pytest.importorskip("pycocotools")
    found = average_precision([ScoredImage(image.size, image.truth, []) for image in IMAGES])
    assert (found.ap, found.ar) == (0, 0)
    assert average_precision([ScoredImage((8, 8), [], [Detection("cat", A)])]) is None
    assert capsys.readouterr().out == ""


def test_matches_are_of_one_class_each_truth_once_above_the_score():
    found = matches(IMAGES)
    assert (found.precision.n, found.recall.n, found.f1.n) == (
        5,
        3,
        3,
    )  # the dog of 0.3 and the cat of 0.4 do not count
    assert found.recall.value == pytest.approx(2 / 3)
    assert found.precision.value == pytest.approx(2 / 5)
    assert found.f1.value == pytest.approx(2 * 2 / (5 + 3))
    twice = ScoredImage((8, 8), [Detection("cat", A)], [Detection("cat", A, 0.9), Detection("cat", A, 0.8)])
    assert matches([twice]).precision.value == 0.5


def test_without_boxes_there_is_no_figure():
    assert set(vars(matches([ScoredImage((8, 8), [], [])])).values()) == {None}


def test_a_perfect_head_detects_everything(vision_engine, pictured, monkeypatch):
    pytest.importorskip("pycocotools")
    things = (Detection("a", (0.0, 0.0, 0.5, 0.5)), Detection("b", (0.5, 0.5, 1.0, 1.0)))
    documents = [pictured(seed=seed, detections=(things,), heldout=True) for seed in range(10)]
    grid = prompt_of(vision_engine, documents[0]).images[0].grid

    def labels(states_ND):
        kinds, values = to_targets(
            np.array([detection.box for detection in things], np.float32), np.array([1, 2]), grid
        )
        return torch.nn.functional.one_hot(torch.from_numpy(kinds), 3) * 20.0, torch.from_numpy(values)

    monkeypatch.setattr(vision_engine.model.vision, "detect", labels)
    table = to_json(boxes.detect(vision_engine, documents))
    assert table["ap"]["value"] == table["f1"]["value"] == table["kinds"]["b"]["value"] == pytest.approx(1)
    assert len(table["pictures"]) == boxes.PICTURES
    assert table["pictures"][0]["image"].startswith("data:image/jpeg;base64,")
    assert json.loads(json.dumps(table, allow_nan=False)) == table


def test_images_without_annotations_do_not_count(vision_engine, pictured):
    pytest.importorskip("pycocotools")
    assert boxes.detect(vision_engine, [pictured()]) is None
