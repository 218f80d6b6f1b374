"""Files that are written whole or not at all, and what killed processes leave."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from groundup.core.errors import InputError
from groundup.core.files import clear, discard, full_disk, lines, replacing, sync, temporary_folder, write_text

DIES = """\
import os, signal, sys
from pathlib import Path
from groundup.core.files import replacing
with replacing(Path(sys.argv[1])) as temporary:
    temporary.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def gone() -> int:
    """The number of a process that has ended."""
    child = subprocess.Popen(["true"])
    child.wait()
    return child.pid


def test_what_a_killed_process_left_goes_when_the_file_is_written_again(tmp_path: Path) -> None:
    child = subprocess.Popen([sys.executable, "-c", DIES, str(tmp_path / "a.json")])
    child.wait()
    assert names(tmp_path) == [f".a.json.{child.pid}.tmp"]
    write_text(tmp_path / "b.json", "another file")
    assert f".a.json.{child.pid}.tmp" in names(tmp_path)
    write_text(tmp_path / "a.json", "whole")
    assert names(tmp_path) == ["a.json", "b.json"]


def test_only_leftovers_of_processes_that_are_gone_are_cleared(tmp_path: Path) -> None:
    other, ended = os.getppid(), gone()
    kept = [f".a.{other}.tmp", ".a.tmp", "a.1.tmp", f".a.{ended}.tmp2", f".a.{ended}", ".step-00000001.tmp"]
    for name in [*kept, f".a.{ended}.tmp", f".a b.c\n.{ended}.tmp", f".a.{'9' * 30}.tmp"]:
        (tmp_path / name).write_text("")
    (tmp_path / f".folder.{ended}.tmp" / "deep").mkdir(parents=True)
    (tmp_path / f".link.{ended}.tmp").symlink_to(tmp_path / "target")
    (tmp_path / "target").mkdir()
    clear(tmp_path)
    assert names(tmp_path) == sorted([*kept, "target"])


def test_a_folder_goes_at_once(tmp_path: Path) -> None:
    (tmp_path / "full" / "deep").mkdir(parents=True)
    discard(tmp_path / "full")
    discard(tmp_path / "full")
    assert names(tmp_path) == []


def test_a_temporary_folder_goes_unless_it_was_moved(tmp_path: Path) -> None:
    with temporary_folder(tmp_path / "out") as folder:
        (folder / "file").write_text("")
    assert names(tmp_path) == []
    with temporary_folder(tmp_path / "out") as folder:
        folder.rename(tmp_path / "out")
    assert names(tmp_path) == ["out"]


def test_a_failure_leaves_the_old_file(tmp_path: Path) -> None:
    write_text(tmp_path / "a", "old")
    with pytest.raises(InputError, match="a: the disk is full"), replacing(tmp_path / "a") as temporary:
        temporary.write_text("new")
        raise OSError(errno.ENOSPC, "No space left on device")
    assert (tmp_path / "a").read_text() == "old"
    assert names(tmp_path) == ["a"]


def test_a_full_disk_is_told_from_other_errors(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the disk is full"), full_disk(tmp_path):
        raise OSError(errno.EDQUOT, "Quota exceeded")
    with pytest.raises(FileNotFoundError), full_disk(tmp_path):
        (tmp_path / "nothing").read_text()


def test_folders_are_synced_where_the_system_can(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sync(tmp_path)
    for number, passes in ((errno.EINVAL, True), (errno.EIO, False)):

        def fail(file: int, number: int = number) -> None:
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(os, "fsync", fail)
        if passes:
            sync(tmp_path)
        else:
            with pytest.raises(OSError, match=os.strerror(errno.EIO)):
                sync(tmp_path)


@pytest.mark.parametrize(
    ("content", "expected"),
    [(b"", []), (b"\n", [b""]), (b"a", [b"a"]), (b"a\r\x0b\x85\xe2\x80\xa8\nb\n", [b"a\r\x0b\x85\xe2\x80\xa8", b"b"])],
)
def test_only_a_line_feed_ends_a_line(tmp_path: Path, content: bytes, expected: list[bytes]) -> None:
    (tmp_path / "a").write_bytes(content)
    assert lines(tmp_path / "a") == expected


def test_a_link_is_discarded_alone(tmp_path: Path) -> None:
    (tmp_path / "away").mkdir()
    (tmp_path / "away" / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "away")
    discard(tmp_path / "link")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["away", "file"]
