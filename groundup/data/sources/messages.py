"""Conversations as JSON lines in the OpenAI shape, with images from files or data URIs."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from groundup.codecs import image
from groundup.codecs.messages import DETAILS, check
from groundup.codecs.strict_json import only, says_nothing
from groundup.config.source import FileSourceConfig
from groundup.core.errors import InputError
from groundup.core.tables import SOURCES
from groundup.data import image_files
from groundup.data.document import Document
from groundup.data.filtered import Damage, Filtered
from groundup.data.lines import lines, record
from groundup.data.paths import names, shown, there
from groundup.data.source import Source

CONVERSATION = ("messages", "tools")  # the keys of a conversation's line that make it
# Keys of a line's provenance: not read, and reported.
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


class MessagesSource(FileSourceConfig, Source):
    """Conversations: JSON lines with `messages` (and `tools`) in the OpenAI shape."""

    holds = "conversations"

    def files(self, folder: Path) -> list[Path]:
        """The files of conversations, then those of their images; a broken line is reported when it is read."""
        files = [Path(name) for name in names(self, folder, (".jsonl",))]
        found: dict[Path, None] = {}
        for path in files:
            for _, line in lines(path, shown(path, folder), Damage(self, Filtered(), "lines")):
                if b'"image_url"' in line:
                    found |= dict.fromkeys(_image_files(line, path.parent))
        return [*files, *found]

    def read(self, folder: Path, drops: Filtered) -> Iterator[Document]:
        """Stream the conversations with their images; a line that is no conversation is damage."""
        damage = Damage(self, drops, "lines")
        for path in map(Path, names(self, folder, (".jsonl",))):
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
                    yield Document(self.name, origin, self.licence, messages=messages, tools=tools, images=shown_images)
        damage.settle()


def _conversation(line: bytes) -> dict[str, Any]:
    """The conversation of a line, only `messages` checked to be a list. Raises InputError for an unknown key."""
    value = record(line)
    if "messages" not in value:
        raise InputError(f'expected an object with a key "messages"; it has {", ".join(value) or "no keys"}')
    only(value, (*CONVERSATION, *BOOKKEEPING), "a conversation", REMEDIES)
    if not isinstance(value["messages"], list):
        raise InputError('"messages" must be a list')
    return value


def _unread(conversation: dict[str, Any]) -> list[str]:
    """The keys of a conversation's line that are not read: bookkeeping, and names of speakers."""
    named = ["name of a message"] if any(message.get("name") for message in conversation["messages"]) else []
    return [key for key in BOOKKEEPING if not says_nothing(conversation.get(key))] + named


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


SOURCES.add("messages", MessagesSource)
