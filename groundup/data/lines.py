"""JSON lines, read so that one endless line cannot fill memory."""

from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from groundup.codecs import strict_json
from groundup.core.errors import InputError
from groundup.data.filtered import Damage

LONGEST_ESCAPE = 12  # bytes of one character in JSON: an escaped surrogate pair
LINE_OVERHEAD = 65_536  # bytes a line may have beyond its characters: braces, keys, numbers


def lines(path: Path, name: str, damage: Damage) -> Iterator[tuple[str, bytes]]:
    """Stream a file's lines with their origin, `name:number`; empty or too long ones are dropped and counted.

    Raises InputError when the file cannot be read.
    """
    limit = LONGEST_ESCAPE * damage.source.max_chars + LINE_OVERHEAD
    try:
        with path.open("rb") as file:
            number = 0
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
    except OSError as error:
        raise InputError(
            f"source {damage.source.name!r}: {path} cannot be read ({error.strerror}); mend or remove it"
        ) from error


def record(line: bytes) -> dict[str, Any]:
    """The JSON object of a line. Raises ValueError for anything else, or JSON that readers would read differently."""
    value = strict_json.loads(line.decode("utf-8-sig"))
    if not isinstance(value, dict):
        raise ValueError(f"expected an object, found {type(value).__name__}")
    return value


def _skip_line(file: IO[bytes], limit: int) -> None:
    while (rest := file.readline(limit)) and not rest.endswith(b"\n"):
        pass
