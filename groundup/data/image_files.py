"""Shared by the image sources: suffixes, reading and checking, and the lists of held-out and left-out images."""

import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from stat import S_ISREG
from typing import Any, Protocol, TypeVar

from groundup.codecs import chat, image
from groundup.codecs.image import MOST_BYTES, BadImage
from groundup.codecs.patches import Pixels
from groundup.config.source import ImageFilesConfig
from groundup.core.errors import InputError
from groundup.core.files import inside
from groundup.data.document import Document
from groundup.data.filtered import Damage, Filtered
from groundup.data.given_split import NO_SPLIT, GivenSplit
from groundup.data.paths import legible, placed, shown, there

SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm")
UNREAD = (".heic", ".heif", ".avif")  # unsupported image formats: reported, not ignored
_NAMED = re.compile(rf".*(?:{'|'.join(map(re.escape, SUFFIXES))})(?=[\s,]|$)", re.IGNORECASE)
NO_CLASS = "class without a name"
LEFT_OUT = "listed in without_files"


# --- one image ----------------------------------------------------------------------------------------------


def load(path: Path) -> bytes:
    """The bytes of an image file; raises BadImage if it is missing, unreadable or (before reading) too large."""
    missing = BadImage("missing image", f"no file {legible(path.name)[:80]!r}")
    try:
        file = path.stat()
    except (OSError, ValueError):  # also for an invalid file name
        raise missing from None
    if not S_ISREG(file.st_mode):  # such as a pipe, which would never end
        raise missing
    if file.st_size > MOST_BYTES:
        raise BadImage("too large", f"{file.st_size:,} bytes; the most is {MOST_BYTES:,}")
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadImage("unreadable", error.strerror or str(error)) from None


def checked(data: bytes) -> Pixels:
    """The pixels of an encoded image, [H, W, 3]; raises BadImage for what cannot be used."""
    if len(data) > MOST_BYTES:
        raise BadImage("too large", f"{len(data):,} bytes; the most is {MOST_BYTES:,}")
    return image.decode(data)


def contained(folder: Path, name: str) -> Path:
    """The file inside a folder that a data file names. Raises BadImage for a file outside of the folder."""
    try:
        return inside(folder, name)
    except InputError as error:
        raise BadImage("image outside its folder", str(error)) from None


def asked(question: str, answer: str) -> list[dict[str, Any]]:
    """A conversation: a user's image and question, and the assistant's answer; without a question only the image."""
    if not question:
        return chat.shown()
    return [
        {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": question}]},
        {"role": "assistant", "content": answer},
    ]


# --- lists of images ----------------------------------------------------------------------------------------


class Found(Protocol):
    """An image that a source has found: the path by which lists may name it, and its name in reports."""

    @property
    def path(self) -> str:
        """As text, with slashes."""

    @property
    def origin(self) -> str:
        """File, and row or line inside it."""

    @property
    def where(self) -> str:
        """The place to repair if the image cannot be used."""

    @property
    def part(self) -> str:
        """Its part of the given split (`data.given_split`), or empty."""


F = TypeVar("F", bound=Found)


def _by_side(
    found: Callable[[], Iterable[F]], given: GivenSplit, source: ImageFilesConfig, folder: Path, drops: Filtered
) -> Iterator[tuple[F, bool]]:
    """Images of a source, each with whether a list or the given split holds it out; held-out ones first.

    `found` is called for each of the two parts and must give the same images in the same order. Raises InputError for
    an unreadable list, and for a name in it that matches no image or several, or is in both lists.
    """
    heldout, without = _entries(source.heldout_files, source, folder), _entries(source.without_files, source, folder)
    for part in (
        (True, False) if heldout or without or given.heldout else (False,)
    ):  # an invalid list is refused before images are decoded
        for each in found():
            held, left = _lists(heldout, each), _lists(without, each)
            if held and left:
                raise InputError(
                    f"source {source.name!r}: {held.where} and {left.where} both list {each.origin}; take it out of one"
                    " of them"
                )
            side = given.holds_out(each.part) if given.heldout else bool(held)
            if left and not part:
                drops.note(LEFT_OUT, each.origin)
            elif not left and (side is part or (side is None and not part)):
                given.tell(each.part, drops)
                if side is not None:
                    yield each, part
        for entry in (*heldout.values(), *without.values()):
            if not entry.origin:
                raise InputError(
                    f"source {source.name!r}: {entry.where}: {entry.name!r} is none of its images; correct or remove"
                    " that line"
                )


def documents(
    found: Callable[[], Iterable[F]],
    make: Callable[[F, bool], Document],
    source: ImageFilesConfig,
    folder: Path,
    damage: Damage,
    given: GivenSplit = NO_SPLIT,
) -> Iterator[Document]:
    """Documents that `make` makes of each image and whether it is held out; unusable images count as damage.

    Raises InputError as `_by_side` does, and for damage over `bad_share`.
    """
    for each, heldout in _by_side(found, given, source, folder, damage.drops):
        try:
            document = make(each, heldout)
        except BadImage as error:
            damage.note(error.reason, each.where, error.detail)
        else:
            yield replace(document, test=True) if given.test and each.part == given.test else document
    damage.settle()


def lists(source: ImageFilesConfig, folder: Path) -> list[Path]:
    """The files of the lists that a source names."""
    return [_list(name, source, folder) for name in (source.heldout_files, source.without_files) if name is not None]


def _list(name: str, source: ImageFilesConfig, folder: Path) -> Path:
    """The file of a list. Raises InputError if it is not a regular file: a pipe would never end."""
    path = placed(name, folder)
    if not there(path) and os.path.lexists(path):
        raise InputError(f"source {source.name!r}: the list {path} is no regular file; name a file of text")
    return path


@dataclass
class _Entry:
    """A line of a list, and the image that it names once that is known."""

    name: str
    where: str
    origin: str = ""


def _entries(listed: str | None, source: ImageFilesConfig, folder: Path) -> dict[str, _Entry]:
    """The names of a list, one a line; empty lines and lines that begin with # are skipped."""
    if listed is None:
        return {}
    path = _list(listed, source, folder)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"source {source.name!r}: the list {path} cannot be read ({error}); correct its name or save it as UTF-8"
            " text"
        ) from None
    entries: dict[str, _Entry] = {}
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip() and not line.startswith("#"):
            keys = [name.removeprefix("./").lstrip("/") for name in _written(line)]
            known = next((entries[key] for key in keys if key in entries), None)
            entry = known or _Entry(_written(line)[0], f"{shown(path, folder)}:{number}")
            entries |= {key: entry for key in keys if key not in entries}
    if not entries:
        raise InputError(f"source {source.name!r}: the list {path} names no image; fill it or leave the key out")
    return entries


def _written(line: str) -> list[str]:
    """The name on a line of a list, in quotes or not, columns after it left out.

    Without quotes and suffix the candidates are the whole line and its first word.

    >>> _written("in/my cat.JPG 3"), _written("my cat"), _written("'my cat' 3")
    (['in/my cat.JPG'], ['my cat', 'my'], ['my cat'])
    """
    first = line.strip().split("\t")[0]
    if quoted := re.match(r"([\"'])(.+?)\1", first):
        return [quoted[2]]
    named = _NAMED.match(first)
    return [named[0]] if named else list(dict.fromkeys((first, first.split()[0])))


def _lists(entries: dict[str, _Entry], found: Found) -> _Entry | None:
    """The entry that names an image: a tail of its path in whole names, with or without the suffix."""
    named = None
    for tail in _tails(found.path) if entries else ():
        if entry := entries.get(tail):
            if entry.origin not in ("", found.origin):
                raise InputError(
                    f"{entry.where}: {entry.name!r} fits both {entry.origin} and {found.origin}; write more of its path"
                )
            entry.origin = found.origin
            named = entry
    return named


def _tails(path: str) -> Iterator[str]:
    """The ends of a path.

    >>> list(_tails("/a/b.png"))
    ['b.png', 'b', 'a/b.png', 'a/b']
    """
    parts = path.lstrip("/").split("/")
    stem = parts[-1].rpartition(".")[0] or parts[-1]
    for start in range(len(parts) - 1, -1, -1):
        folders = parts[start:-1]
        yield "/".join([*folders, parts[-1]])
        if stem != parts[-1]:
            yield "/".join([*folders, stem])
