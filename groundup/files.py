"""Writing files so that a crash leaves either the old content or the new, never a mixture."""

import fcntl
import hashlib
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from groundup.errors import InputError


def stays_inside(name: object) -> bool:
    """Whether a file's name, as others' data give it, is one below a folder: relative, without `..`, zero bytes and Windows' backslashes."""
    return isinstance(name, str) and bool(name) and not name.startswith("/") and ".." not in name.split("/") and not set(name) & {"\\", "\0"}


def inside(folder: Path, name: object) -> Path:
    """The file of a folder that others' data name. Raises InputError for a name that leads out of it, by itself or over a link."""
    try:
        if stays_inside(name) and (path := folder / str(name)).resolve().is_relative_to(folder.resolve()):
            return path
    except (OSError, ValueError, RuntimeError):  # no file's name, or links in a circle
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
    """Yield a temporary path beside `path`; on success it is synced and renamed over `path`, else removed.

    Raises InputError when the disk is full.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise disk_error(error, path) from error
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Wait until no other process is in such a block for `path`, which can then be read, changed and replaced. Leaves `.NAME.lock` beside it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        file = path.with_name(f".{path.name}.lock").open("w")
    except OSError as error:
        raise disk_error(error, path) from error
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def disk_error(error: OSError, path: Path) -> Exception:
    """An InputError for the failures a user can mend (disk full, no permission); else the error itself."""
    import errno

    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return InputError(f"{path}: the disk is full ({error.strerror}); free some space and run the same command again")
    if error.errno in (errno.EACCES, errno.EROFS):
        return InputError(f"{path}: cannot be written ({error.strerror}); choose a folder you may write to")
    return error


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically, indented, keys in the order given."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """Read JSON; raises InputError naming the file when it is not JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not valid JSON ({error}); remove it and run the same command again") from error


def write_with(path: Path, write: Callable[[Path], Any]) -> None:
    """Let `write` fill a temporary path, then rename it to `path`."""
    with replacing(path) as temporary:
        write(temporary)
