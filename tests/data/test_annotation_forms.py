"""Annotations as programs write them: ids and classes in other JSON types, polygons, rotated boxes."""

from pathlib import Path
from typing import Any

import pytest

from groundup.core.errors import InputError
from groundup.data.annotations import POLYGONS, ROTATED
from tests.data.data_helpers import boxes_source
from tests.data.test_detections import HALF, coco, read, things, yolo


@pytest.mark.parametrize("id", [7, 7.0, "7"])
def test_an_id_is_the_same_in_every_json_type(tmp_path: Path, id: Any) -> None:
    coco(tmp_path, {"image_id": id, "category_id": str(3), "bbox": [10, 4, 20, 12]})
    documents, _ = read(boxes_source("coco.json"), tmp_path)
    assert things(documents) == [[("cup", HALF)]]


def test_an_id_that_is_no_whole_number_fits_nothing(tmp_path: Path) -> None:
    coco(tmp_path, {"image_id": 7.5, "bbox": [10, 4, 20, 12]})
    with pytest.raises(InputError, match="it has no image_id"):
        read(boxes_source("coco.json"), tmp_path)


def test_a_yolo_class_may_be_written_as_a_decimal(tmp_path: Path) -> None:
    yolo(tmp_path, {"a0": "1.0 0.5 0.5 0.5 0.6\n"})
    assert things(read(boxes_source("in"), tmp_path)[0]) == [[("plate", HALF)]]


@pytest.mark.parametrize("kind", ["0.5", "nan", "1e400", "-1"])
def test_a_yolo_class_that_is_no_number_of_a_name_is_refused(tmp_path: Path, kind: str) -> None:
    yolo(tmp_path, {"a0": f"{kind} 0.5 0.5 0.5 0.6\n"})
    with pytest.raises(InputError, match="class without a name"):
        read(boxes_source("in"), tmp_path)


def test_polygons_and_rotated_boxes_become_upright_ones_and_that_is_said(tmp_path: Path) -> None:
    polygon = "0 0.25 0.2 0.75 0.2 0.75 0.8 0.5 0.8 0.25 0.8\n"
    yolo(tmp_path, {"a0": polygon + "1 0.25 0.2 0.75 0.2 0.75 0.8 0.25 0.8\n"})
    documents, drops = read(boxes_source("in"), tmp_path)
    assert things(documents) == [[("cup", HALF), ("plate", HALF)]]
    assert drops.recognised == {POLYGONS: 1, ROTATED: 1}
    coco(tmp_path, {"segmentation": [[10, 4, 30, 4, 30, 16]]}, {"bbox": [20, 10, 20, 12, 0]})
    documents, drops = read(boxes_source("coco.json"), tmp_path)
    assert things(documents) == [[("cup", HALF)] * 2]
    assert drops.recognised == {POLYGONS: 1, ROTATED: 1}
