"""Rotated boxes as YOLO-OBB, DOTA, COCO and JSON lines have them: to documents, to shards, and through augmentation."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from groundup.codecs import rotated_boxes
from groundup.codecs.detections import Detection
from groundup.codecs.patches import PatchGrid
from groundup.core.errors import InputError
from groundup.data.augment import augment
from groundup.data.document import Document, detection_classes, read
from groundup.data.filtered import Filtered
from groundup.data.image_shards import TrainingImage
from tests.data.data_helpers import boxes_source, encoded, save, write_parquet

WIDTH, HEIGHT = 40, 20
DIAMOND = (20.0, 4.0, 30.0, 10.0, 20.0, 16.0, 10.0, 10.0)  # pixels
SHARES = pytest.approx([0.5, 0.2, 0.75, 0.5, 0.5, 0.8, 0.25, 0.5])  # from the corner nearest the top left


def documents(folder: Path, path: str = "in", **knobs: Any) -> tuple[list[Document], Filtered]:
    drops = Filtered()
    return list(boxes_source(path, **knobs).read(folder, drops)), drops


def things(found: list[Document]) -> list[Detection]:
    return [thing for each in found for thing in (each.detections or ((),))[0]]


def yolo(folder: Path, *rows: str, names: str = "names: [cup, plate]\n") -> None:
    save(folder / "in" / "images" / "a0.png", encoded(0, (WIDTH, HEIGHT)))
    save(folder / "in" / "labels" / "a0.txt", ("\n".join(rows) + "\n").encode())
    (folder / "in" / "data.yaml").write_text(names)


def dota(
    folder: Path, *rows: str, images: str = "images", labels: str = "labelTxt", name: str = "P0", seed: int = 0
) -> None:
    save(folder / "in" / images / f"{name}.png", encoded(seed, (WIDTH, HEIGHT)))
    save(folder / "in" / labels / f"{name}.txt", "\n".join(rows).encode())


LINE = " ".join(f"{value:g}" for value in DIAMOND)
OBB = " ".join(f"{value / (HEIGHT if place % 2 else WIDTH):g}" for place, value in enumerate(DIAMOND))


# --- the forms ----------------------------------------------------------------------------------------------


def test_yolo_obb_keeps_its_corners_beside_the_bounds(tmp_path: Path) -> None:
    yolo(tmp_path, f"1 {OBB}", "0 0.5 0.5 0.5 0.6")
    found, drops = documents(tmp_path)
    plate, cup = things(found)
    assert (plate.class_name, list(plate.corners or ())) == ("plate", SHARES)
    assert plate.box == pytest.approx((0.25, 0.2, 0.75, 0.8))
    assert cup.corners is None
    assert dict(drops.recognised) == {"rotated boxes": 1}


def test_a_source_may_ask_for_the_upright_boxes(tmp_path: Path) -> None:
    yolo(tmp_path, f"1 {OBB}")
    assert things(documents(tmp_path, rotated=False)[0]) == [Detection("plate", pytest.approx((0.25, 0.2, 0.75, 0.8)))]


def test_four_points_among_polygons_are_a_polygon(tmp_path: Path) -> None:
    yolo(tmp_path, f"1 {OBB}", "0 0.1 0.1 0.5 0.1 0.3 0.6")
    assert [thing.corners for thing in things(documents(tmp_path)[0])] == [None, None]


@pytest.mark.parametrize("labels", ["labelTxt", "labelTxt-v1.5", "labelTxt-v1.0/labelTxt", "annfiles"])
@pytest.mark.parametrize(
    "header", [(), ("imagesource:GoogleEarth", "gsd:0.146343590398"), ("imagesource: x", "", "gsd:null")]
)
def test_dota_labels_with_and_without_a_header(tmp_path: Path, labels: str, header: tuple[str, ...]) -> None:
    dota(tmp_path, *header, f"{LINE} small-vehicle 0", f"{LINE} large vehicle 0", f"{LINE} ship", labels=labels)
    found, drops = documents(tmp_path)
    assert [thing.class_name for thing in things(found)] == ["small-vehicle", "large vehicle", "ship"]
    assert all(list(thing.corners or ()) == SHARES for thing in things(found))
    assert (found[0].origin, dict(drops.recognised)) == ("in/images/P0.png", {"rotated boxes": 3})


def test_a_difficult_object_counts_and_that_is_told(tmp_path: Path) -> None:
    dota(tmp_path, f"{LINE} ship 1")
    found, drops = documents(tmp_path)
    assert len(things(found)) == 1
    assert drops.recognised["boxes marked as difficult, read like all others"] == 1


def test_dota_parts_in_folders_are_the_split(tmp_path: Path) -> None:
    dota(tmp_path, f"{LINE} ship 0", images="train/images", labels="train/labelTxt")
    dota(tmp_path, f"{LINE} plane 0", images="val/images", labels="val/labelTxt", seed=1)
    found, _ = documents(tmp_path)
    assert {(each.heldout, things([each])[0].class_name) for each in found} == {(False, "ship"), (True, "plane")}


def test_dota_images_may_lie_elsewhere(tmp_path: Path) -> None:
    dota(tmp_path, f"{LINE} ship 0", images="../pictures")
    assert len(things(documents(tmp_path, "in/labelTxt", images="pictures")[0])) == 1


def test_dota_counts_what_has_no_partner(tmp_path: Path) -> None:
    dota(tmp_path, f"{LINE} ship 0")
    save(tmp_path / "in" / "images" / "P1.png", encoded(1, (WIDTH, HEIGHT)))
    save(tmp_path / "in" / "labelTxt" / "P2.txt", b"")
    assert documents(tmp_path, bad_share=0.5)[1].counts == {
        "image without label file": 1,
        "label file without image": 1,
    }


def test_an_empty_dota_file_is_an_image_of_nothing(tmp_path: Path) -> None:
    dota(tmp_path, "imagesource:GoogleEarth", "gsd:1.0")
    assert [each.detections for each in documents(tmp_path)[0]] == [((),)]


def test_json_lines_have_corners_too(tmp_path: Path) -> None:
    save(tmp_path / "a0.png", encoded(0, (WIDTH, HEIGHT)))
    corners = [value / (HEIGHT if place % 2 else WIDTH) for place, value in enumerate(DIAMOND)]
    (tmp_path / "in.jsonl").write_text(json.dumps({"file": "a0.png", "boxes": [{"class": "cup", "corners": corners}]}))
    assert [list(thing.corners or ()) for thing in things(documents(tmp_path, "in.jsonl")[0])] == [SHARES]


def test_vocs_rotated_boxes_turn_clockwise(tmp_path: Path) -> None:
    save(tmp_path / "in" / "a0.png", encoded(0, (WIDTH, HEIGHT)))
    box = "<cx>20</cx><cy>10</cy><w>16</w><h>2</h><angle>0.5235988</angle>"
    xml = f"<annotation><object><name>cup</name><robndbox>{box}</robndbox></object></annotation>"
    (tmp_path / "in" / "a0.xml").write_text(xml)
    [thing] = things(documents(tmp_path)[0])
    _, _, [angle] = rotated_boxes.rectangles(thing.outline[None] * [WIDTH, HEIGHT])
    assert np.degrees(angle) % 90 == pytest.approx(30, abs=1e-4)


COCO = {
    "counter-clockwise": ({"bbox": [20, 10, 16, 2, 30]}, 60),  # clockwise: -30
    "CVAT": ({"bbox": [12, 9, 16, 2], "attributes": {"rotation": 30.0, "occluded": False}}, 30),
    "beside the box": ({"bbox": [12, 9, 16, 2], "rotation": 30}, 30),
}


@pytest.mark.parametrize("form", COCO)
def test_coco_turns_boxes_counter_clockwise_and_cvat_clockwise(tmp_path: Path, form: str) -> None:
    annotation, degrees = COCO[form]
    save(tmp_path / "a0.png", encoded(0, (WIDTH, HEIGHT)))
    content = {
        "images": [{"id": 1, "file_name": "a0.png"}],
        "annotations": [{"image_id": 1, "category_id": 1} | annotation],
        "categories": [{"id": 1, "name": "cup"}],
    }
    (tmp_path / "in.json").write_text(json.dumps(content))
    [thing] = things(documents(tmp_path, "in.json")[0])
    middle, sides, [angle] = rotated_boxes.rectangles(thing.outline[None] * [WIDTH, HEIGHT])
    assert middle[0] == pytest.approx([20, 10])
    assert sorted(sides[0]) == pytest.approx([2, 16])
    assert np.degrees(angle) % 90 == pytest.approx(degrees)
    assert thing.outline[0].tolist() != pytest.approx(thing.box[:2])


# --- damage -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("10 10 20 10 20 16 10 16", "broken annotation"),
        ("10 10 20 10 20 16 10 ship 0", "broken annotation"),
        ("10 10 20 10 20 sixteen 10 16 ship 0", "broken annotation"),
        ("10 10 20 10 20 nan 10 16 ship 0", "box that is no number"),
        ("10 10 20 10 20 1e999 10 16 ship 0", "box that is no number"),
        ("10 10 20 10 20 1e308 10 16 ship 0", "box that is no number"),
        ("10 10 20 10 20 9e14 10 16 ship 0", "box outside its image"),
        ("10 10 20 10 30 10 35 10 ship 0", "box of no area"),
        ("10 4 30 4 10 16 14 8 ship 0", "corners of no box"),
        ("35 4 55 4 55 16 35 16 ship 0", "box outside its image"),
        (f"{LINE} a;b 0", "class that cannot be written"),
    ],
)
def test_a_bad_dota_line_is_named_with_its_file(tmp_path: Path, row: str, reason: str) -> None:
    dota(tmp_path, "imagesource:x", f"{LINE} ship 0", row)
    with pytest.raises(InputError, match=rf"the first is in/labelTxt/P0.txt: {reason}.*bad_share"):
        documents(tmp_path)
    if reason == "broken annotation":
        assert "line 3" in documents(tmp_path, bad_share=1)[1].examples[0]


@pytest.mark.parametrize("values", ["0.1 0.1 0.2 0.1 0.2 0.2 0.1", "0.1 0.1 0.2 x 0.2 0.2 0.1 0.2"])
def test_a_bad_yolo_line_is_named_with_its_file(tmp_path: Path, values: str) -> None:
    yolo(tmp_path, f"1 {OBB}", f"0 {values}")
    assert documents(tmp_path, bad_share=1)[1].examples[0].startswith("in/labels/a0.txt: broken annotation (line 2")


def test_a_folder_of_neither_form_is_told_both(tmp_path: Path) -> None:
    save(tmp_path / "in" / "images" / "a0.png", encoded(0, (WIDTH, HEIGHT)))
    with pytest.raises(InputError, match=r"neither data.yaml nor classes.txt .*DOTA folder with labelTxt"):
        documents(tmp_path)


# --- on the way to a model ----------------------------------------------------------------------------------


def test_documents_keep_corners_and_say_that_there_are_some(tmp_path: Path) -> None:
    yolo(tmp_path, f"1 {OBB}", "0 0.5 0.5 0.5 0.6")
    found, _ = documents(tmp_path)
    path = write_parquet(tmp_path / "documents.parquet", found)
    assert [each.detections for each in read(path)] == [each.detections for each in found]
    assert detection_classes([path]) == (("cup", "plate"), True)
    upright = [replace(found[0], detections=((things(found)[1],),))]
    assert detection_classes([write_parquet(tmp_path / "upright.parquet", upright)]) == (("cup",), False)


def pictured(corners: np.ndarray, side: int = 8) -> TrainingImage:
    """A dark image with one bright rotated object, of 8 x 12 patches."""
    grid = PatchGrid(8, 12)
    y, x = np.mgrid[: grid.rows * side, : grid.columns * side] + 0.5
    points = np.stack([x / (grid.columns * side), y / (grid.rows * side)], -1)
    edges = np.roll(corners, -1, 0) - corners
    apart = points[:, :, None] - corners
    inside = (edges[:, 0] * apart[..., 1] - edges[:, 1] * apart[..., 0] >= 0).all(-1)
    pixels = np.where(inside[..., None], 250, 20).repeat(3, 2).astype(np.uint8)
    return TrainingImage(0, grid, pixels, (Detection.rotated("bar", corners),))


def test_augmentation_moves_corners_with_their_pixels() -> None:
    box = np.array([[0.3, 0.35], [0.7, 0.5], [0.66, 0.65], [0.26, 0.5]])
    mirrored = set()
    for seed in range(20):
        found = augment(pictured(box), 0.5, np.random.default_rng(seed), mirror=True)
        [thing] = found.detections or ()
        mirrored.add(bool(thing.outline[:, 1].argmin() > 1))
        expected = pictured(rotated_boxes.ordered(thing.outline)).pixels[..., 0] > 128  # type: ignore[arg-type]
        seen = found.pixels[..., 0] > (float(found.pixels.max()) + float(found.pixels.min())) / 2
        assert (expected & seen).sum() / (expected | seen).sum() > 0.9, seed
    assert mirrored == {True, False}


def test_a_crop_that_hides_most_of_a_rotated_box_takes_its_annotation() -> None:
    box = np.array([[-0.18, 0.02], [0.02, -0.18], [0.08, -0.12], [-0.12, 0.08]]) + 0.05
    counts = {
        len(augment(pictured(box), 1.0, np.random.default_rng(seed), mirror=True).detections or ())
        for seed in range(20)
    }
    assert counts == {0}
