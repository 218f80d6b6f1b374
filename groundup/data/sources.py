"""From what lies on disk, or is made, to documents: one function a kind of source.

A damaged file or line is counted and skipped while its share stays within the source's `bad_share`. What would
silently change the meaning of a source (no file at all, a table without the column) is refused at once.
"""

import json
from collections.abc import Iterator
from itertools import chain
from math import ceil
from pathlib import Path
from typing import Any

from groundup.codecs import chat
from groundup.data import detections, images, library, scenes, tables, tasks
from groundup.data.document import Document
from groundup.data.drops import Damage, Drops
from groundup.data.lines import lines
from groundup.data.paths import names, shown
from groundup.errors import InputError
from groundup.recipe import BoxesSource, ImagesSource, LibrarySource, MessagesSource, ScenesSource, Source, TableSource, TasksSource, TextSource

TEXT_SUFFIXES = (".txt", ".md")
HELDOUT_TASKS = 300  # held-out instructions of one source, for its validation loss; evaluation makes its own


def inputs(source: Source, folder: Path) -> list[Path]:
    """The files a source reads, in order, for hashing; none for a source that is made.

    Paths are relative to `folder`, the recipe's. Raises InputError when nothing is there, or for tasks that nobody knows.
    """
    match source:
        case TextSource():
            return [Path(name) for name in names(source, folder, TEXT_SUFFIXES)]
        case MessagesSource():
            return [Path(name) for name in names(source, folder, (".jsonl",))]
        case TableSource():
            return tables.inputs(source, folder)
        case ImagesSource():
            return images.inputs(source, folder)
        case BoxesSource():
            return detections.inputs(source, folder)
        case LibrarySource() | ScenesSource():
            return []
        case TasksSource():
            tasks.check(source)
            return []


def read(source: Source, folder: Path, drops: Drops) -> Iterator[Document]:
    """Stream the documents of a source, in the same order every time; damage is counted in `drops`.

    Raises InputError for missing files, a missing column, or damage over the source's `bad_share`.
    """
    match source:
        case TextSource():
            return _texts(source, folder, drops)
        case MessagesSource():
            return _conversations(source, folder, drops)
        case TableSource():
            return tables.rows(source, folder, drops)
        case ImagesSource():
            return images.documents(source, folder, drops)
        case BoxesSource():
            return detections.documents(source, folder, drops)
        case ScenesSource():
            return scenes.documents(source)
        case LibrarySource():
            return library.documents(source, drops)
        case TasksSource():
            return _tasks(source)


def _texts(source: TextSource, folder: Path, drops: Drops) -> Iterator[Document]:
    damage = Damage(source, drops, "files")
    for path in map(Path, names(source, folder, TEXT_SUFFIXES)):
        damage.seen += 1
        origin = shown(path, folder)
        try:
            if path.stat().st_size > 4 * source.max_chars:  # a character takes at most 4 bytes: not loaded at all
                drops.note("too long", origin)
                continue
            content = path.read_bytes()
            if b"\0" in content:
                damage.note("binary", origin, "it holds NUL bytes; text must be UTF-8")
                continue
            yield Document(source.name, origin, source.licence, text=content.decode("utf-8-sig"))
        except OSError as error:
            damage.note("unreadable", origin, error.strerror or str(error))
        except UnicodeDecodeError as error:
            damage.note("invalid UTF-8", origin, f"byte {error.start}")
    damage.settle()


def _conversations(source: MessagesSource, folder: Path, drops: Drops) -> Iterator[Document]:
    damage = Damage(source, drops, "lines")
    for path in inputs(source, folder):
        for origin, line in lines(path, shown(path, folder), damage):
            try:
                messages, tools = _conversation(line)
            except (InputError, ValueError, RecursionError) as error:
                damage.note("broken line", origin, str(error))
            else:
                yield Document(source.name, origin, source.licence, messages=messages, tools=tools)
    damage.settle()


def _conversation(line: bytes) -> tuple[list[dict[str, Any]], list[dict[str, Any]] | None]:
    value = json.loads(line.decode("utf-8-sig"))
    if not isinstance(value, dict) or "messages" not in value:
        raise InputError('expected an object with a key "messages"')
    messages, tools = value["messages"], value.get("tools")
    if not isinstance(messages, list):
        raise InputError('"messages" must be a list')
    chat.check(messages, tools)
    return messages, tools or None


def _tasks(source: TasksSource) -> Iterator[Document]:
    per_family = ceil(HELDOUT_TASKS / (len(source.families) * len(source.languages)))
    return chain(tasks.training(source), tasks.heldout(source, per_family))
