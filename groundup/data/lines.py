"""Streams JSON objects of a file, one a line or in an array; an endless line cannot fill memory."""

import codecs
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from groundup.codecs import strict_json
from groundup.core.errors import InputError
from groundup.data.filtered import Damage
from groundup.data.streams import CHUNK, opened

LONGEST_ESCAPE = 12  # bytes of one character in JSON: an escaped surrogate pair
LINE_OVERHEAD = 65_536  # bytes a line may have beyond its characters: braces, keys, numbers

_ENDS = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=str)  # used only to find where a value ends
_BETWEEN = " \t\r\n,"


def records(path: Path, name: str, damage: Damage, encoding: str = "utf-8") -> Iterator[tuple[str, bytes]]:
    """Stream the JSON objects of a file with their origin: those of an array, or one a line.

    Lines that are too long are filtered and counted. In an array, the object after a broken one cannot be found: this
    raises InputError, as does a file that cannot be read.
    """
    with _reading(path, damage), opened(path, encoding) as file:
        first, _, rest = file.peek().removeprefix(codecs.BOM_UTF8).lstrip().partition(b"\n")
        whole = first.startswith(b"[") or first.strip() == b"{"  # an array, or over several lines
        whole = whole and not (rest.lstrip().startswith(b"[") and _is_array(first))  # but for an array a line
        yield from _elements(file, path, name, damage) if whole else _lines(file, name, damage)


def _is_array(line: bytes) -> bool:
    try:
        return isinstance(_ENDS.decode(line.decode()), list)
    except (ValueError, RecursionError):
        return False


def lines(path: Path, name: str, damage: Damage) -> Iterator[tuple[str, bytes]]:
    """Stream a file's lines with their origin, `name:number`; empty or too long ones are filtered and counted.

    Raises InputError when the file cannot be read.
    """
    with _reading(path, damage), opened(path) as file:
        yield from _lines(file, name, damage)


@contextmanager
def _reading(path: Path, damage: Damage) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(
            f"source {damage.source.name!r}: {path} cannot be read ({error.strerror or error}); mend or remove it"
        ) from error


def record(line: bytes) -> dict[str, Any]:
    """The JSON object of a line. Raises ValueError for anything else, and for ambiguous JSON (duplicate keys)."""
    return as_object(parsed(line))


def parsed(line: bytes) -> Any:
    """The JSON value of a line. Raises ValueError for anything else, and for ambiguous JSON (duplicate keys)."""
    return strict_json.loads(line.decode("utf-8-sig"))


def as_object(value: Any) -> dict[str, Any]:
    """A JSON value that is an object; raises ValueError for any other."""
    if not isinstance(value, dict):
        raise ValueError(f"expected an object, found {type(value).__name__}")
    return value


def _limit(damage: Damage) -> int:
    return LONGEST_ESCAPE * damage.source.max_chars + LINE_OVERHEAD


def _lines(file: IO[bytes], name: str, damage: Damage) -> Iterator[tuple[str, bytes]]:
    number, limit = 0, _limit(damage)
    while line := file.readline(limit):
        number += 1
        damage.seen += 1
        if len(line) == limit and not line.endswith(b"\n"):
            damage.drops.note("too long", f"{name}:{number}")
            _skip_line(file, limit)
        elif not line.strip():
            damage.drops.note("empty", f"{name}:{number}")
        else:
            yield f"{name}:{number}", line


def _skip_line(file: IO[bytes], limit: int) -> None:
    while (rest := file.readline(limit)) and not rest.endswith(b"\n"):
        pass


def _elements(file: IO[bytes], path: Path, name: str, damage: Damage) -> Iterator[tuple[str, bytes]]:
    """The objects of an array, or objects one after another, with their numbers."""
    text, number = _Ahead(file), 0
    array = text.starts("[")
    text.at += array
    while text.starts(""):
        if array and text.starts("]"):
            text.at += 1
            if not text.starts(""):
                return
            raise _broken(path, damage, text.line, "text after the end of the array")
        value = text.value(_limit(damage))
        if value is None:
            raise _broken(path, damage, text.line, f"object {number + 1} is broken or too long for max_chars")
        number += 1
        damage.seen += 1
        yield f"{name}:{number}", value.encode(errors="surrogateescape")
    if array:
        raise _broken(path, damage, text.line, "the array does not end: part of the file is missing")


def _broken(path: Path, damage: Damage, line: int, what: str) -> InputError:
    return InputError(f"source {damage.source.name!r}: {path}:{line}: {what}; mend it, or write one object a line")


class _Ahead:
    """The text of a file, read in chunks ahead of the parser; bytes that are not UTF-8 become surrogates."""

    def __init__(self, file: IO[bytes]):
        self._file, self._more = file, True
        self._decode = codecs.getincrementaldecoder("utf-8-sig")("surrogateescape").decode
        self.text, self.at, self._before = "", 0, 1

    @property
    def line(self) -> int:
        """The number of the current line."""
        return self._before + self.text.count("\n", 0, self.at)

    def starts(self, start: str) -> bool:
        """Skip blanks and commas; whether the rest begins with `start`."""
        while True:
            while self.at < len(self.text) and self.text[self.at] in _BETWEEN:
                self.at += 1
            if self.at < len(self.text):
                return self.text.startswith(start, self.at)
            if not self._fill():
                return False

    def value(self, limit: int) -> str | None:
        """The JSON text of the value that begins here; None if it is broken or longer than `limit`."""
        while True:
            try:
                end = _ENDS.raw_decode(self.text, self.at)[1]
            except (ValueError, RecursionError):
                if len(self.text) - self.at > limit or not self._fill():
                    return None
            else:
                start, self.at = self.at, end
                return self.text[start:end]

    def _fill(self) -> bool:
        """Double the buffered text, so that a long value is parsed only a few times; False at the end of the file."""
        if self._more:
            self._before = self.line
            chunk = self._file.read(max(CHUNK, len(self.text) - self.at))
            self.text, self.at = self.text[self.at :] + self._decode(chunk, not chunk), 0
            self._more = bool(chunk)
        return self._more
