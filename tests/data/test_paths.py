"""Which files a source reads: links are followed once, what is no regular file is never opened, and a file's names stay
in its folder.
"""

import glob
import json
import os
import socket
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from groundup.core import ledger
from groundup.core.errors import InputError
from groundup.core.files import inside, stays_inside
from groundup.data.filtered import Filtered
from groundup.data.paths import matching, names
from groundup.data.source import Source
from tests.data.data_helpers import (
    boxes_source,
    encoded,
    images_source,
    messages_source,
    save,
    table_source,
    text_source,
)

FILE = {"sha256": "", "bytes": 0}


def found(folder: Path, pattern: str = "**/*", suffix: str = ".txt") -> list[str]:
    return sorted(str(Path(path).relative_to(folder)) for path in matching(pattern, folder, (suffix,)))


def texts(source: Source, folder: Path) -> list[str | None]:
    return [each.text for each in source.read(folder, Filtered())]


# --- links --------------------------------------------------------------------------------------------------


def test_links_to_the_folder_that_holds_them_are_followed_once(tmp_path: Path) -> None:
    save(tmp_path / "t" / "a.txt", b"a")
    for name in ("one", "two", "three"):
        (tmp_path / "t" / name).symlink_to(".")
    assert found(tmp_path / "t") == ["a.txt"]
    assert found(tmp_path, "**/*") == ["t/a.txt"]
    assert found(tmp_path, "t/**/*.txt") == ["t/a.txt"]
    assert found(tmp_path, "**/t/**/a.txt") == ["t/a.txt"]
    assert [path.name for path in text_source("t").files(tmp_path)] == ["a.txt"]


def test_folders_that_link_to_one_another_are_each_read_once(tmp_path: Path) -> None:
    """Twelve folders with a link to each of the others: 12! ways through them."""
    for here in range(12):
        save(tmp_path / "t" / f"f{here:02}" / f"{here}.txt", b"x")
        for there in range(12):
            (tmp_path / "t" / f"f{here:02}" / f"to{there}").symlink_to(tmp_path / "t" / f"f{there:02}")
    assert found(tmp_path, "t/**") == [f"t/f{here:02}/{here}.txt" for here in range(12)]


def test_a_folder_elsewhere_is_read_over_the_first_link_to_it(tmp_path: Path) -> None:
    save(tmp_path / "store" / "deep" / "a.txt", b"a")
    (tmp_path / "t").mkdir()
    for name in ("second", "first"):
        (tmp_path / "t" / name).symlink_to(tmp_path / "store")
    save(tmp_path / "t" / "z" / "b.txt", b"b")
    assert found(tmp_path / "t") == ["first/deep/a.txt", "z/b.txt"]


def test_a_folder_is_found_under_its_own_name_before_that_of_a_link(tmp_path: Path) -> None:
    save(tmp_path / "t" / "z" / "a.txt", b"a")
    (tmp_path / "t" / "link").symlink_to("z")
    assert found(tmp_path / "t") == ["z/a.txt"]


def test_links_in_a_circle_and_long_chains_of_links(tmp_path: Path) -> None:
    save(tmp_path / "t" / "a.txt", b"a")
    (tmp_path / "t" / "x").symlink_to("y")
    (tmp_path / "t" / "y").symlink_to("x")
    (tmp_path / "end").mkdir()
    save(tmp_path / "end" / "b.txt", b"b")
    (tmp_path / "l0").symlink_to("end")
    for number in range(1, 60):
        (tmp_path / f"l{number}").symlink_to(f"l{number - 1}")
    (tmp_path / "t" / "near").symlink_to(tmp_path / "l5")
    (tmp_path / "t" / "far").symlink_to(tmp_path / "l59")  # more links than the system follows
    assert found(tmp_path / "t") == ["a.txt", "near/b.txt"]


@pytest.mark.parametrize("kind", ["text", "table", "messages", "images", "boxes"])
def test_every_source_of_folders_ends(tmp_path: Path, kind: str) -> None:
    suffix, make = {
        "text": ("txt", text_source),
        "table": ("csv", table_source),
        "messages": ("jsonl", messages_source),
        "images": ("png", images_source),
        "boxes": ("txt", boxes_source),
    }[kind]
    place = tmp_path / "t" / ("labels" if kind == "boxes" else "x")
    save(place / f"a.{suffix}", b"")
    save(tmp_path / "t" / "classes.txt", b"cup\n")
    for name in ("one", "two"):
        (tmp_path / "t" / name).symlink_to(".")
        (place / name).symlink_to("..")
    assert sum(path.name == f"a.{suffix}" for path in make("t").files(tmp_path)) == 1


TREE = st.sets(st.lists(st.sampled_from(["a", "b", ".h", "labels"]), min_size=1, max_size=4).map(tuple), max_size=8)
PATTERNS = [
    "**/*",
    "**",
    "**/*.txt",
    "a/**/*",
    "*/*.txt",
    "*/**/b/*",
    "**/labels/**/*.txt",
    "**/labels/**",
    "*",
    "a/*/*.txt",
    "**/.h/*",
    "[ab]/*",
]


@settings(deadline=None, derandomize=True, max_examples=60)
@given(TREE)
def test_without_links_patterns_match_what_they_always_did(
    tmp_path_factory: pytest.TempPathFactory, tree: set[tuple[str, ...]]
) -> None:
    folder = tmp_path_factory.mktemp("tree")
    for parts in tree:
        save(folder.joinpath(*parts, "f.txt"), b"")
        save(folder.joinpath(*parts, ".hidden.txt"), b"")
    for pattern in PATTERNS:
        expected = {name for name in glob.glob(pattern, root_dir=folder, recursive=True) if (folder / name).is_file()}  # noqa: PTH207
        assert set(found(folder, pattern, "")) == expected, pattern
        assert sorted(matching(str(folder / pattern), Path("/"))) == sorted(str(folder / name) for name in expected)


# --- what is no regular file --------------------------------------------------------------------------------


def test_pipes_sockets_and_devices_are_never_opened(tmp_path: Path) -> None:
    save(tmp_path / "t" / "a.txt", b"a")
    os.mkfifo(tmp_path / "t" / "pipe.txt")
    os.mkfifo(tmp_path / "elsewhere")
    (tmp_path / "t" / "to-a-pipe.txt").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "t" / "device.txt").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as opened:
        opened.bind(os.path.relpath(tmp_path / "t" / "socket.txt"))
        assert texts(text_source("t"), tmp_path) == ["a"]
        assert texts(text_source("t/*"), tmp_path) == ["a"]


@pytest.mark.parametrize("path", ["pipe.txt", "/dev/zero"])
def test_a_source_that_is_no_regular_file_is_refused(tmp_path: Path, path: str) -> None:
    os.mkfifo(tmp_path / "pipe.txt")
    with pytest.raises(InputError, match="no regular file"):
        names(text_source(path), tmp_path, (".txt",))


@pytest.mark.parametrize("key", ["heldout_files", "without_files"])
@pytest.mark.parametrize("listed", ["pipe", "/dev/zero", "im"])
def test_a_list_that_is_no_regular_file_is_refused(tmp_path: Path, key: str, listed: str) -> None:
    save(tmp_path / "im" / "a.png", encoded())
    os.mkfifo(tmp_path / "pipe")
    source = images_source("im", **{key: listed})
    for read in (lambda: source.files(tmp_path), lambda: list(source.read(tmp_path, Filtered()))):
        with pytest.raises(InputError, match=r"the list .* is no regular file"):
            read()


@pytest.mark.parametrize("path", ["a" * 5000, "~nobody-of-this-name/a.txt"])
def test_a_path_that_no_file_can_have_is_refused(tmp_path: Path, path: str) -> None:
    for source in (text_source(path), table_source(path), images_source(path), boxes_source(path)):
        with pytest.raises(InputError, match="path '"):
            source.files(tmp_path)


@pytest.mark.parametrize("name", [b"\xff.txt", b"caf\xe9/a.txt"])
def test_a_name_that_is_no_utf8_is_read_as_latin_1(tmp_path: Path, name: bytes) -> None:
    try:
        path = save(tmp_path / "t" / os.fsdecode(name), b"a")
    except OSError:
        pytest.skip("this file system takes no such name")
    source = text_source("t")
    assert source.files(tmp_path) == [path]
    assert [each.origin for each in source.read(tmp_path, Filtered())] == [f"t/{name.decode('latin-1')}"]


@pytest.mark.parametrize("sealed", ["t", "t/b"])
def test_a_folder_that_may_not_be_read_is_told(tmp_path: Path, sealed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a", "b"):
        save(tmp_path / "t" / name / "x.txt", name.encode())

    def scandir(path: Path) -> Any:  # whoever runs the tests may read everything
        if path == tmp_path / sealed:
            raise PermissionError(13, "Permission denied")
        return scan(path)

    scan = os.scandir
    monkeypatch.setattr("groundup.data.paths.os.scandir", scandir)
    with pytest.raises(InputError, match=rf"the folder .*{sealed} may not be read \(Permission denied\)"):
        text_source("t").files(tmp_path)


# --- names that files give ----------------------------------------------------------------------------------

OUTSIDE = [
    "../secret",
    "a/../../secret",
    "/etc/passwd",
    "..",
    "link/secret",
    "link",
    "a\0b",
    "..\\secret",
    "C:\\secret",
    "",
    None,
    7,
    ["a"],
]


@pytest.fixture
def trap(tmp_path: Path) -> Path:
    """A folder with a link out of it, and a secret beside it."""
    save(tmp_path / "secret", b"secret")
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "link").symlink_to(tmp_path)
    return tmp_path / "set"


@pytest.mark.parametrize("name", OUTSIDE)
def test_a_name_that_leads_out_of_its_folder_is_refused(trap: Path, name: Any) -> None:
    with pytest.raises(InputError, match="does not lie in set"):
        inside(trap, name)


@pytest.mark.parametrize("name", ["a", "a/b.txt", "a/..b", "...", "a b", "-"])
def test_a_name_inside_is_the_file(trap: Path, name: str) -> None:
    assert stays_inside(name)
    assert inside(trap, name) == trap / name


@pytest.mark.parametrize("name", OUTSIDE)
def test_a_saved_dataset_reads_nothing_outside_its_folder(trap: Path, name: Any) -> None:
    for target in ("secret.arrow", "link/secret.arrow"):
        with pa.OSFile(str(trap / target), "wb") as file, pa.ipc.new_stream(file, pa.schema([("text", pa.string())])):
            pass
    listed = f"{name}.arrow" if isinstance(name, str) and "secret" in name else name
    (trap / "state.json").write_text(json.dumps({"_data_files": [{"filename": listed}]}))
    for source in (table_source("set"), images_source("set")):
        with pytest.raises(
            InputError, match=r"state.json: .* does not lie in set; a saved dataset has its files in its own folder"
        ):
            source.files(trap.parent)


@pytest.mark.parametrize("entry", [None, 7, "data.arrow", [], {}])
def test_a_state_of_another_shape_is_told(trap: Path, entry: Any) -> None:
    (trap / "state.json").write_text(json.dumps({"_data_files": [entry]}))
    with pytest.raises(InputError, match=r"state\.json"):
        table_source("set").files(trap.parent)


@pytest.mark.parametrize("name", ["gone.arrow", "a" * 5000, "."])
def test_a_file_that_a_state_names_and_that_is_none_is_missing(trap: Path, name: str) -> None:
    (trap / "state.json").write_text(json.dumps({"_data_files": [{"filename": name}]}))
    with pytest.raises(InputError, match=r"is missing, though state\.json beside it lists it"):
        table_source("set").files(trap.parent)


def test_rows_that_an_index_selects_are_not_read_as_all_rows(trap: Path) -> None:
    save(trap / "a.arrow", b"")
    (trap / "state.json").write_text(
        json.dumps({"_data_files": [{"filename": "a.arrow"}], "_indices_data_files": [{"filename": "i.arrow"}]})
    )
    with pytest.raises(InputError, match=r"a selection of its rows by an index, .* save it with flatten_indices"):
        table_source("set").files(trap.parent)


@pytest.mark.parametrize("name", ["../secret.png", "link/secret.png", "..\\secret.png", "a\0b.png"])
def test_annotations_and_conversations_show_nothing_outside(trap: Path, name: str) -> None:
    save(trap.parent / "secret.png", encoded())
    (trap / "boxes.jsonl").write_text(json.dumps({"file": name, "boxes": []}) + "\n")
    coco = {"images": [{"id": 1, "file_name": name}], "annotations": [], "categories": [{"id": 1, "name": "cup"}]}
    (trap / "coco.json").write_text(json.dumps(coco))
    shown = [{"type": "image_url", "image_url": {"url": name}}]
    talk = {"messages": [{"role": "user", "content": shown}, {"role": "assistant", "content": "a"}]}
    (trap / "talk.jsonl").write_text(json.dumps(talk) + "\n")
    for source in (boxes_source("set/boxes.jsonl"), boxes_source("set/coco.json"), messages_source("set/talk.jsonl")):
        assert [path.name for path in source.files(trap.parent)] == [Path(source.path).name]
        with pytest.raises(InputError, match="image outside its folder"):
            list(source.read(trap.parent, Filtered()))


@pytest.mark.parametrize(
    "names",
    [
        {"outputs": {"../../secret": FILE}},
        {"outputs": {"/etc/passwd": FILE}},
        {"outputs": {"a\0": FILE}},
        {"parents": {"../b": ""}},
    ],
)
def test_a_manifest_names_nothing_outside_its_folder(names: dict[str, Any]) -> None:
    common: dict[str, Any] = {
        "stage": "a",
        "key": "",
        "part": None,
        "code": "",
        "inputs": {},
        "seed": 0,
        "parents": {},
        "outputs": {},
    }
    with pytest.raises(InputError, match="not a name inside its folder"):
        ledger.parse(ledger.Manifest(**common | names).entry(), "manifest.json")
