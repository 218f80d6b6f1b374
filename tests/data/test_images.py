"""Image files and tables of images to documents: what becomes of each kind, and how each bad one is told."""

import base64
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from groundup.codecs.image import MOST_BYTES
from groundup.core.errors import InputError
from groundup.data import document
from groundup.data.document import Document
from groundup.data.filtered import Filtered
from groundup.data.results import DocumentsResult
from groundup.data.source import Source
from tests.data.data_helpers import BAD_IMAGES, encoded, images_source, messages_source, save

Prepare = Callable[..., DocumentsResult]


def read(source: Source, folder: Path) -> tuple[list[Document], Filtered]:
    drops = Filtered()
    return list(source.read(folder, drops)), drops


def animals(folder: Path, count: int = 3) -> None:
    for number in range(count):
        for place, kind in enumerate(("cats", "dogs")):
            save(folder / kind / f"{kind[0]}{number}.png", encoded(10 * number + place))


def answers(documents: list[Document]) -> list[str]:
    return [each.messages[-1]["content"] for each in documents if each.messages]


# --- folders ------------------------------------------------------------------------------------------------


def test_the_folder_that_an_image_lies_in_is_the_answer(tmp_path: Path) -> None:
    animals(tmp_path / "in" / "deep")
    documents, drops = read(images_source("in", question="Who?"), tmp_path)
    assert answers(documents) == ["cats"] * 3 + ["dogs"] * 3
    assert documents[0].messages == [
        {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Who?"}]},
        {"role": "assistant", "content": "cats"},
    ]
    assert documents[0].images == (encoded(0),)
    assert documents[0].origin == "in/deep/cats/c0.png"
    assert not drops.counts


def test_images_alone_are_documents_without_text(tmp_path: Path) -> None:
    animals(tmp_path)
    documents, _ = read(images_source(".", classes="none"), tmp_path)
    assert {(each.text, each.messages, len(each.images)) for each in documents} == {("", None, 1)}


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("in/*/*.png", {"cats", "dogs"}),
        ("in/**/*.png", {"cats", "dogs"}),
        ("in/cats/*.png", {"cats"}),
        ("in/cats/c0.png", {"cats"}),
    ],
)
def test_a_pattern_reads_what_it_matches(tmp_path: Path, pattern: str, expected: set[str]) -> None:
    animals(tmp_path / "in")
    assert set(answers(read(images_source(pattern), tmp_path)[0])) == expected


@pytest.mark.parametrize("pattern", ["in", "in/**/*.png"])
def test_an_image_directly_in_the_folder_has_no_class(tmp_path: Path, pattern: str) -> None:
    animals(tmp_path / "in")
    save(tmp_path / "in" / "stray.png", encoded(99))
    documents, drops = read(images_source(pattern, bad_share=0.2), tmp_path)
    assert (len(documents), drops.counts) == (6, {"class without a name": 1})
    assert drops.examples[0].startswith("in/stray.png: class without a name (put it in a folder")


@pytest.mark.parametrize("kind", BAD_IMAGES)
def test_a_bad_image_is_counted_under_the_share_and_named(tmp_path: Path, kind: str) -> None:
    animals(tmp_path)
    content, reason = BAD_IMAGES[kind]
    save(tmp_path / "cats" / "x.jpg", content)
    documents, drops = read(images_source(".", bad_share=0.15), tmp_path)
    assert (len(documents), drops.counts) == (6, {reason: 1})
    assert drops.examples[0].startswith(f"cats/x.jpg: {reason} (")


@pytest.mark.parametrize("kind", BAD_IMAGES)
def test_bad_images_over_the_share_refuse_the_source_naming_the_first(tmp_path: Path, kind: str) -> None:
    animals(tmp_path)
    content, reason = BAD_IMAGES[kind]
    save(tmp_path / "cats" / "x.jpg", content)
    with pytest.raises(
        InputError,
        match=rf"1 of 7 images cannot be used, more than bad_share = 0.01 allows; the first is cats/x.jpg: {reason}",
    ):
        read(images_source("."), tmp_path)


def test_a_link_to_nowhere_is_a_missing_image(tmp_path: Path) -> None:
    animals(tmp_path)
    (tmp_path / "cats" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    assert read(images_source(".", bad_share=0.15), tmp_path)[1].counts == {"missing image": 1}


def test_a_file_over_the_limit_is_not_read(tmp_path: Path) -> None:
    animals(tmp_path)
    (tmp_path / "cats" / "huge.png").touch()
    os.truncate(tmp_path / "cats" / "huge.png", MOST_BYTES + 1)
    assert read(images_source(".", bad_share=0.15), tmp_path)[1].counts == {"too large": 1}


def test_the_content_decides_and_not_the_name(tmp_path: Path) -> None:
    save(tmp_path / "cats" / "a.jpg", encoded(1))
    save(tmp_path / "cats" / "b.PNG", encoded(2, form="JPEG"))
    assert len(read(images_source("."), tmp_path)[0]) == 2


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    with pytest.raises(InputError, match=r"source 'photos': path 'in'.*correct the path"):
        read(images_source("in"), tmp_path)


# --- lists --------------------------------------------------------------------------------------------------


def test_listed_images_are_held_out_and_come_first(tmp_path: Path) -> None:
    animals(tmp_path / "in")
    (tmp_path / "test.txt").write_text("# name class\nc1.png 1 1\n\n./in/dogs/d0.png\t2\nd2 2\n")
    documents, _ = read(images_source("in", heldout_files="test.txt"), tmp_path)
    assert [each.origin for each in documents if each.heldout] == ["in/cats/c1.png", "in/dogs/d0.png", "in/dogs/d2.png"]
    assert [each.heldout for each in documents] == [True] * 3 + [False] * 3


@pytest.mark.parametrize(
    "line",
    ["my cat 1.JPG", "cats/my cat 1.JPG 2", "my cat 1.JPG\t2", "./cats/my cat 1.JPG,2", "my cat 1", " my cat 1 "],
)
def test_listed_names_may_have_spaces(tmp_path: Path, line: str) -> None:
    animals(tmp_path)
    save(tmp_path / "cats" / "my cat 1.JPG", encoded(50))
    (tmp_path / "test.txt").write_text(f"{line}\nd1 2\n")
    documents, _ = read(images_source(".", heldout_files="test.txt"), tmp_path)
    assert [each.origin for each in documents if each.heldout] == ["cats/my cat 1.JPG", "dogs/d1.png"]


def test_images_to_leave_out_are_counted_and_never_read(tmp_path: Path) -> None:
    animals(tmp_path)
    save(tmp_path / "cats" / "bad.png", b"")
    (tmp_path / "no.txt").write_text("cats/bad.png\nc0.png\n")
    (tmp_path / "test.txt").write_text("d1.png\n")
    documents, drops = read(images_source(".", without_files="no.txt", heldout_files="test.txt"), tmp_path)
    assert (len(documents), drops.counts) == (5, {"listed in without_files": 2})


def test_a_list_that_does_not_fit_is_told_before_images_are_read(tmp_path: Path) -> None:
    animals(tmp_path)
    (tmp_path / "list.txt").write_text("unicorn.png\n")
    with pytest.raises(InputError, match="unicorn"):
        next(images_source(".", without_files="list.txt").read(tmp_path, Filtered()))


@pytest.mark.parametrize("key", ["heldout_files", "without_files"])
def test_a_listed_name_without_an_image_is_refused_naming_list_and_line(tmp_path: Path, key: str) -> None:
    animals(tmp_path)
    (tmp_path / "list.txt").write_text("c1.png\nunicorn.png\n")
    with pytest.raises(
        InputError, match=r"source 'photos': list.txt:2: 'unicorn.png' is none of its images; correct or remove"
    ):
        read(images_source(".", **{key: "list.txt"}), tmp_path)


def test_a_listed_name_that_fits_two_images_is_refused(tmp_path: Path) -> None:
    for number, kind in enumerate(("cats", "dogs")):
        save(tmp_path / kind / "1.png", encoded(number))
    (tmp_path / "list.txt").write_text("1.png\n")
    with pytest.raises(InputError, match=r"list.txt:1: '1.png' fits both cats/1.png and dogs/1.png; write more"):
        read(images_source(".", heldout_files="list.txt"), tmp_path)


def test_an_image_in_both_lists_is_refused(tmp_path: Path) -> None:
    animals(tmp_path)
    (tmp_path / "a.txt").write_text("c1.png\n")
    (tmp_path / "b.txt").write_text("cats/c1.png\n")
    with pytest.raises(InputError, match=r"a.txt:1 and b.txt:1 both list cats/c1.png"):
        read(images_source(".", heldout_files="a.txt", without_files="b.txt"), tmp_path)


@pytest.mark.parametrize(
    ("content", "message"), [(None, "cannot be read"), (b"caf\xe9", "cannot be read"), (b"\n", "names no image")]
)
def test_a_list_that_says_nothing_is_refused(tmp_path: Path, content: bytes | None, message: str) -> None:
    animals(tmp_path)
    if content is not None:
        save(tmp_path / "list.txt", content)
    with pytest.raises(InputError, match=rf"the list .*list.txt {message}"):
        read(images_source(".", heldout_files="list.txt"), tmp_path)


def test_the_files_to_hash_are_the_images_and_the_lists(tmp_path: Path) -> None:
    animals(tmp_path / "in", 1)
    found = images_source("in", heldout_files="a.txt", without_files="b.txt").files(tmp_path)
    assert [path.name for path in found] == ["c0.png", "d0.png", "a.txt", "b.txt"]


# --- tables of images ---------------------------------------------------------------------------------------


def table(labels: list[Any] | None = None, names: list[str] | None = None, rows: int = 3) -> pa.Table:
    pictures = [{"bytes": encoded(number), "path": f"p{number}.png"} for number in range(rows)]
    columns: dict[str, Any] = {"image": pa.array(pictures, pa.struct([("bytes", pa.binary()), ("path", pa.string())]))}
    features: dict[str, Any] = {"image": {"_type": "Image"}}
    if labels is not None:
        columns = {"label": pa.array(labels), **columns}
    if names is not None:
        features["label"] = {"names": names, "_type": "ClassLabel"}
    return pa.table(columns).replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})


def write_table(path: Path, table: pa.Table) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        pq.write_table(table, path)
        return
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table, max_chunksize=2)
    (path.parent / "state.json").write_text(json.dumps({"_data_files": [{"filename": path.name}]}))


@pytest.mark.parametrize("name", ["data.parquet", "data.arrow"])
def test_a_dataset_gives_its_images_and_the_names_of_their_labels(tmp_path: Path, name: str) -> None:
    write_table(tmp_path / "set" / name, table([1, 0, 1], ["cat", "dog"]))
    documents, _ = read(images_source("set"), tmp_path)
    assert answers(documents) == ["dog", "cat", "dog"]
    assert [each.origin for each in documents] == [f"set/{name}:{number}" for number in (1, 2, 3)]
    assert documents[2].images == (encoded(2),)


@pytest.mark.parametrize(("classes", "unread"), [("folders", ["weight"]), ("none", ["label", "weight"])])
def test_columns_of_a_dataset_that_are_not_read_are_told(tmp_path: Path, classes: str, unread: list[str]) -> None:
    made = table([0, 1, 0], ["cat", "dog"])
    write_table(tmp_path / "set" / "a.parquet", made.append_column("weight", pa.array([0.0] * len(made))))
    assert read(images_source("set", classes=classes), tmp_path)[1].unread == set(unread)


def test_labels_that_are_texts_name_themselves(tmp_path: Path) -> None:
    write_table(tmp_path / "t.parquet", table(["a", "b", ""]))
    documents, drops = read(images_source("t.parquet", bad_share=0.5), tmp_path)
    assert answers(documents) == ["a", "b"]
    assert drops.counts == {"class without a name": 1}


@pytest.mark.parametrize("label", [None, -1, 7, 2])
def test_a_label_that_stands_for_no_name_is_damage(tmp_path: Path, label: int | None) -> None:
    write_table(tmp_path / "t.parquet", table([0, label, 1], ["cat", "dog", ""]))
    documents, drops = read(images_source("t.parquet", bad_share=0.5), tmp_path)
    assert (len(documents), drops.counts) == (2, {"class without a name": 1})
    assert drops.examples[0].startswith("t.parquet:2: class without a name")


@pytest.mark.judge
def test_a_dataset_saved_by_its_own_library_is_read(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["cat", "dog"])})
    rows = {"image": [{"bytes": encoded(number), "path": None} for number in range(3)], "label": [1, 0, 1]}
    datasets.Dataset.from_dict(rows, features=features).save_to_disk(tmp_path / "set")
    assert answers(read(images_source("set"), tmp_path)[0]) == ["dog", "cat", "dog"]


def test_rows_are_held_out_by_the_path_they_carry(tmp_path: Path) -> None:
    write_table(tmp_path / "t.parquet", table())
    (tmp_path / "list.txt").write_text("p1.png\n")
    documents, _ = read(images_source("t.parquet", classes="none", heldout_files="list.txt"), tmp_path)
    assert [(each.origin, each.heldout) for each in documents] == [
        ("t.parquet:2", True),
        ("t.parquet:1", False),
        ("t.parquet:3", False),
    ]


def test_a_row_without_bytes_is_a_missing_image(tmp_path: Path) -> None:
    pictures = pa.array(
        [{"bytes": encoded(1), "path": None}, {"bytes": None, "path": "/etc/passwd"}, None],
        table().schema.field("image").type,
    )
    write_table(tmp_path / "t.parquet", pa.table({"image": pictures}))
    documents, drops = read(images_source("t.parquet", classes="none", bad_share=1), tmp_path)
    assert (len(documents), drops.counts) == (1, {"missing image": 2})


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (table([0, 0, 0]), "holds int64 without names of classes"),
        (table(), "has no column of labels among image; name it label"),
        (pa.table({"text": ["a"]}), "has 0 columns of images"),
        (pa.table({"image": [{"bytes": "text", "path": None}]}), "has 0 columns of images"),
        (table([0.5, 1, 2], ["a", "b"]), "holds double without names of classes"),
        (table([0, 1, 2]).replace_schema_metadata({"huggingface": "{broken"}), "without names of classes"),
        (table([0, 1, 2]).replace_schema_metadata({"huggingface": "[" * 100_000}), "without names of classes"),
        (
            table([0, 1, 2]).replace_schema_metadata({"huggingface": '{"info": {"features": []}}'}),
            "without names of classes",
        ),
        (table().append_column("second", table().column("image")), "has 2 columns of images"),
    ],
)
def test_a_table_that_lacks_what_is_asked_for_is_refused(tmp_path: Path, made: pa.Table, message: str) -> None:
    write_table(tmp_path / "t.parquet", made)
    with pytest.raises(InputError, match=rf"t.parquet.*{message}"):
        read(images_source("t.parquet"), tmp_path)


def test_images_and_tables_in_one_folder_are_refused(tmp_path: Path) -> None:
    animals(tmp_path / "in")
    write_table(tmp_path / "in" / "t.parquet", table())
    with pytest.raises(InputError, match=r"both images and tables, such as t.parquet"):
        read(images_source("in"), tmp_path)


def test_a_file_that_is_no_table_is_refused_by_its_name(tmp_path: Path) -> None:
    save(tmp_path / "t.parquet", b"nothing of the kind")
    with pytest.raises(InputError, match=r"t.parquet cannot be read as a table"):
        read(images_source("t.parquet"), tmp_path)


# --- the account --------------------------------------------------------------------------------------------


def test_the_account_counts_images_and_names_the_classes(tmp_path: Path, prepare: Prepare) -> None:
    animals(tmp_path)
    report = prepare(images_source("."))
    assert (report.documents, report.images, report.image_classes, report.dropped) == (6, 6, ["cats", "dogs"], {})
    assert report.detection_classes == []
    written = list(document.read(tmp_path / "out" / "documents.parquet"))
    assert written[0].images == (encoded(0),)


def test_images_alone_have_no_classes_in_the_account(tmp_path: Path, prepare: Prepare) -> None:
    animals(tmp_path)
    report = prepare(images_source(".", classes="none"))
    assert report.images == 6
    assert report.image_classes == []


def test_one_image_in_two_classes_is_kept_once(tmp_path: Path, prepare: Prepare) -> None:
    animals(tmp_path)
    save(tmp_path / "cats" / "again.png", encoded(0))
    save(tmp_path / "dogs" / "wrong.png", encoded(0))
    report = prepare(images_source("."))
    assert report.dropped == {"exact duplicate": 1, "same image, another class": 1}
    assert report.examples == ["cats/c0.png: exact duplicate", "dogs/wrong.png: same image, another class"]


# --- conversations with images ------------------------------------------------------------------------------


def uri(data: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(data).decode()


def spoken(*urls: Any, role: str = "user") -> str:
    parts = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    return (
        json.dumps(
            {
                "messages": [
                    {"role": role, "content": [*parts, {"type": "text", "text": "?"}]},
                    {"role": "assistant", "content": "yes"},
                ]
            }
        )
        + "\n"
    )


def test_images_of_a_conversation_come_from_uris_and_files_in_order(tmp_path: Path) -> None:
    save(tmp_path / "talks" / "pictures" / "a.png", encoded(1))
    save(tmp_path / "talks" / "t.jsonl", spoken("pictures/a.png", uri(encoded(2))).encode())
    documents, _ = read(messages_source("talks/t.jsonl"), tmp_path)
    assert documents[0].images == (encoded(1), encoded(2))
    assert documents[0].messages is not None
    assert documents[0].messages[0]["content"] == [{"type": "image"}, {"type": "image"}, {"type": "text", "text": "?"}]
    inputs = messages_source("talks/t.jsonl").files(tmp_path)
    assert [path.relative_to(tmp_path).as_posix() for path in inputs] == ["talks/t.jsonl", "talks/pictures/a.png"]


def test_a_conversation_of_texts_has_no_images(tmp_path: Path) -> None:
    save(tmp_path / "t.jsonl", spoken().encode())
    documents, _ = read(messages_source("t.jsonl"), tmp_path)
    assert documents[0].images == ()


WRONG_URLS: dict[str, tuple[Any, str]] = {
    "http": ("http://example.org/a.png", "nothing is fetched"),
    "https": ("HTTPS://example.org/a.png", "nothing is fetched"),
    "file": ("file:///etc/passwd", "nothing is fetched"),
    "above": ("../a.png", "image outside its folder"),
    "above inside": ("x/../../a.png", "image outside its folder"),
    "absolute": ("/etc/passwd", "image outside its folder"),
    "link out": ("out.png", "image outside its folder"),
    "linked folder": ("away/a.png", "image outside its folder"),
    "missing": ("gone.png", "missing image"),
    "endless name": ("a" * 5000, "missing image"),
    "half a character": ("a\ud800.png", "image outside its folder"),
    "circle": ("round/a.png", "image outside its folder"),
    "nul": ("a\0.png", "image outside its folder"),
    "not base64": ("data:image/png;base64,???", "not base64"),
    "not an image": (uri(b"text"), "not an image"),
    "no text": (7, "without its"),
    "empty": ("", "without its"),
}


@pytest.mark.parametrize("kind", WRONG_URLS)
def test_an_image_that_may_not_be_shown_breaks_its_line(tmp_path: Path, kind: str) -> None:
    url, message = WRONG_URLS[kind]
    save(tmp_path / "a.png", encoded(1))
    (tmp_path / "talks").mkdir()
    (tmp_path / "talks" / "out.png").symlink_to(tmp_path / "a.png")
    (tmp_path / "talks" / "away").symlink_to(tmp_path)
    (tmp_path / "talks" / "round").symlink_to(tmp_path / "talks" / "round")
    save(tmp_path / "talks" / "t.jsonl", (spoken() + spoken(url)).encode())
    documents, drops = read(messages_source("talks/t.jsonl", bad_share=0.5), tmp_path)
    assert (len(documents), drops.counts) == (1, {"broken line": 1})
    assert message in drops.examples[0]
    assert len(messages_source("talks/t.jsonl").files(tmp_path)) == 1


@pytest.mark.parametrize(
    "line", [spoken("a.png", role="system"), spoken().replace('{"type": "text"', '{"type": "image"}, {"type": "text"')]
)
def test_an_image_in_the_wrong_place_or_without_content_breaks_its_line(tmp_path: Path, line: str) -> None:
    save(tmp_path / "a.png", encoded(1))
    save(tmp_path / "t.jsonl", (spoken() + line).encode())
    assert read(messages_source("t.jsonl", bad_share=0.5), tmp_path)[1].counts == {"broken line": 1}
