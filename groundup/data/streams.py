"""Files as streams of UTF-8: unpacked from gzip or zstd, and recoded from another encoding."""

import codecs
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa

PACKINGS = {".gz": "gzip", ".zst": "zstd"}  # suffixes of packed files
CHUNK = 1 << 18  # bytes read at once
_MARKS = (  # byte-order marks, longer ones first: one begins as another
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
    (codecs.BOM_UTF8, "utf-8"),
)
_DAMAGE = "groundup-damage"


def _damage(error: UnicodeError) -> tuple[str | bytes, int]:
    """What cannot be decoded becomes the byte 0xFF, which is no UTF-8: whoever reads the line or row counts it."""
    if isinstance(error, UnicodeEncodeError):
        return b"\xff", error.end
    assert isinstance(error, UnicodeDecodeError)
    return "\udcff", error.end


codecs.register_error(_DAMAGE, _damage)


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
def opened(path: Path, encoding: str = "utf-8") -> Iterator[io.BufferedReader]:
    """A file's content as UTF-8; a byte-order mark decides over `encoding`. Raises OSError.

    Bytes that the encoding does not know stay as bytes that are no UTF-8.
    """
    packing = PACKINGS.get(path.suffix.lower())
    raw: Any = pa.input_stream(str(path), packing) if packing else path.open("rb", 0)
    with io.BufferedReader(raw, CHUNK) as file:
        start = file.peek(4)[:4]
        found = next((name for mark, name in _MARKS if start.startswith(mark)), encoding)
        if codecs.lookup(found).name == "utf-8":
            yield file
        else:
            yield io.BufferedReader(_Recoded(file, found), CHUNK)


class _Recoded(io.RawIOBase):
    """A stream in another encoding, read as UTF-8."""

    def __init__(self, stream: io.BufferedReader, encoding: str):
        self._stream, self._left = stream, b""
        self._decoder = codecs.getincrementaldecoder(encoding)(_DAMAGE)

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer; returns the number of bytes, 0 at the end."""
        while not self._left:
            chunk = self._stream.read(CHUNK)
            self._left = self._decoder.decode(chunk, not chunk).encode(errors=_DAMAGE)
            if not chunk:
                break
        count = min(len(buffer), len(self._left))
        buffer[:count], self._left = self._left[:count], self._left[count:]
        return count


def guessed(sample: bytes) -> str | None:
    """The encoding that a text which is no UTF-8 is probably in, by the frequencies of its letters."""
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
