"""Annotations to images with things: each form read right, and each way in which one can be wrong told."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from groundup.codecs.detections import Detection, to_text
from groundup.core.errors import InputError
from groundup.data import document
from groundup.data.document import Document
from groundup.data.filtered import Filtered
from groundup.data.results import DocumentsResult
from groundup.data.sources.boxes import BoxesSource
from tests.data.data_helpers import BAD_IMAGES, boxes_source, encoded, save

Prepare = Callable[..., DocumentsResult]
Box = tuple[float, ...]

WIDTH, HEIGHT = 40, 20
HALF = pytest.approx((0.25, 0.2, 0.75, 0.8))  # the box that most tests draw


def read(source: BoxesSource, folder: Path) -> tuple[list[Document], Filtered]:
    drops = Filtered()
    return list(source.read(folder, drops)), drops


def things(documents: list[Document]) -> list[list[tuple[str, Box]]]:
    return [[(thing.class_name, thing.box) for thing in each.detections[0]] for each in documents if each.detections]


def picture(path: Path, seed: int = 0) -> None:
    save(path, encoded(seed, (WIDTH, HEIGHT)))


# --- the forms ----------------------------------------------------------------------------------------------


def lines(folder: Path, *rows: Any, images: int = 1) -> None:
    """boxes.jsonl, and images a0.png, a1.png, ... beside it."""
    for number in range(images):
        picture(folder / f"a{number}.png", number)
    (folder / "boxes.jsonl").write_text(
        "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows)
    )


def row(number: int = 0, *boxes: Any, kind: Any = "cup") -> dict[str, Any]:
    return {"file": f"a{number}.png", "boxes": [{"class": kind, "xyxy": box} for box in boxes]}


def coco(folder: Path, *annotations: dict[str, Any], images: list[Any] | None = None, **root: Any) -> None:
    """coco.json of annotations of one image, a0.png."""
    picture(folder / "a0.png")
    listed = [{"id": 7, "file_name": "a0.png", "width": WIDTH, "height": HEIGHT}] if images is None else images
    kinds = [{"id": 3, "name": "cup"}, {"id": 4, "name": "plate"}, {"id": 5, "name": " "}]
    content = {
        "images": listed,
        "annotations": [{"image_id": 7, "category_id": 3} | each for each in annotations],
        "categories": kinds,
        **root,
    }
    (folder / "coco.json").write_text(json.dumps(content))


def yolo(folder: Path, labels: dict[str, str], names: str = "names: [cup, plate]\n", images: int = 1) -> None:
    """A YOLO folder `in` with images a0.png, a1.png, ..."""
    for number in range(images):
        picture(folder / "in" / "images" / "train" / f"a{number}.png", number)
    for name, content in labels.items():
        save(folder / "in" / "labels" / "train" / f"{name}.txt", content.encode())
    (folder / "in" / "data.yaml").write_text(names)


def test_without_a_question_nothing_is_asked_and_things_are_there(tmp_path: Path) -> None:
    lines(tmp_path, row(0, [0.25, 0.2, 0.75, 0.8]))
    documents, _ = read(boxes_source("boxes.jsonl", question=""), tmp_path)
    assert documents[0].messages == [{"role": "user", "content": [{"type": "image"}]}] and documents[0].detections


def test_json_lines_give_a_question_an_answer_and_things(tmp_path: Path) -> None:
    lines(tmp_path, row(0, [0.25, 0.2, 0.75, 0.8]))
    documents, drops = read(boxes_source("boxes.jsonl", question="Where?"), tmp_path)
    assert documents[0].messages == [
        {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Where?"}]},
        {"role": "assistant", "content": to_text([Detection("cup", (0.25, 0.2, 0.75, 0.8))])},
    ]
    assert things(documents) == [[("cup", HALF)]]
    assert documents[0].images == (encoded(0, (WIDTH, HEIGHT)),)
    assert documents[0].origin == "a0.png"
    assert not drops.counts


def test_images_lie_where_the_source_says(tmp_path: Path) -> None:
    lines(tmp_path, row(0, [0.25, 0.2, 0.75, 0.8]), images=0)
    picture(tmp_path / "pictures" / "a0.png")
    assert len(read(boxes_source("boxes.jsonl", images="pictures"), tmp_path)[0]) == 1


@pytest.mark.parametrize(
    "drawn",
    [
        {"bbox": [10, 4, 20, 12]},
        {"bbox": [20, 10, 20, 12, 0]},
        {"bbox": [20, 10, 12, 20, 90]},
        {"segmentation": [[10, 10, 20, 4, 30, 10, 20, 16]]},
        {"segmentation": [[10, 4, 20, 4, 20, 9], [20, 9, 30, 9, 30, 16]]},
        {"segmentation": [10, 4, 30, 4, 30, 16, 10, 16]},
    ],
)
def test_coco_boxes_straight_turned_and_as_polygons(tmp_path: Path, drawn: dict[str, Any]) -> None:
    coco(tmp_path, drawn)
    documents, _ = read(boxes_source("coco.json"), tmp_path)
    assert things(documents) == [[("cup", HALF)]]


def test_a_box_turned_by_45_degrees_takes_its_bounds(tmp_path: Path) -> None:
    coco(tmp_path, {"bbox": [20, 10, 8, 8, 45]})
    half = 8 / 2**0.5
    expected = pytest.approx(((20 - half) / WIDTH, (10 - half) / HEIGHT, (20 + half) / WIDTH, (10 + half) / HEIGHT))
    assert things(read(boxes_source("coco.json"), tmp_path)[0]) == [[("cup", expected)]]


@pytest.mark.parametrize(
    "line", ["0 0.5 0.5 0.5 0.6", "0 0.25 0.2 0.75 0.2 0.75 0.8 0.25 0.8", "0 0.5 0.2 0.75 0.5 0.5 0.8 0.25 0.5"]
)
def test_yolo_boxes_straight_and_oriented(tmp_path: Path, line: str) -> None:
    yolo(tmp_path, {"a0": f"{line}\n\n"})
    documents, _ = read(boxes_source("in"), tmp_path)
    assert things(documents) == [[("cup", HALF)]]
    assert documents[0].origin == "in/images/train/a0.png"


def test_yolo_images_may_lie_in_another_folder(tmp_path: Path) -> None:
    yolo(tmp_path, {"a0": "1 0.5 0.5 0.5 0.6"}, images=0)
    picture(tmp_path / "elsewhere" / "train" / "a0.png")
    assert things(read(boxes_source("in", images="elsewhere"), tmp_path)[0]) == [[("plate", HALF)]]


def test_yolo_parts_with_folders_of_their_own_are_found(tmp_path: Path) -> None:
    yolo(tmp_path, {"a0": "0 0.5 0.5 0.5 0.6"})
    picture(tmp_path / "in" / "valid" / "images" / "b.png", 1)
    save(tmp_path / "in" / "valid" / "labels" / "b.txt", b"1 0.5 0.5 0.5 0.6\n")
    save(tmp_path / "in" / "labels" / "classes.txt", b"of another program\n")
    found = things(read(boxes_source("in"), tmp_path)[0])
    assert found == [[("plate", HALF)], [("cup", HALF)]]  # valid is held out, and first


NAMES = {
    "brackets": "path: ../x # a comment\nnames: ['cup', \"plate\"] # two\nnc: 2\n",
    "brackets over lines": "nc: 2\nnames: [cup,  # the first\n  plate\n]\ntrain: x\n",
    "braces": "names: {0: cup, 1: 'plate'}\n",
    "dashes": "names:\n- cup\n- plate\n\nval: y\n",
    "indented dashes": "names: # of classes\n  - 'cup'\n  # more\n  - plate # flat\n",
    "numbers": 'names:\n  0: cup\n  1: "plate"\nnc: 2\n',
}


@pytest.mark.parametrize("form", NAMES)
def test_the_names_of_classes_in_each_form(tmp_path: Path, form: str) -> None:
    yolo(tmp_path, {"a0": "0 0.5 0.5 0.5 0.6\n1 0.5 0.5 0.5 0.6\n"}, NAMES[form])
    assert things(read(boxes_source("in"), tmp_path)[0]) == [[("cup", HALF), ("plate", HALF)]]


def test_names_keep_spaces_and_quotes(tmp_path: Path) -> None:
    yolo(tmp_path, {"a0": "0 0.5 0.5 0.5 0.6\n1 0.5 0.5 0.5 0.6\n"}, "names: [traffic light, 'man''s hat']\n")
    assert things(read(boxes_source("in"), tmp_path)[0]) == [[("traffic light", HALF), ("man's hat", HALF)]]


@pytest.mark.parametrize(
    "names",
    [
        "nc: 2\n",
        "names: cup\n",
        "names: []\n",
        "names: [cup, [plate]]\n",
        "names: [cup, 'plate]\n",
        "names: {cup, plate}\n",
        "names: [0: cup]\n",
        "names: &x [cup]\n",
        "names:\n  - cup\n  1: plate\n",
        "names:\n  0: cup\n  0: plate\n",
        "names:\n  - *x\n",
        "names:\n  - a: b\n",
        'names: ["a\\n"]\n',
        "names: [a]\nnames: [b]\n",
    ],
)
def test_names_that_cannot_be_read_are_refused(tmp_path: Path, names: str) -> None:
    yolo(tmp_path, {"a0": "0 0.5 0.5 0.5 0.6\n"}, names)
    with pytest.raises(InputError, match=r"data.yaml: .*names?"):
        read(boxes_source("in"), tmp_path)


def test_a_list_of_classes_beside_the_labels_will_do(tmp_path: Path) -> None:
    yolo(tmp_path, {"a0": "1 0.5 0.5 0.5 0.6\n"})
    (tmp_path / "in" / "data.yaml").unlink()
    with pytest.raises(InputError, match=r"neither data.yaml nor classes.txt"):
        read(boxes_source("in"), tmp_path)
    for first in ("cup", "tea\x0bcup", "tea\x85cup", "tea\u2028cup"):  # only a line feed ends a line
        (tmp_path / "in" / "classes.txt").write_text(f"{first}\nplate\n", encoding="utf-8")
        assert things(read(boxes_source("in"), tmp_path)[0]) == [[("plate", HALF)]]


# --- nothing there ------------------------------------------------------------------------------------------


def test_listed_images_without_boxes_show_nothing(tmp_path: Path) -> None:
    lines(tmp_path, row(0))
    coco(tmp_path)
    yolo(tmp_path, {"a0": ""}, images=2)
    for path in ("boxes.jsonl", "coco.json", "in"):
        documents, _ = read(boxes_source(path), tmp_path)
        assert [each.detections for each in documents] == [((),)]
        assert documents[0].messages is not None
        assert documents[0].messages[-1]["content"] == "nothing"


def test_an_image_without_a_label_file_is_left_out_and_counted(tmp_path: Path) -> None:
    yolo(tmp_path, {"a0": ""}, images=2)
    assert read(boxes_source("in"), tmp_path)[1].counts == {"image without label file": 1}


# --- damage -------------------------------------------------------------------------------------------------


GOOD: list[Any] = [row(0, [0.25, 0.2, 0.75, 0.8])] * 4

BAD_LINES: dict[str, tuple[Any, str]] = {
    "missing": ({"file": "gone.png", "boxes": []}, "missing image"),
    "above": ({"file": "../a0.png", "boxes": []}, "image outside its folder"),
    "absolute": ({"file": "/etc/passwd", "boxes": []}, "image outside its folder"),
    "endless name": ({"file": "a" * 5000, "boxes": []}, "missing image"),
    "half a character": ({"file": "a\ud800.png", "boxes": []}, "image outside its folder"),
    "no file": ({"boxes": []}, "broken annotation"),
    "file no text": ({"file": 7, "boxes": []}, "broken annotation"),
    "left of it": (row(0, [-0.02, 0, 0.5, 0.5]), "box outside its image"),
    "below it": (row(0, [0, 0, 0.5, 1.02]), "box outside its image"),
    "pixels": (row(0, [10, 4, 30, 16]), "box outside its image"),
    "in the margin": (row(0, [1.001, 0, 1.005, 0.5]), "box outside its image"),
    "no width": (row(0, [0.5, 0, 0.5, 0.5]), "box of no area"),
    "no height": (row(0, [0, 0.5, 0.5, 0.5]), "box of no area"),
    "swapped": (row(0, [0.75, 0.8, 0.25, 0.2]), "box of no area"),
    "one of two": (row(0, [0.1, 0.1, 0.5, 0.5], [0.5, 0, 0.5, 0.5]), "box of no area"),
    "NaN": ('{"file": "a0.png", "boxes": [{"class": "cup", "xyxy": [0, 0, NaN, 0.5]}]}', "broken line"),
    "infinite": ('{"file": "a0.png", "boxes": [{"class": "cup", "xyxy": [0, 0, Infinity, 0.5]}]}', "broken line"),
    "endless": (row(0, [0, 0, 10**400, 0.5]), "box that is no number"),
    "three numbers": (row(0, [0, 0, 0.5]), "broken annotation"),
    "texts": (row(0, ["0", 0, 0.5, 0.5]), "broken annotation"),
    "truths": (row(0, [False, 0, True, 0.5]), "broken annotation"),
    "box no object": ({"file": "a0.png", "boxes": [[0, 0, 1, 1]]}, "broken annotation"),
    "no class": (row(0, [0, 0, 0.5, 0.5], kind=None), "class without a name"),
    "empty class": (row(0, [0, 0, 0.5, 0.5], kind=" "), "class without a name"),
    "class with a mark": (row(0, [0, 0, 0.5, 0.5], kind="a;b"), "class that cannot be written"),
    "not JSON": ("{broken", "broken line"),
    "list": ("[]", "broken line"),
    "no boxes": ({"file": "a0.png"}, "broken line"),
    "too deep": ("[" * 100_000, "broken line"),
}


@pytest.mark.parametrize("kind", BAD_LINES)
def test_a_bad_line_drops_its_image_and_is_named(tmp_path: Path, kind: str) -> None:
    bad, reason = BAD_LINES[kind]
    lines(tmp_path, *GOOD, bad)
    documents, drops = read(boxes_source("boxes.jsonl", bad_share=0.2), tmp_path)
    assert (len(documents), drops.counts) == (4, {reason: 1})
    assert drops.examples[0].startswith(f"boxes.jsonl:5: {reason}")
    with pytest.raises(InputError, match=rf"1 of 5 images cannot be used.*the first is boxes.jsonl:5: {reason}"):
        read(boxes_source("boxes.jsonl", bad_share=0.1), tmp_path)


@pytest.mark.parametrize("kind", BAD_IMAGES)
def test_a_bad_image_is_damage_here_too(tmp_path: Path, kind: str) -> None:
    content, reason = BAD_IMAGES[kind]
    lines(tmp_path, *GOOD, row(9, [0, 0, 0.5, 0.5]))
    save(tmp_path / "a9.png", content)
    assert read(boxes_source("boxes.jsonl", bad_share=0.2), tmp_path)[1].counts == {reason: 1}


def test_a_box_that_sticks_out_by_rounding_is_clipped(tmp_path: Path) -> None:
    lines(tmp_path, row(0, [-0.009, 0, 0.5, 1.009]))
    assert things(read(boxes_source("boxes.jsonl"), tmp_path)[0]) == [[("cup", (0, 0, 0.5, 1))]]


BAD_ANNOTATIONS: dict[str, tuple[dict[str, Any], str]] = {
    "outside": ({"bbox": [30, 0, 11, 10]}, "box outside its image"),
    "no area": ({"bbox": [10, 4, 0, 12]}, "box of no area"),
    "negative": ({"bbox": [10, 4, -5, 12]}, "box of no area"),
    "NaN": ({"bbox": [10, 4, float("nan"), 12]}, "box that is no number"),
    "NaN angle": ({"bbox": [10, 4, 5, 12, float("nan")]}, "box that is no number"),
    "NaN point": ({"segmentation": [[10, 4, 20, float("nan"), 20, 9]]}, "box that is no number"),
    "no box": ({}, "broken annotation"),
    "three numbers": ({"bbox": [1, 2, 3]}, "broken annotation"),
    "run lengths alone": ({"segmentation": {"counts": [1, 2], "size": [20, 40]}}, "broken annotation"),
    "unknown class": ({"bbox": [10, 4, 20, 12], "category_id": 99}, "class without a name"),
    "nameless class": ({"bbox": [10, 4, 20, 12], "category_id": 5}, "class without a name"),
    "class a list": ({"bbox": [10, 4, 20, 12], "category_id": []}, "class without a name"),
    "ignored": ({"bbox": [10, 4, 20, 12], "ignore": 1}, "annotation to be ignored"),
    "ignored in attributes": ({"bbox": [10, 4, 20, 12], "attributes": {"ignore": True}}, "annotation to be ignored"),
    "a rotation in words": ({"bbox": [10, 4, 20, 12], "rotation": "left"}, "broken annotation"),
    "NaN rotation": ({"bbox": [10, 4, 20, 12], "attributes": {"rotation": float("nan")}}, "box that is no number"),
}


@pytest.mark.parametrize("kind", BAD_ANNOTATIONS)
def test_a_bad_coco_annotation_drops_its_image(tmp_path: Path, kind: str) -> None:
    bad, reason = BAD_ANNOTATIONS[kind]
    coco(tmp_path, {"bbox": [10, 4, 20, 12]}, bad)
    documents, drops = read(boxes_source("coco.json", bad_share=1), tmp_path)
    assert (len(documents), drops.counts) == (0, {reason: 1})
    assert drops.examples[0].startswith(f"coco.json: images[0] a0.png: {reason}")


def test_what_coco_says_and_nobody_reads_is_told(tmp_path: Path) -> None:
    more = {
        "score": 0.1,
        "attributes": {"rotation": 0.0, "occluded": True},
        "ignore": 0,
        "area": 240,
        "iscrowd": 0,
        "keypoints": [],
    }
    image = {"id": 7, "file_name": "a0.png", "width": WIDTH, "height": HEIGHT, "neg_category_ids": [4], "license": None}
    coco(tmp_path, {"bbox": [10, 4, 20, 12]} | more, images=[image])
    documents, drops = read(boxes_source("coco.json"), tmp_path)
    assert (len(documents), drops.unread) == (1, {"score", "attributes", "ignore", "neg_category_ids"})


def test_a_coco_file_that_says_two_things_is_refused(tmp_path: Path) -> None:
    coco(tmp_path, {"bbox": [10, 4, 20, 12]}, categories=[{"id": 3, "name": "cup"}, {"id": 3, "name": "plate"}])
    with pytest.raises(InputError, match="the category 3 has two names, 'cup' and 'plate'"):
        read(boxes_source("coco.json"), tmp_path)
    (tmp_path / "coco.json").write_text('{"images": [], "images": [], "annotations": [], "categories": []}')
    with pytest.raises(InputError, match="the key 'images' stands twice"):
        read(boxes_source("coco.json"), tmp_path)


BAD_ENTRIES: dict[str, tuple[Any, str]] = {
    "missing": ({"id": 1, "file_name": "gone.png"}, "missing image"),
    "above": ({"id": 1, "file_name": "../a0.png"}, "image outside its folder"),
    "no name": ({"id": 1}, "broken annotation"),
    "no id": ({"file_name": "a0.png"}, "broken annotation"),
    "same id": ({"id": 7, "file_name": "a0.png"}, "broken annotation"),
    "no object": (7, "broken annotation"),
    "another size": ({"id": 1, "file_name": "a0.png", "width": HEIGHT, "height": WIDTH}, "not of the annotated size"),
}


@pytest.mark.parametrize("kind", BAD_ENTRIES)
def test_a_bad_coco_image_is_damage(tmp_path: Path, kind: str) -> None:
    bad, reason = BAD_ENTRIES[kind]
    coco(tmp_path, {"bbox": [10, 4, 20, 12]}, images=[{"id": 7, "file_name": "a0.png"}, bad])
    documents, drops = read(boxes_source("coco.json", bad_share=0.5), tmp_path)
    assert (len(documents), drops.counts) == (1, {reason: 1})
    assert drops.examples[0].startswith("coco.json: images[1]")


@pytest.mark.parametrize(
    ("annotation", "reason"), [({"image_id": 99}, "missing image"), ({"image_id": None}, "broken annotation")]
)
def test_a_coco_annotation_of_no_image_is_damage(tmp_path: Path, annotation: dict[str, Any], reason: str) -> None:
    coco(tmp_path, {"bbox": [10, 4, 20, 12]}, {"bbox": [10, 4, 20, 12]} | annotation)
    documents, drops = read(boxes_source("coco.json", bad_share=0.5), tmp_path)
    assert (len(documents), drops.counts) == (1, {reason: 1})


@pytest.mark.parametrize(
    "root",
    [
        "[]",
        "7",
        '{"images": [], "annotations": []}',
        '{"images": {}, "annotations": [], "categories": []}',
        "{broken",
        "[" * 100_000,
    ],
)
def test_coco_of_another_shape_is_refused_naming_the_file(tmp_path: Path, root: str) -> None:
    (tmp_path / "coco.json").write_text(root)
    with pytest.raises(
        InputError, match=r"coco.json(: no list '\w+' at its top; a COCO file is| cannot be read as JSON)"
    ):
        read(boxes_source("coco.json"), tmp_path)


BAD_LABELS = {
    "outside": ("0 0.9 0.5 0.5 0.6", "box outside its image"),
    "no area": ("0 0.5 0.5 0 0.6", "box of no area"),
    "corners in a line": ("0 0.1 0.1 0.2 0.1 0.3 0.1 0.4 0.1", "box of no area"),
    "NaN": ("0 nan 0.5 0.5 0.6", "box that is no number"),
    "NaN corner": ("0 0.1 0.1 0.5 nan 0.5 0.5 0.1 0.5", "box that is no number"),
    "class of no name": ("2 0.5 0.5 0.5 0.6", "class without a name"),
    "negative class": ("-1 0.5 0.5 0.5 0.6", "class without a name"),
    "words": ("cup 0.5 0.5 0.5 0.6", "broken annotation"),
    "five numbers": ("0 0.5 0.5 0.5 0.6 0.9", "broken annotation"),
    "no numbers": ("0", "broken annotation"),
    "binary": ("0 0.5 0.5 0.5 \udce9", "broken annotation"),
}


@pytest.mark.parametrize("kind", BAD_LABELS)
def test_a_bad_label_drops_its_image(tmp_path: Path, kind: str) -> None:
    line, reason = BAD_LABELS[kind]
    yolo(tmp_path, {"a0": "0 0.5 0.5 0.5 0.6"}, images=2)
    save(
        tmp_path / "in" / "labels" / "train" / "a1.txt", f"0 0.5 0.5 0.5 0.6\n{line}\n".encode(errors="surrogateescape")
    )
    documents, drops = read(boxes_source("in", bad_share=0.5), tmp_path)
    assert (len(documents), drops.counts) == (1, {reason: 1})
    assert drops.examples[0].startswith(f"in/labels/train/a1.txt: {reason}")


def test_a_label_file_without_image_is_damage(tmp_path: Path) -> None:
    yolo(tmp_path, {"a0": "0 0.5 0.5 0.5 0.6", "gone": "0 0.5 0.5 0.5 0.6"})
    documents, drops = read(boxes_source("in", bad_share=0.5), tmp_path)
    assert (len(documents), drops.counts) == (1, {"label file without image": 1})
    assert drops.examples == ["in/labels/train/gone.txt: label file without image"]


def test_a_file_that_is_no_annotation_is_refused(tmp_path: Path) -> None:
    save(tmp_path / "boxes.yml", b"<x/>")
    with pytest.raises(InputError, match=r"boxes.yml is no annotation; expected a COCO .json"):
        read(boxes_source("boxes.yml"), tmp_path)


# --- lists and the account ----------------------------------------------------------------------------------


def test_lists_hold_out_and_leave_out_by_image(tmp_path: Path) -> None:
    lines(tmp_path, row(0), row(1, [0.5, 0, 0.5, 0.5]), row(2), images=3)
    (tmp_path / "test.txt").write_text("a2.png\n")
    (tmp_path / "no.txt").write_text("a1\n")
    documents, drops = read(boxes_source("boxes.jsonl", heldout_files="test.txt", without_files="no.txt"), tmp_path)
    assert [(each.origin, each.heldout) for each in documents] == [("a2.png", True), ("a0.png", False)]
    assert drops.counts == {"listed in without_files": 1}


def test_the_files_to_hash_are_annotations_images_and_lists(tmp_path: Path) -> None:
    lines(tmp_path, row(0), row(0), row(5), {"file": "a" * 5000, "boxes": []}, images=2)
    yolo(tmp_path, {"a0": ""}, images=1)
    assert [path.name for path in boxes_source("boxes.jsonl", without_files="no.txt").files(tmp_path)] == [
        "boxes.jsonl",
        "a0.png",
        "no.txt",
    ]
    assert [path.name for path in boxes_source("in").files(tmp_path)] == ["data.yaml", "a0.txt", "a0.png"]


def test_the_account_names_the_kinds_of_things_and_the_file_keeps_them(tmp_path: Path, prepare: Prepare) -> None:
    lines(tmp_path, row(0, [0.25, 0.2, 0.75, 0.8]), row(1, [0, 0, 1, 1], kind="a\tplate"), images=2)
    report = prepare(boxes_source("boxes.jsonl"))
    assert (report.images, report.detection_classes) == (2, ["a plate", "cup"])
    assert report.image_classes == []
    assert things(list(document.read(tmp_path / "out" / "documents.parquet"))) == [
        [("cup", HALF)],
        [("a plate", (0, 0, 1, 1))],
    ]
