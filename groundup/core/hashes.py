"""Hashes of source files, cached between runs."""

import os
import time
from pathlib import Path
from typing import Any

from groundup.core.errors import InputError
from groundup.core.files import read_json, sha256, write_json

JUST_NOW = 2_000_000_000  # nanoseconds in which a file may change twice and keep its ctime


class Hashes:
    """SHA-256 of source files, cached by path, size, mtime and ctime, so that a large corpus is hashed once.

    Only the system sets ctime: a changed file whose mtime was set back is hashed again.
    """

    def __init__(self, memory: Path):
        self.memory = memory
        self.known = _remembered(memory)
        self.changed = False

    def of(self, path: Path) -> str:
        """The hash of a file."""
        name = recorded(path)
        stamp, entry = _stamp(path), self.known.get(name)
        if entry is None or entry[:-1] != stamp:
            entry = [*stamp, sha256(path)]
            self.known[name] = entry
            self.changed = True
        return str(entry[-1])

    def holds(self, path: Path) -> bool:
        """Whether a file is unchanged since `of` hashed it. The file is always read again, without the cache."""
        entry = self.known[recorded(path)]
        return path.is_file() and entry == [*_stamp(path), sha256(path)] and entry[:-1] == _stamp(path)

    def keep(self) -> None:
        """Write the cache, without files that changed just now: their next change might have the same time."""
        if self.changed:
            latest = time.time_ns() - JUST_NOW
            write_json(self.memory, {path: entry for path, entry in self.known.items() if max(entry[1:3]) < latest})
            self.changed = False


def recorded(path: Path) -> str:
    """A path as records hold it, with bytes that are not UTF-8 escaped."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _remembered(memory: Path) -> dict[str, list[Any]]:
    """The valid entries of the cache; files without one are hashed again."""
    try:
        known = read_json(memory)
    except (InputError, FileNotFoundError):
        return {}
    entries = known.items() if isinstance(known, dict) else ()
    return {
        path: entry
        for path, entry in entries
        if isinstance(entry, list) and list(map(type, entry)) == [int, int, int, int, str]
    }


def _stamp(path: Path) -> list[int]:
    stat = path.stat()
    return [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino]
