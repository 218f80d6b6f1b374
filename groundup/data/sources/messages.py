"""Conversations in the formats in which they are published, with images from files or data URIs."""

import re
from collections.abc import Iterator
from contextlib import suppress
from itertools import chain, pairwise
from pathlib import Path
from typing import Any, ClassVar, Literal

from groundup.codecs import image
from groundup.codecs.messages import DETAILS, check
from groundup.codecs.strict_json import only
from groundup.config.base import knob
from groundup.core.errors import InputError
from groundup.core.tables import SOURCES
from groundup.data import image_files, table_files
from groundup.data.chat_formats import Conversation, PreferencePair, Row, conversation
from groundup.data.document import Document
from groundup.data.filtered import Damage, Filtered
from groundup.data.lines import as_object, parsed, records
from groundup.data.paths import placed, shown, there
from groundup.data.source import TextFilesSource
from groundup.data.streams import CHUNK, opened, suffix

BATCH_ROWS = 256  # of a table
TURNS, TURNS_BYTES = 10_000, 1 << 26  # most messages, and bytes of them, in a file that is one conversation
_IMAGE = re.compile(rb'image_url|"images?"')  # in JSON that shows images


class MessagesSource(TextFilesSource):
    """Conversations as they are published, recognised by their keys: JSON, CSV, Parquet, Arrow, saved datasets."""

    version = 3  # files named after the parts of a split are that split
    holds: ClassVar[Literal["conversations", "preferences"]] = "conversations"

    images: str | None = knob(
        None, "folder", "folder that the paths of images start from; default: that of the conversations"
    )
    ignore: tuple[str, ...] = knob(
        (), "keys", "keys or columns to skip although they may change the meaning of a row, such as a score"
    )

    def paths(self, folder: Path) -> list[Path]:
        """The files of conversations."""
        return table_files.paths(self, folder)

    def split_paths(self, folder: Path) -> dict[str, list[Path]]:
        """Those files by the part of a split that their names say."""
        return table_files.by_part(self, folder)

    def files(self, folder: Path) -> list[Path]:
        """The files of conversations, then those of their images; a broken row is reported when it is read."""
        files = super().files(folder)
        found: dict[Path, None] = {}
        for path in files:
            damage = Damage(self, Filtered(), "rows")
            for _, row in _rows(self, path, folder, damage) if _shows_images(self, path) else ():
                found |= dict.fromkeys(_image_files(self, row, _home(self, path, folder)))
        return [*files, *found]

    def documents(self, paths: list[Path], folder: Path, drops: Filtered) -> Iterator[Document]:
        """Stream the conversations with their images; a row that is no conversation is damage.

        Raises InputError for preference pairs, for damage over `bad_share` and for a file that cannot be read.
        """
        damage = Damage(self, drops, "rows")
        for path in paths:
            for origin, row in _rows(self, path, folder, damage):
                try:
                    talk = self.talk(_record(row))
                    document = self._document(talk, origin, _home(self, path, folder))
                except PreferencePair as error:
                    raise InputError(f"source {self.name!r}: {origin}: {error}") from None
                except UnicodeDecodeError as error:
                    damage.note_undecodable(origin, error)
                except (InputError, ValueError) as error:
                    damage.note("broken line", origin, str(error))
                else:
                    drops.pass_over(talk.unread)
                    drops.recognise(f"rows as {talk.form}")
                    yield document
        damage.settle()

    def talk(self, row: Row) -> Conversation:
        """The conversation of a row. Raises InputError for a row that is none, PreferencePair for a pair."""
        return conversation(row, self.ignore)

    def _document(self, talk: Conversation, origin: str, folder: Path) -> Document:
        messages, shown_images = _with_images(talk.messages, folder)
        document = Document(self.name, origin, self.licence, messages=messages, tools=talk.tools, images=shown_images)
        self.check(document)
        return document

    def check(self, document: Document) -> None:
        """Raise InputError for messages that are no conversation."""
        check(document.messages or [], document.tools)


def _home(source: MessagesSource, path: Path, folder: Path) -> Path:
    """The folder where the paths of a file's images begin."""
    return path.parent if source.images is None else placed(source.images, folder)


Unread = bytes | dict[str, Any]  # a row: JSON as it is written, or a table's


def _rows(source: MessagesSource, path: Path, folder: Path, damage: Damage) -> Iterator[tuple[str, Unread]]:
    """Stream the rows of a file, with their origin."""
    name = shown(path, folder)
    if suffix(path) in table_files.JSON:
        yield from _talks(records(path, name, damage, source.encoding), path, name)
        return
    number = 0

    def choose(columns: list[str]) -> list[str]:
        return [column for column in columns if column not in source.ignore]

    for batch in table_files.columns(path, source, choose, BATCH_ROWS, damage):
        for start in range(0, batch.num_rows, BATCH_ROWS):
            with table_files.readable(source, path):
                rows = batch.slice(start, BATCH_ROWS).to_pylist()
            for row in rows:
                number += 1
                damage.seen += 1
                yield f"{name}:{number}", row


def _talks(rows: Iterator[tuple[str, bytes]], path: Path, name: str) -> Iterator[tuple[str, Unread]]:
    """The rows of a JSON file; one that is a list of messages is a single conversation."""
    first = next(rows, None)
    if first is None or not _is_message(first[1]):
        yield from rows if first is None else chain([first], rows)
        return
    turns, size = [first[1]], 0
    for _, line in rows:
        turns.append(line)
        size += len(line)
        if len(turns) > TURNS or size > TURNS_BYTES:
            raise InputError(
                f"{path}: a list of messages alone is one conversation, and this one has more than {TURNS:,} messages"
                f" or {TURNS_BYTES:,} bytes; write each conversation as a list of its own"
            )
    yield name, b"[" + b",".join(turns) + b"]"


def _is_message(line: bytes) -> bool:
    with suppress(ValueError):
        found = parsed(line)
        return (
            isinstance(found, dict)
            and bool(found.keys() & {"role", "from"})
            and bool(found.keys() & {"content", "value"})
        )
    return False


def _record(row: Unread) -> dict[str, Any]:
    """A row as keys and values; a bare list of messages as one. Raises ValueError for other JSON, and for no UTF-8."""
    if isinstance(row, bytes):
        found = parsed(row)
        return {"messages": found} if isinstance(found, list) and found else as_object(found)
    return {key: value.decode() if isinstance(value, bytes) else _without_nulls(value) for key, value in row.items()}


def _without_nulls(value: Any) -> Any:
    """A value of a table without null keys: in a table each object has the keys of all objects."""
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    return [_without_nulls(item) for item in value] if isinstance(value, list) else value


def _with_images(messages: list[Any], folder: Path) -> tuple[list[Any], tuple[bytes, ...]]:
    """The messages with each user image as {"type": "image"}, and the images: from data URIs or files in `folder`.

    `max_chars` limits data URIs with their line; files have the limit of all images. Raises InputError for an image
    that is elsewhere, unusable or missing.
    """
    images: list[bytes] = []

    def part(value: Any) -> Any:
        kind = value.get("type") if isinstance(value, dict) else None
        if kind == "image":
            raise InputError(
                'a part of type "image" without an image; write {"type": "image_url", "image_url": {"url": ...}}'
            )
        if kind != "image_url":
            return value
        images.append(_image(_url(value), folder))
        return {"type": "image"}

    result = []
    for message in messages:
        if isinstance(message, dict) and message.get("role") == "user" and isinstance(message.get("content"), list):
            message = {**message, "content": list(map(part, message["content"]))}
        result.append(message)
    return result, tuple(images)


def _url(part: dict[str, Any]) -> str:
    inner = part["image_url"] if isinstance(part.get("image_url"), dict) else {}
    url = inner.get("url")
    if not isinstance(url, str) or not url:
        raise InputError('an image part without its "url"; write {"type": "image_url", "image_url": {"url": ...}}')
    only(part, ("type", "image_url"), "an image part")
    only(inner, ("url", "detail"), "image_url")
    if inner.get("detail") not in (None, *DETAILS):
        raise InputError(f"the detail of an image is {inner['detail']!r}; it must be one of {', '.join(DETAILS)}")
    return url


def _image(url: str, folder: Path) -> bytes:
    """The bytes of a data URI or of a file inside a folder, checked."""
    if _elsewhere(url):
        raise InputError(
            f"an image at {url[:40]!r}; nothing is fetched: save it beside the file and write its path, or as a"
            " data URI"
        )
    data = image.from_uri(url) if url[:5].lower() == "data:" else image_files.load(image_files.contained(folder, url))
    image_files.checked(data)
    return data


def _elsewhere(url: str) -> bool:
    return "://" in url[:40]


def _shows_images(source: MessagesSource, path: Path) -> bool:
    """Whether a file contains an image part anywhere; most do not and need no parsing for images."""
    if suffix(path) in table_files.PLAIN:
        with table_files.readable(source, path), opened(path, source.encoding) as file:
            pieces = iter(lambda: file.read(CHUNK), b"")
            return any(_IMAGE.search(before + piece) for before, piece in pairwise(chain([b""], pieces)))
    batches = table_files.columns(path, source, list, BATCH_ROWS, Damage(source, Filtered(), "rows"))
    return any(
        "image" in str(batch.schema) or _IMAGE.search(batch.serialize().to_pybytes()) is not None for batch in batches
    )


def _image_files(source: MessagesSource, row: Unread, folder: Path) -> list[Path]:
    try:
        messages = source.talk(_record(row)).messages
        contents = [
            message["content"]
            for message in messages
            if message["role"] == "user" and isinstance(message["content"], list)
        ]
        urls = [_url(part) for content in contents for part in content if part["type"] == "image_url"]
        files = [
            image_files.contained(folder, url) for url in urls if url[:5].lower() != "data:" and not _elsewhere(url)
        ]
    except (InputError, ValueError, LookupError, TypeError):
        return []
    return [path for path in files if there(path)]


SOURCES.add("messages", MessagesSource)
