"""API keys: only hashes are kept, every wrong file is named, changes are taken over."""

import multiprocessing
import os
from hashlib import sha256

import pytest

from groundup.core.errors import InputError
from groundup.serve.keys import Key, Keys, make, read


def test_a_key_is_found_by_its_text_alone_and_only_its_hash_is_kept(tmp_path):
    path = tmp_path / "keys"
    first, second = make(path, "first"), make(path, "second", 30, 2)
    keys = Keys(path)
    assert keys.authenticate(first) == Key("first", sha256(first.encode()).hexdigest())
    assert keys.authenticate(second) == Key("second", sha256(second.encode()).hexdigest(), 30, 2)
    for wrong in ("", first[:-1], first + "x", sha256(first.encode()).hexdigest(), "ключ", "\udcff"):
        assert keys.authenticate(wrong) is None
    assert first not in path.read_text()
    assert path.stat().st_mode & 0o777 == 0o600
    assert len(first) >= 43  # 256 bits


def test_a_deleted_line_revokes_a_key_and_a_broken_file_changes_nothing(tmp_path):
    path = tmp_path / "keys"
    first, second = make(path, "first"), make(path, "second")
    keys, told = Keys(path), []
    keys.on_error = told.append
    path.write_text(path.read_text().splitlines()[1] + "\n")
    assert keys.authenticate(first) is None
    assert keys.authenticate(second) is not None
    path.write_text("not a line of keys at all\n")
    os.utime(path, (1, 1))
    for _ in range(3):
        assert keys.authenticate(second) is not None
    path.unlink()
    for _ in range(3):
        assert keys.authenticate(second) is not None
    first_said, second_said = told
    assert ":1: no key" in first_said
    assert "cannot be read" in second_said
    assert second_said.endswith("the previous keys stay valid")
    path.write_text("")
    assert keys.authenticate(second) is None
    third = make(path, "third")
    assert keys.authenticate(third) is not None
    assert len(told) == 2


def test_a_line_written_by_hand_may_lack_its_end(tmp_path):
    path = tmp_path / "keys"
    path.write_text(f"first {'0' * 64} 5")
    token = make(path, "second")
    assert [key.name for key in read(path)] == ["first", "second"]
    assert Keys(path).authenticate(token) is not None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "holds no key"),
        ("# only a comment\n", "holds no key"),
        ("name\n", ":1: no key; a line is NAME SHA256"),
        ("name abc\n", ":1: no key"),
        (f"\nNAME {'0' * 64}\n", ":2: no key"),
        (f"name {'0' * 64} many\n", ":1: 'many' is no limit"),
        (f"name {'0' * 64} 0\n", ":1: '0' is no limit"),
        (f"name {'0' * 64} ²\n", ":1: '²' is no limit"),
        (f"name {'0' * 64} {'9' * 400}\n", ":1: '9{400}' is no limit"),
        (f"name {'0' * 64} {'9' * 5000}\n", ":1: '9{5000}' is no limit"),
        (f"name {'0' * 64}\nname {'1' * 64}\n", ":2: a second key 'name'"),
    ],
)
def test_files_that_are_no_keys_are_refused(tmp_path, text, words):
    path = tmp_path / "keys"
    path.write_text(text)
    with pytest.raises(InputError, match=words):
        Keys(path)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        Keys(tmp_path / "keys")


def test_a_name_is_given_once(tmp_path):
    make(tmp_path / "keys", "name")
    with pytest.raises(InputError, match="has a key 'name' already"):
        make(tmp_path / "keys", "name")
    with pytest.raises(InputError, match="not a name for a key"):
        make(tmp_path / "keys", "Bad Name")
    assert len(read(tmp_path / "keys")) == 1


def test_two_processes_lose_no_key(tmp_path):
    path, spawn = tmp_path / "keys", multiprocessing.get_context("spawn")
    start = spawn.Barrier(2)
    processes = [spawn.Process(target=_make_many, args=(start, path, name)) for name in ("a", "b")]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0]
    assert {key.name for key in read(path)} == {f"{name}{number}" for name in ("a", "b") for number in range(30)}


def _make_many(start, path, name):
    start.wait(60)
    for number in range(30):
        make(path, f"{name}{number}")


@pytest.mark.parametrize("end", ["\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\u2029"])
def test_only_a_line_feed_ends_a_line(tmp_path, end):
    path = tmp_path / "keys"
    path.write_text(f"# of the lab{end}no key\n", encoding="utf-8")
    make(path, "first")
    assert [key.name for key in read(path)] == ["first"]
