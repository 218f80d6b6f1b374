"""Images of conversations: where their text marks them, and the column or key beside it that holds them.

LLaVA writes `<image>` in a turn and the file under `image`; TRL and LLaMA-Factory have a list `images`; Hugging Face
tables hold `{bytes, path}`.
"""

import base64
from typing import Any

from groundup.codecs.messages import Message
from groundup.core.errors import InputError

KEYS = ("image", "images")  # of a row, beside its conversation
MARK = "<image>"
_PLACES = ("image", "url", "path")  # keys of a part of type "image" that say where it lies


def illustrated(messages: list[Any], found: Any) -> list[Any]:
    """The messages with an image for each mark of the users' turns, in order; all in the first turn without any mark.

    `found` is a path or data URI, a table's `{bytes, path}`, or a list of them. Raises InputError where marks and
    images differ in number, and for another type.
    """
    images = [_part(each) for each in (found if isinstance(found, list) else [found])]
    users = [message for message in messages if isinstance(message, dict) and message.get("role") == "user"]
    marks = sum(_marks(message) for message in users)
    if not marks and users:
        users[0]["content"] = [*images, *_parts(users[0].get("content"))]
    elif marks != len(images):
        raise InputError(f"{marks} places for images, such as {MARK}, and {len(images)} images; give each its own")
    waiting = iter(images)
    for message in filter(_marks, users):
        message["content"] = [next(waiting) if _is_place(part) else part for part in _parts(message.get("content"))]
    return messages


def placed(part: Any) -> Any:
    """A part of type "image" that says where the image lies as one of type "image_url"; any other as it is."""
    if not isinstance(part, dict) or part.get("type") != "image":
        return part
    where = [part[key] for key in _PLACES if isinstance(part.get(key), str)]
    known = part.keys() <= {"type", *_PLACES}
    return _part(where[0].removeprefix("file://")) if len(where) == 1 and known else part


def _part(image: Any) -> Message:
    if isinstance(image, dict) and isinstance(image.get("bytes"), bytes):
        image = "data:image/any;base64," + base64.b64encode(image["bytes"]).decode()
    elif isinstance(image, dict):
        image = image.get("path")
    if not isinstance(image, str):
        raise InputError(f"an image is {type(image).__name__}; it must be a path, a data URI, or bytes of a table")
    return {"type": "image_url", "image_url": {"url": image}}


def _parts(content: Any) -> list[Any]:
    """The parts of a content, with a place for an image at each mark."""
    if isinstance(content, list):
        return content
    parts: list[Any] = []
    for number, text in enumerate(content.split(MARK) if isinstance(content, str) else ()):
        parts += [{"type": "image"}] if number else []
        parts += [{"type": "text", "text": text.strip("\n")}] if text.strip() else []
    return parts


def _is_place(part: Any) -> bool:
    return isinstance(part, dict) and part.get("type") == "image" and len(part) == 1


def _marks(message: Message) -> int:
    return sum(map(_is_place, _parts(message.get("content"))))
