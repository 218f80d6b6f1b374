"""A source to a documents file: the account is right, and whatever goes wrong leaves nothing half done."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from groundup.core.errors import InputError
from groundup.core.files import sha256
from groundup.data.document import chunks, read
from groundup.data.results import DocumentsResult
from groundup.data.sources.tasks import TasksSource
from tests.data.data_helpers import text_source

Prepare = Callable[..., DocumentsResult]


def write(folder: Path, texts: list[str]) -> None:
    for number, text in enumerate(texts):
        (folder / f"{number:04}.txt").write_text(text)


def test_the_account_adds_up(tmp_path: Path, prepare: Prepare) -> None:
    write(tmp_path, ["first text", "second text", "first text", "", "first text\r\n".replace("\r\n", ""), "no"])
    assert prepare(text_source("*.txt", min_chars=3)) == DocumentsResult(
        documents=2,
        heldout=0,
        characters=21,
        dropped={"empty": 1, "exact duplicate": 2, "too short": 1},
        examples=[
            "0003.txt: empty",
            "0005.txt: too short",
            "0002.txt: exact duplicate",
            "0004.txt: exact duplicate",
        ],
        licences={"CC0-1.0": 2},
        warnings=[],
        unread=[],
        images=0,
        detection_classes=[],
        image_classes=[],
    )
    assert [document.text for document in read(tmp_path / "out" / "documents.parquet")] == ["first text", "second text"]


def test_texts_that_differ_only_in_what_is_mended_are_duplicates(tmp_path: Path, prepare: Prepare) -> None:
    (tmp_path / "a.txt").write_bytes("café\n".encode())
    (tmp_path / "b.txt").write_bytes("cafe\u0301\r\n".encode())
    assert prepare(text_source("*.txt")).dropped == {"exact duplicate": 1}


def test_a_document_stays_on_its_side_when_others_go(tmp_path: Path, prepare: Prepare) -> None:
    source = text_source("*.txt", heldout_share=0.3)
    write(tmp_path, [f"text {number}" for number in range(60)])
    prepare(source)
    before = {document.text: document.heldout for document in read(tmp_path / "out" / "documents.parquet")}
    for number in range(0, 60, 2):
        (tmp_path / f"{number:04}.txt").unlink()
    prepare(source)
    after = {document.text: document.heldout for document in read(tmp_path / "out" / "documents.parquet")}
    assert after == {text: before[text] for text in after}
    assert len(after) == 30


def test_the_parts_of_the_split_are_read_apart(tmp_path: Path, prepare: Prepare) -> None:
    write(tmp_path, [f"text {number}" for number in range(60)])
    report = prepare(text_source("*.txt", heldout_share=0.3))
    parts = [list(read(tmp_path / "out" / "documents.parquet", heldout)) for heldout in (True, False)]
    assert [len(part) for part in parts] == [report.heldout, 60 - report.heldout]
    assert all(document.heldout for document in parts[0]) and not any(document.heldout for document in parts[1])


def test_the_same_files_give_the_same_bytes(tmp_path: Path, prepare: Prepare) -> None:
    write(tmp_path, [f"text {number}" for number in range(60)])
    hashes = []
    for _ in range(2):
        prepare(text_source("*.txt", heldout_share=0.3))
        hashes.append(sha256(tmp_path / "out" / "documents.parquet"))
    assert hashes[0] == hashes[1]


def test_tasks_keep_their_own_split(tmp_path: Path, prepare: Prepare) -> None:
    source = TasksSource(name="tasks", kind="tasks", count=30, families={"copying": 3}, languages=("en",))
    report = prepare(source)
    assert 0 < report.heldout < report.documents
    assert report.documents - report.heldout <= 30


@pytest.mark.parametrize(
    ("texts", "knobs", "message"),
    [
        (["", " "], {}, r"no documents are left; dropped were 2 empty \(look at"),
        (["ab"], {"min_chars": 5}, r"dropped were 1 too short \(lower min_chars\)"),
        (["abcdef"], {"max_chars": 5}, r"dropped were 1 too long \(raise max_chars\)"),
        (["text 2"], {"heldout_share": 0.5}, r"all 1 documents fall in the held-out part .*lower heldout_share"),
    ],
)
def test_nothing_left_is_refused_with_the_reasons(
    tmp_path: Path, prepare: Prepare, texts: list[str], knobs: dict[str, Any], message: str
) -> None:
    write(tmp_path, texts)
    with pytest.raises(InputError, match=message):
        prepare(text_source("*.txt", **knobs))
    assert list((tmp_path / "out").iterdir()) == []


def test_a_refused_source_leaves_the_file_before_it(tmp_path: Path, prepare: Prepare) -> None:
    write(tmp_path, ["first"])
    prepare(text_source("*.txt"))
    (tmp_path / "bad.txt").write_bytes(b"\xff")
    with pytest.raises(InputError, match="1 of 2 files"):
        prepare(text_source("*.txt"))
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["documents.parquet"]
    assert [document.text for document in read(tmp_path / "out" / "documents.parquet")] == ["first"]


def test_an_unstated_licence_is_warned_about(tmp_path: Path, prepare: Prepare) -> None:
    write(tmp_path, ["text"])
    report = prepare(text_source("*.txt", licence="unstated"))
    assert report.licences == {"unstated": 1}
    assert "licence unstated" in report.warnings[0]


def test_an_empty_heldout_part_is_warned_about(tmp_path: Path, prepare: Prepare) -> None:
    write(tmp_path, ["text 1"])
    assert "none of its 1 documents was held out" in prepare(text_source("*.txt", heldout_share=0.01)).warnings[0]


def test_a_full_disk_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    """A limit on the size of files stands in for a full disk: the write fails in the same place, with an error of the
    same kind.
    """
    for number in range(200):
        (tmp_path / f"{number}.txt").write_text(
            "".join(chr(0x4E00 + (number * 7919 + place * place * 31) % 20_000) for place in range(2000))
        )
    script = (
        "import resource; from pathlib import Path; from data_helpers import text_source, ignore; from"
        " groundup.data.prepare import write_documents\n"
        "from groundup.core.errors import InputError\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))\n"  # after the imports, which may write byte code
        "try: write_documents(text_source('*.txt'), Path('.'), Path('out'), ignore)\n"
        "except InputError as error: print(error)"
    )
    environment = {"PYTHONPATH": ":".join([str(Path(__file__).parent), *sys.path])}
    result = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert "documents.parquet: the disk is full" in result.stdout
    assert list((tmp_path / "out").iterdir()) == []


def test_chunks_are_bounded_in_characters_and_in_number(tmp_path: Path, prepare: Prepare) -> None:
    write(tmp_path, [f"{number:10}" for number in range(50)])
    prepare(text_source("*.txt"))
    documents = list(read(tmp_path / "out" / "documents.parquet"))
    assert [len(chunk) for chunk in chunks(documents, characters=95, count=100)] == [10] * 5
    assert [len(chunk) for chunk in chunks(documents, characters=10_000, count=20)] == [20, 20, 10]
