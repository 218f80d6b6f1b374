"""The split of a YOLO folder: the parts that its data.yaml names, or else folders called train, val and test."""

import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from groundup.core.errors import InputError
from groundup.core.files import stays_inside
from groundup.data.given_split import TEST, TRAIN, VAL, part_of
from groundup.data.paths import exists, there

_KEY = re.compile(r"(train|val|test)\s*:(?:\s+(.*))?$")
_QUOTED = re.compile(r"'([^']*)'|\"([^\"]*)\"|([^\s,\[\]'\"#][^,\[\]#]*)")

Parts = dict[Path, str]  # folders and images with their part


def lists(place: Path) -> list[Path]:
    """The files in which data.yaml lists images."""
    return [path for path in _named(place) if path.suffix.lower() == ".txt"]


def parts(place: Path, images: Path) -> Callable[[Path], str]:
    """The part of each image. What data.yaml names holds if it has a part to train on and another one, not the same."""
    named = _named(place)
    if TRAIN in named.values() and set(named.values()) != {TRAIN}:
        entries = {entry: part for path, part in named.items() for entry in _entries(path)}
        return partial(_within, entries)
    return lambda path: part_of(path.relative_to(images).parts[:-1])


def _within(entries: Parts, path: Path) -> str:
    """The part of an image, or of the innermost folder around it that has one."""
    return next((entries[each] for each in (path, *path.parents) if each in entries), "")


def _named(place: Path) -> Parts:
    """The folders and lists of images of data.yaml that are there; none where a part is named twice for one place."""
    file = next((path for name in ("data.yaml", "data.yml") if there(path := place / name)), None)
    if file is None:
        return {}
    rows = file.read_text(encoding="utf-8-sig", errors="replace").split("\n")
    named: Parts = {}
    for part in (TRAIN, VAL, TEST):
        for value in _values(rows, part):
            found = _found(place, value)
            if found is not None and named.setdefault(found, part) != part:
                return {}  # as in sample data whose images are in both parts
    return named


def _values(rows: list[str], key: str) -> Iterator[str]:
    """The value of a key at the start of a line, or the values of its list."""
    for number, row in enumerate(rows):
        if (match := _KEY.match(row)) and match[1] == key:
            block = [match[2] or ""]
            for line in rows[number + 1 :]:
                if not re.match(r"\s*-\s|\s+\S|\s*[\]#]", line):
                    break
                block.append(re.sub(r"^\s*-\s+", "", line))
            for line in block:
                text = re.sub(r"(^|\s)#.*$", "", line)
                yield from ((each[1] or each[2] or each[3] or "").strip() for each in _QUOTED.finditer(text))


def _found(place: Path, value: str) -> Path | None:
    """The folder or list of a value, relative to data.yaml; some programs write one parent folder too many."""
    inner = re.sub(r"^(\.{0,2}/)+", "", value.replace("\\", "/"))
    names = Path(inner).parts if stays_inside(inner) else ()
    return next(filter(exists, (place.joinpath(*names[at:]) for at in range(len(names)))), None)


def _entries(path: Path) -> Iterator[Path]:
    """A folder, or the images of a list."""
    if path.suffix.lower() != ".txt":
        yield path
        return
    try:
        rows = path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({error}); save it as UTF-8, an image a line") from None
    for row in filter(None, map(str.strip, rows)):
        if (found := _found(path.parent, row)) is not None:
            yield found
