"""From what lies on disk, or is made, to documents: one function a kind of source.

A damaged file or line is counted and skipped while its share stays within the source's `bad_share`. What would
silently change the meaning of a source (no file at all, a table without the column) is refused at once.
"""

from collections.abc import Iterator
from itertools import chain
from math import ceil
from pathlib import Path
from typing import Any

from groundup.apps.sorter import orders_source as sentences
from groundup.apps.sorter import simulator_source as simulated
from groundup.codecs import image
from groundup.codecs.messages import DETAILS, check
from groundup.codecs.strict_json import only, says_nothing
from groundup.config.source import (
    BoxesSource,
    ImagesSource,
    LibrarySource,
    MessagesSource,
    OrdersSource,
    ScenesSource,
    SimulatorSource,
    Source,
    TableSource,
    TasksSource,
    TextSource,
)
from groundup.core.errors import InputError
from groundup.data import image_files, tasks
from groundup.data.document import Document
from groundup.data.filtered import Damage, Filtered
from groundup.data.lines import lines, record
from groundup.data.paths import names, shown, there
from groundup.data.sources import boxes as detections
from groundup.data.sources import images, scenes, tables
from groundup.data.sources import python_library as library

TEXT_SUFFIXES = (".txt", ".md")
TALK = ("messages", "tools")  # the keys of a conversation's line that make it
# Keys that say where a line is from, not what it says: not read, and told.
BOOKKEEPING = (
    "id",
    "uuid",
    "conversation_id",
    "prompt_id",
    "source",
    "dataset",
    "category",
    "language",
    "url",
    "created",
    "timestamp",
    "metadata",
)
REMEDIES = {
    "system": "write it as the first message, with the role system",
    "images": 'show each in a user\'s content, as {"type": "image_url", "image_url": {"url": ...}}',
    "functions": 'describe them in tools, as {"type": "function", "function": {...}}',
}
HELDOUT_TASKS = 300  # held-out instructions of one source, for its validation loss; evaluation makes its own


def inputs(source: Source, folder: Path) -> list[Path]:
    """The files a source reads, in order, for hashing; none for a source that is made.

    Paths are relative to `folder`, the recipe's. Raises InputError when nothing is there, or for tasks that nobody
    knows.
    """
    match source:
        case TextSource():
            return [Path(name) for name in names(source, folder, TEXT_SUFFIXES)]
        case MessagesSource():
            return _conversation_files(source, folder)
        case TableSource():
            return tables.inputs(source, folder)
        case ImagesSource():
            return images.inputs(source, folder)
        case BoxesSource():
            return detections.inputs(source, folder)
        case LibrarySource() | ScenesSource() | SimulatorSource() | OrdersSource():
            return []
        case TasksSource():
            tasks.check(source)
            return []


def read(source: Source, folder: Path, drops: Filtered) -> Iterator[Document]:
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
        case SimulatorSource():
            return simulated.documents(source)
        case OrdersSource():
            return sentences.documents(source)
        case LibrarySource():
            return library.documents(source, drops)
        case TasksSource():
            return _tasks(source)


def _texts(source: TextSource, folder: Path, drops: Filtered) -> Iterator[Document]:
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


def _conversations(source: MessagesSource, folder: Path, drops: Filtered) -> Iterator[Document]:
    damage = Damage(source, drops, "lines")
    for path in map(Path, names(source, folder, (".jsonl",))):
        for origin, line in lines(path, shown(path, folder), damage):
            try:
                value = _conversation(line)
                tools = None if says_nothing(value.get("tools")) else value["tools"]
                messages, shown_images = _with_images(value["messages"], path.parent)
                check(messages, tools)
            except (InputError, ValueError) as error:
                damage.note("broken line", origin, str(error))
            else:
                drops.pass_over(_unread(value))
                yield Document(source.name, origin, source.licence, messages=messages, tools=tools, images=shown_images)
    damage.settle()


def _conversation(line: bytes) -> dict[str, Any]:
    """What a line says, of which no more is known than that its messages are a list. Raises InputError for a key that
    would not be used.
    """
    value = record(line)
    if "messages" not in value:
        raise InputError(f'expected an object with a key "messages"; it has {", ".join(value) or "no keys"}')
    only(value, (*TALK, *BOOKKEEPING), "a conversation", REMEDIES)
    if not isinstance(value["messages"], list):
        raise InputError('"messages" must be a list')
    return value


def _unread(conversation: dict[str, Any]) -> list[str]:
    """What of a conversation's line is not read: bookkeeping, and the names of its speakers, whom only their roles tell
    apart.
    """
    named = ["name of a message"] if any(message.get("name") for message in conversation["messages"]) else []
    return [key for key in BOOKKEEPING if not says_nothing(conversation.get(key))] + named


def _with_images(messages: list[Any], folder: Path) -> tuple[list[Any], tuple[bytes, ...]]:
    """The messages with each image of a user as {"type": "image"}, and the images, in order: from data URIs or files
    inside `folder`.

    Data URIs count for the length of their line, which `max_chars` limits: files have no such limit, but that of all
    images. Raises InputError for an image that is elsewhere, unusable, or not given.
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


def _conversation_files(source: MessagesSource, folder: Path) -> list[Path]:
    """The files of conversations, then those of the images that they show; what is broken is told when it is read."""
    files = [Path(name) for name in names(source, folder, (".jsonl",))]
    found: dict[Path, None] = {}
    for path in files:
        for _, line in lines(path, shown(path, folder), Damage(source, Filtered(), "lines")):
            if b'"image_url"' in line:
                found |= dict.fromkeys(_image_files(line, path.parent))
    return [*files, *found]


def _image_files(line: bytes, folder: Path) -> list[Path]:
    try:
        messages = _conversation(line)["messages"]
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


def _tasks(source: TasksSource) -> Iterator[Document]:
    per_family = ceil(HELDOUT_TASKS / (len(source.families) * len(source.languages)))
    return chain(tasks.training(source), tasks.heldout(source, per_family))
