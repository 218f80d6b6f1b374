"""The split that files bring along: train, val and test as folders, tables and annotations."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from groundup.core.errors import InputError
from groundup.data import given_split
from groundup.data.document import Document, measured, read
from groundup.data.filtered import Filtered
from groundup.data.prepare import write_documents
from groundup.data.results import DocumentsResult
from groundup.data.source import Source
from groundup.evaluate.texts import conversations
from tests.data.data_helpers import encoded, ignore, images_source, save
from tests.data.test_tables import save_dataset


def tree(folder: Path, *parts: str, kinds: tuple[str, ...] = ("cats", "dogs")) -> None:
    """Two images a part and class."""
    for number, part in enumerate(parts):
        for place, kind in enumerate(kinds):
            for copy in range(2):
                save(folder / part / kind / f"{copy}.png", encoded(100 * number + 10 * place + copy))


def sides(source: Source, folder: Path) -> tuple[dict[str, bool], Filtered]:
    """Whether each image that is read is held out, by its origin."""
    drops = Filtered()
    return {each.origin: each.heldout for each in source.read(folder, drops)}, drops


def prepared(source: Source, folder: Path) -> DocumentsResult:
    return write_documents(source, folder, folder / "out", ignore)


def answers(documents: list[Document]) -> set[str]:
    return {each.messages[-1]["content"] for each in documents if each.messages}


@pytest.mark.parametrize(
    ("parts", "held", "left"),
    [
        (("Train", "Valid"), "Valid", ""),
        (("train2017", "val2017"), "val2017", ""),
        (("train", "test"), "test", ""),
        (("train", "test", "more"), "test", "more"),
    ],
)
def test_folders_above_the_classes_are_the_split(tmp_path: Path, parts: tuple[str, ...], held: str, left: str) -> None:
    tree(tmp_path / "in", *parts)
    found, drops = sides(images_source("in"), tmp_path)
    assert {origin for origin, heldout in found.items() if heldout} == {
        f"in/{held}/{kind}/{copy}.png" for kind in ("cats", "dogs") for copy in range(2)
    }
    assert not any(f"/{left}/" in origin for origin in found if left)
    assert len(drops.recognised) == len(parts)
    assert set(drops.recognised.values()) == {4}
    result = prepared(images_source("in", heldout_share=0.5), tmp_path)
    assert (result.heldout, result.documents, result.image_classes) == (4, 8, ["cats", "dogs"])
    assert result.recognised == dict(drops.recognised)


def test_what_each_part_is_used_for_is_said(tmp_path: Path) -> None:
    tree(tmp_path / "in", "train", "val", "test")
    assert prepared(images_source("in"), tmp_path).recognised == {
        "images of train: trained on": 4,
        "images of val: held out": 4,
        "images of test: for the last measurement alone": 4,
    }


@pytest.mark.parametrize("parts", [("train", "val", "test"), ("training", "validation", "testing")])
def test_a_test_part_is_for_the_last_measurement(tmp_path: Path, parts: tuple[str, str, str]) -> None:
    """It lies beside the documents, so that neither training nor the held-out loss sees it, and suites measure it."""
    tree(tmp_path / "in", *parts)
    save(tmp_path / "in" / parts[0] / "cats" / "copy.png", encoded(200))  # what the test part has too
    result = prepared(images_source("in"), tmp_path)
    assert (result.documents, result.heldout, result.test) == (8, 4, 4)
    assert result.dropped == {"exact duplicate": 1}
    stored = tmp_path / "out" / "documents.parquet"
    assert {each.origin.split("/")[1] for each in read(stored)} == {*parts[:2]}
    tested = list(read(measured(stored), heldout=True))
    assert {each.origin.split("/")[1] for each in tested} == {parts[2]}
    assert len(list(conversations(stored, heldout=True, limit=9, images=True))) == 4
    assert len(list(conversations(stored, heldout=False, limit=9, images=True))) == 4


def test_a_test_part_that_is_gone_leaves_no_file(tmp_path: Path) -> None:
    tree(tmp_path / "in", "train", "val", "test")
    prepared(images_source("in"), tmp_path)
    prepared(images_source("in", heldout_part="val"), tmp_path)
    assert measured(tmp_path / "out" / "documents.parquet").name == "documents.parquet"


def test_saved_splits_of_images_are_used_as_such(tmp_path: Path) -> None:
    for number, split in enumerate(("train", "validation", "test")):
        rows: list[dict[str, Any]] = [{"image": {"bytes": encoded(number), "path": "a"}, "label": "cats"}]
        save_dataset(tmp_path / "set" / split, [pa.Table.from_pylist(rows)])
    (tmp_path / "set" / "dataset_dict.json").write_text('{"splits": ["train", "validation", "test"]}')
    found = {(each.heldout, each.test) for each in images_source("set").read(tmp_path, Filtered())}
    assert found == {(False, False), (True, False), (True, True)}


def test_the_part_to_hold_out_can_be_chosen(tmp_path: Path) -> None:
    tree(tmp_path / "in", "train", "val", "test")
    found, _ = sides(images_source("in", heldout_part="test"), tmp_path)
    assert {origin.split("/")[1] for origin, heldout in found.items() if heldout} == {"test"}
    assert {origin.split("/")[1] for origin in found} == {"train", "test"}


def test_a_part_that_is_not_there_is_refused(tmp_path: Path) -> None:
    tree(tmp_path / "in", "train", "val")
    with pytest.raises(InputError, match="heldout_part = 'test', but its files are of train and val"):
        sides(images_source("in", heldout_part="test"), tmp_path)


@pytest.mark.parametrize("path", ["in/train", "in/train/*/*.png"])
def test_one_part_alone_is_split_by_content(tmp_path: Path, path: str) -> None:
    tree(tmp_path / "in", "train", "val")
    found, drops = sides(images_source(path), tmp_path)
    assert set(found.values()) == {False}
    assert not drops.recognised


@pytest.mark.parametrize("kinds", [("train", "test"), ("val", "train")])
def test_classes_may_be_called_like_parts(tmp_path: Path, kinds: tuple[str, ...]) -> None:
    tree(tmp_path, "in", kinds=kinds)
    drops = Filtered()
    assert answers(list(images_source("in").read(tmp_path, drops))) == set(kinds)
    assert not drops.recognised


def test_images_alone_are_split_by_their_own_folder(tmp_path: Path) -> None:
    for number, part in enumerate(("train", "val")):
        save(tmp_path / "in" / part / "a.png", encoded(number))
    found, _ = sides(images_source("in", classes="none"), tmp_path)
    assert found == {"in/val/a.png": True, "in/train/a.png": False}


def test_an_image_beside_the_classes_of_a_part_has_none(tmp_path: Path) -> None:
    tree(tmp_path / "in", "train", "val")
    save(tmp_path / "in" / "train" / "stray.png", encoded(99))
    _, drops = sides(images_source("in", bad_share=0.5), tmp_path)
    assert drops.counts == {"class without a name": 1}


def test_what_is_in_no_part_is_left_out_and_counted(tmp_path: Path) -> None:
    tree(tmp_path / "in", "train", "val", "more")
    found, drops = sides(images_source("in"), tmp_path)
    assert not any("/more/" in origin for origin in found)
    assert drops.recognised["images of no part of the split: left out: neither trained on nor held out"] == 4


def test_a_list_goes_before_the_folders(tmp_path: Path) -> None:
    tree(tmp_path / "in", "train", "test")
    (tmp_path / "held.txt").write_text("train/cats/0.png\n")
    found, drops = sides(images_source("in", heldout_files="held.txt"), tmp_path)
    assert [origin for origin, heldout in found.items() if heldout] == ["in/train/cats/0.png"]
    assert len(found) == 8
    assert not drops.recognised


def test_a_training_image_that_is_held_out_too_is_dropped(tmp_path: Path) -> None:
    tree(tmp_path / "in", "train", "val")
    save(tmp_path / "in" / "train" / "cats" / "copy.png", encoded(100, (48, 48)))
    save(tmp_path / "in" / "val" / "cats" / "copy.png", encoded(100, (96, 96)))
    result = prepared(images_source("in"), tmp_path)
    assert result.dropped == {"near duplicate of a held-out image": 1}


@pytest.mark.parametrize(
    "names", [("train.parquet", "test.parquet"), ("data/train-00000-of-00001.parquet", "data/test-0.parquet")]
)
def test_tables_are_the_split_by_their_names(tmp_path: Path, names: tuple[str, str]) -> None:
    for number, name in enumerate(names):
        rows: list[dict[str, Any]] = [{"image": {"bytes": encoded(number), "path": "a"}, "label": "cats"}]
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / "in" / name)
    found, _ = sides(images_source("in"), tmp_path)
    assert found == {f"in/{names[1]}:1": True, f"in/{names[0]}:1": False}


@pytest.mark.parametrize(
    ("names", "part"),
    [(["a", "VALID"], "val"), (["trains"], ""), (["t10k"], "test"), (["train2"], ""), (["test"], "test"), ([], "")],
)
def test_names_of_parts(names: list[str], part: str) -> None:
    assert given_split.part_of(names) == part


# --- lists --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("line", ["a b.png", '"a b.png" 3', "'a b' 3", "cats/a b.PNG", "plain.png 3", "plain 3"])
def test_a_list_names_files_with_spaces(tmp_path: Path, line: str) -> None:
    name = "plain.png" if "plain" in line else "a b.PNG" if "PNG" in line else "a b.png"
    save(tmp_path / "in" / "cats" / name, encoded(1))
    save(tmp_path / "in" / "cats" / "other.png", encoded(2))
    (tmp_path / "held.txt").write_text(f"{line}\n")
    found, _ = sides(images_source("in", heldout_files="held.txt"), tmp_path)
    assert [origin for origin, heldout in found.items() if heldout] == [f"in/cats/{name}"]


# --- names --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["JPG", "Jpeg", "jfif", "JPE"])
def test_a_suffix_is_read_in_any_case(tmp_path: Path, suffix: str) -> None:
    save(tmp_path / "in" / "cats" / f"a.{suffix}", encoded(1, form="JPEG"))
    assert len(sides(images_source("in"), tmp_path)[0]) == 1


def test_a_format_that_is_not_read_is_named(tmp_path: Path) -> None:
    tree(tmp_path, "in")
    save(tmp_path / "in" / "cats" / "phone.HEIC", b"\0\0\0\x18ftypheic")
    with pytest.raises(InputError, match=r"phone\.HEIC: not an image"):
        sides(images_source("in"), tmp_path)


def test_a_class_whose_folder_is_no_utf8_is_read_as_latin_1(tmp_path: Path) -> None:
    try:
        save(tmp_path / "in" / "caf\udce9 1" / "a b.png", encoded(1))
    except OSError:
        pytest.skip("this file system takes no such name")
    result = prepared(images_source("in"), tmp_path)
    assert (result.documents, result.image_classes) == (1, ["café 1"])
