"""Opens files as streams of UTF-8: decompressed from gzip or zstd, and converted from another encoding."""

import codecs
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa

PACKINGS = {".gz": "gzip", ".zst": "zstd"}  # suffixes of compressed files
CHUNK = 1 << 18  # bytes read at once
_MARKS = (  # byte-order marks, longer ones first: one begins as another
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
    (codecs.BOM_UTF8, "utf-8"),
)
_WITHOUT_MARK = {"utf-16": "utf-16-le", "utf-32": "utf-32-le"}
_DAMAGE, MARKED = "groundup-damage", "groundup-marked"  # error handlers for bytes that are invalid in an encoding
MARK = "\ufdd0"  # a noncharacter, never part of a text


def _damage(error: UnicodeError) -> tuple[str | bytes, int]:
    """Error handler: invalid bytes become the byte 0xFF, not UTF-8, so that the line or row counts as damaged."""
    if isinstance(error, UnicodeEncodeError):
        return b"\xff", error.end
    assert isinstance(error, UnicodeDecodeError)
    return "\udcff", error.end


def _marked(error: UnicodeError) -> tuple[str | bytes, int]:
    """Error handler: invalid bytes become marked UTF-8, for readers that need UTF-8; `unmarked` restores them."""
    if isinstance(error, UnicodeEncodeError):
        return (MARK + "\u01ff").encode(), error.end
    assert isinstance(error, UnicodeDecodeError)
    return "".join(MARK + chr(0x100 + byte) for byte in error.object[error.start : error.end]), error.end


def unmarked(content: bytes) -> bytes:
    """Content that was read with MARKED, with the bytes that could not be decoded."""
    return _MARKED_BYTE.sub(lambda found: bytes([ord(found[1].decode()) - 0x100]), content)


_MARKED_BYTE = re.compile(MARK.encode() + rb"([\xc4-\xc7][\x80-\xbf])")
codecs.register_error(_DAMAGE, _damage)
codecs.register_error(MARKED, _marked)


def suffix(path: Path) -> str:
    """The suffix that says what a file holds, in lower case, without that of its packing.

    >>> suffix(Path("a.JSONL.gz"))
    '.jsonl'
    """
    last = path.suffix.lower()
    return Path(path.stem).suffix.lower() if last in PACKINGS else last


def packed(suffixes: tuple[str, ...]) -> tuple[str, ...]:
    """Suffixes, and those of the same files packed."""
    return (*suffixes, *(each + packing for each in suffixes for packing in PACKINGS))


@contextmanager
def opened(path: Path, encoding: str = "utf-8", errors: str = _DAMAGE) -> Iterator[io.BufferedReader]:
    """A file's content as UTF-8; a byte-order mark decides over `encoding`. Raises OSError.

    Bytes that are invalid in the encoding become bytes that are not UTF-8, or are MARKED.
    """
    packing = PACKINGS.get(path.suffix.lower())
    raw: Any = pa.input_stream(str(path), packing) if packing else path.open("rb", 0)
    with io.BufferedReader(raw, CHUNK) as file:
        start = file.peek(4)[:4]
        found = next((name for mark, name in _MARKS if start.startswith(mark)), "")
        found = found or _WITHOUT_MARK.get(codecs.lookup(encoding).name, encoding)
        if codecs.lookup(found).name == "utf-8" and errors == _DAMAGE:
            yield file
        else:
            yield io.BufferedReader(_Recoded(file, found, errors), CHUNK)


class _Recoded(io.RawIOBase):
    """A stream in another encoding, read as UTF-8."""

    def __init__(self, stream: io.BufferedReader, encoding: str, errors: str):
        self._stream, self._errors, self._left = stream, errors, b""
        self._decoder = codecs.getincrementaldecoder(encoding)(errors)

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer; returns the number of bytes, 0 at the end."""
        while not self._left:
            chunk = self._stream.read(CHUNK)
            try:
                self._left = self._decoder.decode(chunk, not chunk).encode(errors=self._errors)
            except UnicodeError as error:  # of codecs that take no handler
                raise OSError(f"{error}") from None
            if not chunk:
                break
        count = min(len(buffer), len(self._left))
        buffer[:count], self._left = self._left[:count], self._left[count:]
        return count


def guessed(sample: bytes) -> str | None:
    """Guess the encoding of a text that is not UTF-8, by the frequencies of its letters."""
    from charset_normalizer import from_bytes  # loads its tables, for an error only

    best = from_bytes(sample, cp_isolation=_PLAUSIBLE).best()
    if best is None:
        return None
    return _WESTERN if str(best) == sample.decode(_WESTERN, "replace") else best.encoding


_WESTERN = "cp1252"  # Latin-1 with quotation marks and the euro
_PLAUSIBLE = [
    *(_WESTERN, "cp1250", "cp1251", "koi8_r", "cp866", "cp1253", "cp1254", "cp1255", "cp1256"),
    *("gb18030", "big5", "cp932", "euc_jp", "cp949"),
]
