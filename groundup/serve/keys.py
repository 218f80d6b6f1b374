"""API keys: random tokens; only their hashes are stored, in a file.

A line is `NAME SHA256 [REQUESTS-A-MINUTE [AT-A-TIME]]`; `-` means the server's limit, `#` begins a comment. A changed
file is read again, so deleting a line revokes its key.
"""

import hmac
import os
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from groundup.config.base import NAME
from groundup.core.errors import InputError
from groundup.core.files import alone, replacing

PREFIX = "gu-"  # so that secret scanners recognise keys


@dataclass(frozen=True)
class Key:
    """One key: its owner's name, its hash, and its rate limits (None: the server's)."""

    name: str
    digest: str
    requests_per_minute: int | None = None
    concurrent: int | None = None


class Keys:
    """The keys of a file; an invalid change is ignored and reported once. Raises InputError for an unusable file."""

    def __init__(self, path: Path):
        self.path = path
        self.on_error: Callable[[str], None] = lambda message: None
        self._file_version: tuple[int, ...] = _file_version(path)
        self._keys = read(path)
        if not self._keys:
            raise InputError(f"{path}: holds no key; `groundup key NAME --keys {path}` makes one")

    def authenticate(self, token: str) -> Key | None:
        """The key of a client's token, or None; compared with all keys in constant time."""
        self._refresh()
        digest, found = sha256(token.encode("utf-8", errors="surrogateescape")).hexdigest(), None
        for key in self._keys:
            if hmac.compare_digest(key.digest, digest):
                found = key
        return found

    def _refresh(self) -> None:
        stamp: tuple[int, ...] = ()  # no file
        try:
            stamp = _file_version(self.path)
            if stamp != self._file_version:
                self._keys = read(self.path)
        except InputError as error:
            if stamp != self._file_version:
                self.on_error(f"{error}; the previous keys stay valid")
        self._file_version = stamp


def read(path: Path) -> list[Key]:
    """Read a file of keys. Raises InputError that names the line."""
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({error}); `groundup key NAME --keys {path}` makes one") from None
    found: list[Key] = []
    for number, line in enumerate(lines, 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        if not 2 <= len(words) <= 4 or not re.fullmatch(NAME, words[0]) or not re.fullmatch("[0-9a-f]{64}", words[1]):
            raise InputError(f"{path}:{number}: no key; a line is NAME SHA256 [REQUESTS-A-MINUTE [AT-A-TIME]]")
        if words[0] in {key.name for key in found}:
            raise InputError(f"{path}:{number}: a second key {words[0]!r}; give each its own name")
        found.append(Key(words[0], words[1], *(_number(word, path, number) for word in words[2:])))
    return found


def make(path: Path, name: str, requests_per_minute: int | None = None, concurrent: int | None = None) -> str:
    """Add a key to a file (mode 0600); return the token, stored nowhere. Raises InputError for a taken name."""
    if not re.fullmatch(NAME, name):
        raise InputError(f"{name}: not a name for a key; use lower-case letters, digits, - and _")
    token = PREFIX + secrets.token_urlsafe(32)
    limits = " ".join("-" if limit is None else str(limit) for limit in (requests_per_minute, concurrent))
    with alone(path):
        _add(path, name, f"{sha256(token.encode()).hexdigest()} {limits}")
    return token


def _add(path: Path, name: str, rest: str) -> None:
    if path.exists() and name in {key.name for key in read(path)}:
        raise InputError(f"{path}: has a key {name!r} already; choose another name, or delete its line")
    before = path.read_text(encoding="utf-8") if path.exists() else ""
    before += "\n" if before and not before.endswith("\n") else ""  # a file edited by hand
    with replacing(path) as temporary:
        os.close(os.open(temporary, os.O_CREAT | os.O_WRONLY | os.O_EXCL, 0o600))
        temporary.write_text(f"{before}{name} {rest}\n", encoding="utf-8")


def _number(word: str, path: Path, line: int) -> int | None:
    if word == "-":
        return None
    if not re.fullmatch("[0-9]{1,9}", word) or not int(word):
        raise InputError(f"{path}:{line}: {word!r} is no limit; give a whole number above 0, or - for none")
    return int(word)


def _file_version(path: Path) -> tuple[int, ...]:
    try:
        stat = path.stat()
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read ({error.strerror}); `groundup key NAME --keys {path}` makes one"
        ) from None
    return stat.st_mtime_ns, stat.st_size, stat.st_ino
