"""Atomic writing of files: after a crash a file has either the old content or the new, never a mixture."""

import errno
import fcntl
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from groundup.core.errors import InputError

IN_THE_WAY = (errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.ELOOP)
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_TEMPORARY = re.compile(r"\.(.+)\.(\d+)\.tmp", re.DOTALL)  # .NAME.PID.tmp


def stays_inside(name: object) -> bool:
    """Whether a file name in a user's data stays in its folder: relative, without `..`, zero bytes and backslashes."""
    return (
        isinstance(name, str)
        and bool(name)
        and not name.startswith("/")
        and ".." not in name.split("/")
        and not set(name) & {"\\", "\0"}
    )


def inside(folder: Path, name: object) -> Path:
    """The file in a folder that a user's data names. Raises InputError for a name or link that leads out of it."""
    try:
        if stays_inside(name) and (path := folder / str(name)).resolve().is_relative_to(folder.resolve()):
            return path
    except (OSError, ValueError, RuntimeError):  # an invalid file name, or a loop of links
        pass
    raise InputError(f"{str(name)[:80]!r} does not lie in {folder.name or folder}")


def sha256(path: Path) -> str:
    """Hex SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest(value: Any) -> str:
    """Hex SHA-256 of a JSON-able value in canonical form (sorted keys, no spaces)."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path; on success sync and rename it to `path`, else remove it. InputError on a full disk."""
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = _beside(path)
        try:
            yield temporary
            sync(temporary)
            temporary.replace(path)
            sync(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def temporary_folder(path: Path) -> Iterator[Path]:
    """Yield a new folder beside `path`, on the same disk; it is removed at the end unless it was moved."""
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = _beside(path)
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def discard(folder: Path) -> None:
    """Remove a folder, if it exists, atomically: it is renamed first, so that a crash never leaves half of it."""
    if folder.exists():
        gone = _beside(folder)
        folder.rename(gone)
        if gone.is_symlink():  # remove the link, not its target
            gone.unlink()
        else:
            shutil.rmtree(gone)


def _beside(path: Path) -> Path:
    """This process's temporary name for `path`; removes temporary files of killed processes for the same path."""
    clear(path.parent, path.name)
    return path.with_name(f".{path.name}.{os.getpid()}.tmp")


def clear(folder: Path, name: str | None = None) -> None:
    """Remove temporary files of killed processes (`.NAME.PID.tmp`) in a folder, for the file `name` or for any."""
    for path in folder.iterdir():
        found = _TEMPORARY.fullmatch(path.name)
        if found and name in (None, found[1]) and not _is_at_work(int(found[2])):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)


def _is_at_work(process: int) -> bool:
    """Whether another process with this id runs. Not this process: it has no unfinished file."""
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return process != os.getpid()


def sync(path: Path) -> None:
    """Sync the content of a file, or the names in a folder, to disk, so that it survives a power cut."""
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # errors of systems that cannot sync a folder
            raise
    finally:
        os.close(number)


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Hold the lock of `path` while it is read, changed and replaced. Leaves `.NAME.lock` beside it."""
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.with_name(f".{path.name}.lock").open("w")
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn the system's errors in writing `path` that a user can fix into InputError."""
    try:
        yield
    except OSError as error:
        raise disk_error(error, path) from error


@contextmanager
def full_disk(path: Path) -> Iterator[None]:
    """Turn a full disk, and a file in the place of a folder or vice versa, into InputError; also for reading."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise disk_error(error, path) from error
        if error.errno in IN_THE_WAY:
            raise disk_error(error, Path(error.filename) if isinstance(error.filename, str) else path) from error
        raise


def disk_error(error: OSError, path: Path) -> Exception:
    """An InputError for failures that a user can fix (disk full, no permission); else the error itself."""
    if error.errno in FULL:
        return InputError(
            f"{path}: the disk is full ({error.strerror}); free some space and run the same command again"
        )
    if error.errno in (errno.EACCES, errno.EROFS):
        return InputError(f"{path}: cannot be written ({error.strerror}); choose a folder you may write to")
    if error.errno in IN_THE_WAY:
        return InputError(
            f"{path}: cannot be written ({error.strerror}); something else has its name, or that of its folder: move it"
            " away"
        )
    return error


def lines(path: Path) -> list[bytes]:
    """The lines of a file, split at line feeds only: JSON may hold Unicode's other line separators as they are."""
    found = path.read_bytes().split(b"\n")
    return found if found[-1] else found[:-1]


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file atomically."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def json_text(value: Any) -> str:
    """JSON in the canonical layout of all files: indented, keys in the given order."""
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically, as `json_text` gives it."""
    write_text(path, json_text(value))


def read_json(path: Path) -> Any:
    """Read JSON. Raises InputError that names the file if it cannot be read or is not JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (IsADirectoryError, NotADirectoryError, PermissionError) as error:
        raise InputError(
            f"{path}: cannot be read ({error.strerror}); move away what stands there, or make it a file you may read"
        ) from error
    except (ValueError, RecursionError) as error:  # also numbers of thousands of digits, and lists nested without end
        raise InputError(f"{path}: not valid JSON ({error}); remove it and run the same command again") from error


def write_with(path: Path, write: Callable[[Path], Any]) -> None:
    """Let `write` fill a temporary path, then rename it to `path`."""
    with replacing(path) as temporary:
        write(temporary)
