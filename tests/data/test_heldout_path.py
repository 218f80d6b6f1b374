"""A validation part of one's own: files that are held out, and never trained on."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from groundup.core.errors import InputError
from groundup.data.document import read
from groundup.data.results import DocumentsResult
from groundup.data.source import Source
from tests.data.data_helpers import messages_source, table_source, text_source

Prepare = Callable[..., DocumentsResult]

OWN: dict[str, Any] = {"heldout_path": "my test [1] é.jsonl"}


def write(path: Path, *texts: str) -> None:
    rows = [{"text": text} if "/" not in text else {"question": text, "answer": "yes"} for text in texts]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def parts(folder: Path) -> tuple[list[str], list[str]]:
    """Origins of what is trained on, and of what is held out."""
    found = list(read(folder / "out" / "documents.parquet"))
    train, heldout = ([each.origin for each in found if each.heldout is side] for side in (False, True))
    return train, heldout


@pytest.mark.parametrize("path", ["train.jsonl", "*.jsonl", "."])
@pytest.mark.parametrize("source", [table_source, messages_source])
def test_the_files_of_the_validation_part_are_held_out_and_their_duplicates_dropped(
    tmp_path: Path, prepare: Prepare, source: Callable[..., Source], path: str
) -> None:
    kind = "/" if source is messages_source else ""
    write(tmp_path / "train.jsonl", f"a{kind}", f"b{kind}", f"c{kind}")
    write(tmp_path / "my test [1] é.jsonl", f"b{kind}", f"d{kind}")
    own = source(path, **OWN)
    assert [file.name for file in own.files(tmp_path)] == ["my test [1] é.jsonl", "train.jsonl"]
    report = prepare(own)
    assert parts(tmp_path) == (
        ["train.jsonl:1", "train.jsonl:3"],
        ["my test [1] é.jsonl:1", "my test [1] é.jsonl:2"],
    )
    assert (report.documents, report.heldout, report.dropped) == (4, 2, {"exact duplicate": 1})


def test_texts_may_have_a_validation_folder(tmp_path: Path, prepare: Prepare) -> None:
    for name in ("in/a.txt", "in/b.md", "for later/c.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    prepare(text_source("in", heldout_path="for later"))
    assert parts(tmp_path) == (["in/a.txt", "in/b.md"], ["for later/c.txt"])


def test_a_fraction_beside_a_validation_part_is_refused() -> None:
    with pytest.raises(ValidationError, match="heldout_path already says what is held out"):
        text_source("in", heldout_path="out", heldout_share=0.1)


def test_a_validation_part_that_is_missing_or_all_there_is_is_refused(tmp_path: Path, prepare: Prepare) -> None:
    write(tmp_path / "a.jsonl", "a")
    with pytest.raises(InputError, match=r"path 'gone\.jsonl': no such file"):
        prepare(table_source("a.jsonl", heldout_path="gone.jsonl"))
    with pytest.raises(InputError, match="all 1 documents that are left stand in heldout_path; add others to path"):
        prepare(table_source("a.jsonl", heldout_path="a.jsonl"))


def test_a_validation_part_of_which_nothing_is_left_is_warned_about(tmp_path: Path, prepare: Prepare) -> None:
    write(tmp_path / "a.jsonl", "a")
    write(tmp_path / "b.jsonl", " ")
    assert "is of heldout_path" in prepare(table_source("a.jsonl", heldout_path="b.jsonl")).warnings[0]
