"""Files and made things to documents: what is read, in which order, and how each kind of damage is told."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from groundup.core.errors import InputError
from groundup.data.document import Document
from groundup.data.filtered import Filtered
from groundup.data.source import Source
from groundup.data.sources.python_library import LibrarySource
from groundup.data.sources.tasks import TasksSource
from tests.data.data_helpers import messages_source, text_source


def read(source: Source, folder: Path) -> tuple[list[Document], Filtered]:
    drops = Filtered()
    return list(source.read(folder, drops)), drops


def good_files(folder: Path, count: int) -> None:
    for number in range(count):
        (folder / f"{number:03}.txt").write_text(f"text {number}")


def line(answer: str = "4") -> str:
    return (
        json.dumps({"messages": [{"role": "user", "content": "2+2?"}, {"role": "assistant", "content": answer}]}) + "\n"
    )


# --- text --------------------------------------------------------------------------------------------------


def test_a_glob_reads_its_files_in_order_of_their_names(tmp_path: Path) -> None:
    (tmp_path / "b" / "deep").mkdir(parents=True)
    for name in ("b/deep/z.md", "b/y.md", "a.md", "a.txt"):
        (tmp_path / name).write_text(name)
    documents, _ = read(text_source("**/*.md"), tmp_path)
    assert [(document.origin, document.text) for document in documents] == [
        (name, name) for name in ("a.md", "b/deep/z.md", "b/y.md")
    ]


def test_a_folder_means_the_text_files_in_it(tmp_path: Path) -> None:
    (tmp_path / "in" / "deep").mkdir(parents=True)
    for name in ("in/a.txt", "in/deep/b.md", "in/c.pdf", "d.txt"):
        (tmp_path / name).write_text(name)
    documents, _ = read(text_source("in"), tmp_path)
    assert [document.origin for document in documents] == ["in/a.txt", "in/deep/b.md"]


def test_a_home_path_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "a.txt").write_text("a")
    assert text_source("~/a.txt").files(Path("/elsewhere")) == [tmp_path / "a.txt"]


def test_brackets_in_the_recipes_folder_are_no_pattern(tmp_path: Path) -> None:
    (tmp_path / "[draft]").mkdir()
    (tmp_path / "[draft]" / "a.txt").write_text("a")
    documents, _ = read(text_source("*.txt"), tmp_path / "[draft]")
    assert len(documents) == 1


@pytest.mark.parametrize("path", ["notes [2024]", "notes [2024]/*.txt", "*[2024]/a*.txt", "notes [2024]/**/*"])
def test_brackets_in_a_path_are_those_of_a_name_where_there_is_one(tmp_path: Path, path: str) -> None:
    (tmp_path / "notes [2024]").mkdir()
    (tmp_path / "notes [2024]" / "a [1].txt").write_text("a")
    assert [document.origin for document in read(text_source(path), tmp_path)[0]] == ["notes [2024]/a [1].txt"]


def test_brackets_mean_one_of_their_characters_where_there_is_no_such_name(tmp_path: Path) -> None:
    for name in ("a1.txt", "a2.txt", "a3.txt"):
        (tmp_path / name).write_text(name)
    assert [document.text for document in read(text_source("a[12].txt"), tmp_path)[0]] == ["a1.txt", "a2.txt"]
    (tmp_path / "a[12].txt").write_text("this one")
    assert [document.text for document in read(text_source("a[12].txt"), tmp_path)[0]] == ["this one"]


def test_suffixes_in_a_folder_are_known_in_any_case(tmp_path: Path) -> None:
    for name in ("A.TXT", "b.Md", "c.txt", "d.TXT~"):
        (tmp_path / name).write_text(name)
    assert [document.text for document in read(text_source("."), tmp_path)[0]] == ["A.TXT", "b.Md", "c.txt"]


@pytest.mark.parametrize("path", ["missing.txt", "missing/**/*.md", "empty"])
def test_a_path_without_files_is_refused_naming_it(tmp_path: Path, path: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=f"source 'notes': path '{path.replace('*', '[*]')}'.*correct the path"):
        read(text_source(path), tmp_path)


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"caf\xe9", "invalid UTF-8"), (b"a\0b", "binary"), ("text".encode("utf-16-le"), "binary"), (None, "unreadable")],
)
def test_a_damaged_file_is_counted_under_the_share_and_named(
    tmp_path: Path, content: bytes | None, reason: str
) -> None:
    good_files(tmp_path, 99)
    bad = tmp_path / "bad.txt"
    if content is None:
        bad.symlink_to(tmp_path / "gone")
    else:
        bad.write_bytes(content)
    documents, drops = read(text_source("*.txt", bad_share=0.01), tmp_path)
    assert len(documents) == 99
    assert drops.counts == {reason: 1}
    assert drops.examples[0].startswith(f"bad.txt: {reason}")


@pytest.mark.parametrize(("content", "reason"), [(b"caf\xe9", "invalid UTF-8"), (b"a\0b", "binary")])
def test_damaged_files_over_the_share_refuse_the_source_naming_the_first(
    tmp_path: Path, content: bytes, reason: str
) -> None:
    good_files(tmp_path, 98)
    for name in ("bad1.txt", "bad2.txt"):
        (tmp_path / name).write_bytes(content)
    with pytest.raises(
        InputError, match=f"2 of 100 files cannot be used.*bad_share = 0.01.*first is bad1.txt: {reason}"
    ):
        read(text_source("*.txt", bad_share=0.01), tmp_path)


def test_a_file_over_the_limit_is_not_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good_files(tmp_path, 1)
    (tmp_path / "huge.txt").touch()
    os.truncate(tmp_path / "huge.txt", 1 << 40)  # a terabyte of hole: loading it would fail
    documents, drops = read(text_source("*.txt"), tmp_path)
    assert (len(documents), drops.counts) == (1, {"too long": 1})


def test_a_byte_order_mark_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbftext")
    assert read(text_source("a.txt"), tmp_path)[0][0].text == "text"


# --- messages ----------------------------------------------------------------------------------------------


def test_conversations_come_with_their_line_and_tools(tmp_path: Path) -> None:
    tools: list[Any] = [{"type": "function", "function": {"name": "add", "parameters": {}}}]
    with_tools = json.dumps(json.loads(line()) | {"tools": tools})
    (tmp_path / "a.jsonl").write_text(line() + with_tools)
    documents, _ = read(messages_source("a.jsonl"), tmp_path)
    assert [(document.origin, document.tools) for document in documents] == [("a.jsonl:1", None), ("a.jsonl:2", tools)]


BROKEN = {
    "not JSON": "{broken\n",
    "no messages": '{"text": "x"}\n',
    "not an object": "[]\n",
    "messages no list": '{"messages": 7}\n',
    "unknown role": '{"messages": [{"role": "wizard", "content": "x"}]}\n',
    "content no text": '{"messages": [{"role": "user", "content": 7}]}\n',
    "tools no list": '{"messages": [{"role": "user", "content": "x"}], "tools": "add"}\n',
    "too deep": "[" * 100_000 + "\n",
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_line_is_counted_under_the_share_and_named(tmp_path: Path, kind: str) -> None:
    (tmp_path / "a.jsonl").write_text(line() * 49 + BROKEN[kind] + line() * 50)
    documents, drops = read(messages_source("a.jsonl", bad_share=0.01), tmp_path)
    assert (len(documents), drops.counts) == (99, {"broken line": 1})
    assert drops.examples[0].startswith("a.jsonl:50: broken line (")


def test_broken_lines_over_the_share_refuse_the_source_naming_file_and_line(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(line() * 49 + "{broken\n" * 2)
    with pytest.raises(InputError, match=r"2 of 51 rows cannot be used.*first is a.jsonl:50: broken line"):
        read(messages_source("a.jsonl"), tmp_path)


def test_a_line_over_the_limit_is_skipped_to_its_end(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(line() + line("x" * 300_000) + line("5"))
    documents, drops = read(messages_source("a.jsonl", max_chars=100), tmp_path)
    assert [document.origin for document in documents] == ["a.jsonl:1", "a.jsonl:3"]
    assert drops.counts == {"too long": 1}


def test_an_unreadable_conversation_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").symlink_to(tmp_path / "gone")
    with pytest.raises(InputError, match=r"a\.jsonl cannot be read"):
        read(messages_source("*.jsonl"), tmp_path)


# --- made --------------------------------------------------------------------------------------------------


MODULE = '''"""Makes tea."""

def boil(water):
    """Heat the water."""

def _quiet():
    pass

class Pot:
    """Holds tea."""

    def pour(self):
        """Tilt it.

        Slowly.
        """
'''


@pytest.fixture
def made_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small library in the place of the running Python's."""
    for name in (
        "tea/__init__.py",
        "tea/cups.py",
        "test/test_tea.py",
        "tea/tests/x.py",
        "site-packages/other.py",
        "idlelib/y.py",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(MODULE if name == "tea/__init__.py" else f'"""Text of {name}."""\n')
    monkeypatch.setattr("sysconfig.get_path", lambda name: str(tmp_path))
    return tmp_path


def library(*parts: str) -> LibrarySource:
    return LibrarySource.model_validate({"name": "library", "kind": "python-library", "parts": parts})


def test_docstrings_come_a_module_or_definition_each_under_their_names(made_library: Path) -> None:
    documents, drops = read(library("docstrings"), made_library)
    assert [(document.origin.partition("/")[2], document.text) for document in documents] == [
        ("tea/__init__.py", "tea\n\nMakes tea.\n"),
        ("tea/__init__.py:3", "tea.boil\n\nHeat the water.\n"),
        ("tea/__init__.py:9", "tea.Pot\n\nHolds tea.\n\ntea.Pot.pour\n\nTilt it.\n\nSlowly.\n"),
        ("tea/cups.py", "tea.cups\n\nText of tea/cups.py.\n"),
    ]
    assert not drops.counts


def test_source_comes_a_file_each_without_tests_and_other_peoples(made_library: Path) -> None:
    documents, _ = read(library("source"), made_library)
    assert [document.origin.partition("/")[2] for document in documents] == ["tea/__init__.py", "tea/cups.py"]
    assert documents[0].text == MODULE


@pytest.mark.parametrize(
    ("part", "content", "reason"), [("docstrings", b"def (", "not Python"), ("source", b"# caf\xe9", "invalid UTF-8")]
)
def test_a_library_file_that_cannot_be_read_is_counted(
    made_library: Path, part: str, content: bytes, reason: str
) -> None:
    (made_library / "broken.py").write_bytes(content)
    _, drops = read(library(part), made_library)
    assert drops.counts == {reason: 1}
    assert drops.examples[0].startswith(f"broken.py: {reason}")


def test_a_python_without_its_library_on_disk_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sysconfig.get_path", lambda name: str(tmp_path / "python.zip"))
    with pytest.raises(InputError, match="no Python source in"):
        read(library("docstrings"), tmp_path)


def test_the_running_pythons_topics_are_text_of_some_size(tmp_path: Path) -> None:
    documents, _ = read(library("topics"), tmp_path)
    assert sum(document.characters for document in documents) > 300_000


def test_the_running_pythons_own_docstrings_are_found(tmp_path: Path) -> None:
    first = next(library("docstrings").read(tmp_path, Filtered()))
    assert first.origin.partition("/")[2] == "__future__.py"


def test_a_made_source_has_no_files_to_hash(tmp_path: Path) -> None:
    assert library("docstrings").files(tmp_path) == []


def test_tasks_bring_their_training_part_and_a_marked_heldout_part(tmp_path: Path) -> None:
    source = TasksSource(name="tasks", kind="tasks", count=40, families={"copying": 1}, languages=("en",))
    documents, _ = read(source, tmp_path)
    assert sum(not document.heldout for document in documents) == 40
    assert 0 < sum(document.heldout for document in documents) <= 300


def test_a_family_that_nobody_knows_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    source = TasksSource(name="tasks", kind="tasks", count=40, families={"juggling": 1})
    with pytest.raises(InputError, match="juggling"):
        source.files(tmp_path)
