"""The split that annotations bring along, and Pascal VOC's form."""

import json
from pathlib import Path
from typing import Any

import pytest

from groundup.core.errors import InputError
from groundup.data.annotations import ROTATED
from groundup.data.filtered import Filtered
from groundup.data.voc import DIFFICULT
from tests.data.data_helpers import boxes_source, encoded, save
from tests.data.test_detections import HALF, HEIGHT, WIDTH, read, things

LABEL = "0 0.5 0.5 0.5 0.6\n"


def picture(path: Path, seed: int = 0) -> None:
    save(path, encoded(seed, (WIDTH, HEIGHT)))


def sides(folder: Path, path: str = "in", **knobs: Any) -> dict[str, bool | str]:
    """Whether each image is held out, or "test"."""
    documents, _ = read(boxes_source(path, **knobs), folder)
    return {each.origin.removeprefix("in/"): "test" if each.test else each.heldout for each in documents}


# --- YOLO ---------------------------------------------------------------------------------------------------


def yolo(folder: Path, *places: str, yaml: str = "") -> None:
    """An image and its labels in each of some folders called images."""
    for number, place in enumerate(places):
        picture(folder / "in" / place / f"{number}.png", number)
        save(folder / "in" / place.replace("images", "labels") / f"{number}.txt", LABEL.encode())
    save(folder / "in" / "data.yaml", f"names: [cup]\n{yaml}".encode())


@pytest.mark.parametrize("places", [("images/train", "images/val"), ("train/images", "valid/images")])
def test_folders_of_a_yolo_set_are_the_split(tmp_path: Path, places: tuple[str, str]) -> None:
    yolo(tmp_path, *places)
    assert sides(tmp_path) == {f"{places[1]}/1.png": True, f"{places[0]}/0.png": False}


@pytest.mark.parametrize(
    "yaml",
    [
        "train: images/a\nval: images/b\ntest: images/c\n",
        "path: ../datasets/in  # elsewhere\ntrain: ./images/a/ # so\nval: 'images/b'\ntest: /home/me/in/images/c\n",
        "train: ../images/a\nval: ../images/b\ntest: images\\\\c\n".replace("\\\\", "\\"),
        "train: [images/a]\nval: [images/b, images/z]\ntest:\n  - images/c\n",
        "train:\n- images/a\nval:\n- images/b\ntest:\n- images/c\nnc: 1\n",
        "train: a.txt\nval: b.txt\ntest: c.txt\n",
    ],
)
def test_the_parts_that_data_yaml_names_are_the_split(tmp_path: Path, yaml: str) -> None:
    yolo(tmp_path, "images/a", "images/b", "images/c", yaml=yaml)
    for number, name in enumerate("abc"):
        save(tmp_path / "in" / f"{name}.txt", f"./images/{name}/{number}.png\n".encode())
    assert sides(tmp_path) == {"images/b/1.png": True, "images/c/2.png": "test", "images/a/0.png": False}
    assert sides(tmp_path, heldout_part="test") == {"images/c/2.png": True, "images/a/0.png": False}


@pytest.mark.parametrize(
    "yaml", ["train: images/a\nval: images/a\n", "train: images/x\nval: images/y\n", "train: images/a\n"]
)
def test_a_data_yaml_without_two_parts_gives_no_split(tmp_path: Path, yaml: str) -> None:
    yolo(tmp_path, "images/a", "images/b", yaml=yaml)
    assert sides(tmp_path) == {"images/a/0.png": False, "images/b/1.png": False}


def test_lists_of_data_yaml_stay_in_the_folder_and_are_hashed(tmp_path: Path) -> None:
    yolo(tmp_path, "images/a", "images/b", yaml="train: a.txt\nval: images/../../b.txt\n")
    save(tmp_path / "in" / "a.txt", b"images/a/0.png\n")
    save(tmp_path / "b.txt", b"images/b/1.png\n")
    assert set(sides(tmp_path).values()) == {False}
    assert tmp_path / "in" / "a.txt" in boxes_source("in").files(tmp_path)


# --- COCO ---------------------------------------------------------------------------------------------------


def coco(path: Path, *names: str) -> None:
    content = {
        "images": [{"id": number, "file_name": name} for number, name in enumerate(names)],
        "annotations": [
            {"image_id": number, "category_id": 1, "bbox": [10, 4, 20, 12]} for number in range(len(names))
        ],
        "categories": [{"id": 1, "name": "cup"}],
    }
    save(path, json.dumps(content).encode())


def test_the_layout_of_coco_is_the_split(tmp_path: Path) -> None:
    for number, part in enumerate(("train", "val")):
        picture(tmp_path / "in" / f"{part}2017" / "a b.png", number)
        coco(tmp_path / "in" / "annotations" / f"instances_{part}2017.json", "a b.png")
    assert sides(tmp_path) == {"val2017/a b.png": True, "train2017/a b.png": False}
    assert sides(tmp_path, "in/annotations/instances_*.json", images="in") == sides(tmp_path)
    assert sides(tmp_path, "in/annotations/instances_train2017.json") == {"train2017/a b.png": False}


def test_annotations_in_the_folders_of_the_parts_are_the_split(tmp_path: Path) -> None:
    for number, part in enumerate(("train", "valid", "test")):
        picture(tmp_path / "in" / part / "a.png", number)
        coco(tmp_path / "in" / part / "_annotations.coco.json", "a.png")
    assert sides(tmp_path) == {"valid/a.png": True, "test/a.png": "test", "train/a.png": False}


def test_one_file_may_name_images_in_the_folders_of_the_parts(tmp_path: Path) -> None:
    for number, part in enumerate(("train", "test")):
        picture(tmp_path / "in" / part / "a.png", number)
    coco(tmp_path / "in" / "all.json", "train/a.png", "test/a.png")
    assert sides(tmp_path) == {"test/a.png": True, "train/a.png": False}


def test_lines_in_a_file_a_part_are_the_split(tmp_path: Path) -> None:
    for number, part in enumerate(("train", "val")):
        picture(tmp_path / "in" / f"{part}.png", number)
        save(tmp_path / "in" / f"{part}.jsonl", json.dumps({"file": f"{part}.png", "boxes": []}).encode())
    assert sides(tmp_path) == {"val.png": True, "train.png": False}


def test_annotations_of_several_forms_are_refused(tmp_path: Path) -> None:
    coco(tmp_path / "in" / "a.json", "a.png")
    save(tmp_path / "in" / "b.jsonl", b"{}")
    with pytest.raises(InputError, match=r"several forms, \.json and \.jsonl"):
        sides(tmp_path)


# --- VOC ----------------------------------------------------------------------------------------------------

CUP = "<object><name>cup</name><bndbox><xmin>11</xmin><ymin>5</ymin><xmax>30</xmax><ymax>16</ymax></bndbox></object>"
SIZE = f"<size><width>{WIDTH}</width><height>{HEIGHT}</height><depth>3</depth></size>"


def voc(path: Path, *objects: str, name: str = "", size: str = SIZE, head: str = "") -> None:
    root = f"<annotation><folder>x</folder><filename>{name}</filename>{size}{''.join(objects)}</annotation>"
    save(path, (head + root).encode())


def voc_set(folder: Path, parts: dict[str, list[str]]) -> None:
    """A folder as the challenges have it, with lists of the images of each part."""
    for number, name in enumerate(dict.fromkeys(name for names in parts.values() for name in names)):
        picture(folder / "in" / "JPEGImages" / f"{name}.jpg", number)
        voc(folder / "in" / "Annotations" / f"{name}.xml", CUP, name=f"{name}.jpg")
    for part, names in parts.items():
        save(folder / "in" / "ImageSets" / "Main" / f"{part}.txt", "\n".join(names).encode())


@pytest.mark.parametrize("path", ["in", "in/Annotations", "in/Annotations/*.xml"])
def test_the_lists_of_voc_are_the_split(tmp_path: Path, path: str) -> None:
    voc_set(tmp_path, {"train": ["1"], "val": ["2"], "trainval": ["1", "2"]})
    assert sides(tmp_path, path) == {"JPEGImages/2.jpg": True, "JPEGImages/1.jpg": False}
    assert len(boxes_source(path).files(tmp_path)) == 2 + 3 + 2


def test_without_a_validation_list_what_is_trained_and_validated_on_is_trained_on(tmp_path: Path) -> None:
    voc_set(tmp_path, {"trainval": ["1"], "test": ["2"]})
    assert sides(tmp_path) == {"JPEGImages/2.jpg": True, "JPEGImages/1.jpg": False}


def test_voc_boxes_count_pixels_from_one(tmp_path: Path) -> None:
    picture(tmp_path / "in" / "a.png")
    edge = CUP.replace("11", "0").replace(">5<", ">1<").replace("30", str(WIDTH)).replace("16", str(HEIGHT))
    voc(tmp_path / "in" / "a.xml", CUP, edge, name="a.png")
    documents, _ = read(boxes_source("in"), tmp_path)
    assert things(documents) == [[("cup", HALF), ("cup", (0, 0, 1, 1))]]


@pytest.mark.parametrize(("name", "size"), [("gone.png", SIZE), ("", ""), ("a.png", SIZE.replace(str(WIDTH), "0"))])
def test_a_voc_image_is_found_by_the_name_of_its_annotation_and_its_size_may_be_left_out(
    tmp_path: Path, name: str, size: str
) -> None:
    picture(tmp_path / "in" / "a.png")
    voc(tmp_path / "in" / "a.xml", CUP, name=name, size=size)
    assert things(read(boxes_source("in"), tmp_path)[0]) == [[("cup", HALF)]]


def test_difficult_and_rotated_boxes_of_voc_are_read_and_said(tmp_path: Path) -> None:
    picture(tmp_path / "in" / "a.png")
    turned = "<robndbox><cx>20</cx><cy>10</cy><w>20</w><h>12</h><angle>0.0</angle></robndbox>"
    hard = CUP.replace("</name>", "</name><difficult>1</difficult>")
    voc(tmp_path / "in" / "a.xml", hard, f"<object><name>cup</name>{turned}</object>", name="a.png")
    documents, drops = read(boxes_source("in"), tmp_path)
    assert things(documents) == [[("cup", HALF)] * 2]
    assert drops.recognised == {DIFFICULT: 1, ROTATED: 1}


BOMB = '<!DOCTYPE a [<!ENTITY b "x"><!ENTITY c "&b;&b;&b;">]>'
DAMAGED: dict[str, tuple[str, str]] = {
    "entities": (BOMB + "<annotation>&c;</annotation>", "it declares a document type"),
    "outside": ('<!DOCTYPE a SYSTEM "file:///etc/passwd"><annotation/>', "it declares a document type"),
    "depth": ("<annotation>" + "<a>" * 100, "elements more than 32 deep"),
    "no XML": ("cup 1 2 3 4", "it cannot be read as XML"),
    "empty": ("", "it cannot be read as XML"),
    "other": ("<svg></svg>", "its root is 'svg'"),
    "number": (f"<annotation>{CUP.replace('11', 'left')}</annotation>", "its xmin is 'left'"),
    "no box": ("<annotation><object><name>cup</name></object></annotation>", "its xmin is ''"),
    "no class": (f"<annotation>{CUP.replace('cup', ' ')}</annotation>", "class without a name"),
    "no number": (f"<annotation>{CUP.replace('11', 'nan')}</annotation>", "box that is no number"),
    "size": (f"<annotation>{SIZE.replace('40', '41')}{CUP}</annotation>", "not of the annotated size"),
    "encoding": ('<?xml version="1.0" encoding="no-such"?><annotation/>', "it cannot be read as XML"),
    "path": ("<annotation><filename>../../etc/passwd</filename></annotation>", "image outside its folder"),
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_a_damaged_voc_annotation_is_told(tmp_path: Path, kind: str) -> None:
    content, message = DAMAGED[kind]
    picture(tmp_path / "in" / "a.png")
    save(tmp_path / "in" / "a.xml", content.encode())
    with pytest.raises(InputError, match=message):
        read(boxes_source("in"), tmp_path)


def test_a_voc_annotation_without_an_image_is_told(tmp_path: Path) -> None:
    voc(tmp_path / "in" / "a.xml", CUP, name="b.png")
    with pytest.raises(InputError, match=r"in/a.xml: missing image .*set images to their folder"):
        list(boxes_source("in").read(tmp_path, Filtered()))
