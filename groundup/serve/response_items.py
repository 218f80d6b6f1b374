"""Input of the Responses API as messages of a chat: items of type message, function_call and function_call_output."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from groundup.codecs.strict_json import only
from groundup.core.errors import InputError
from groundup.serve.errors import ApiError
from groundup.serve.schema import MAX_MESSAGES

Json = dict[str, Any]
_TEXTS = ("input_text", "output_text", "text")
_PART_KEYS = {"input_image": ("type", "image_url", "detail")} | dict.fromkeys(
    _TEXTS, ("type", "text", "annotations", "logprobs")
)
_ITEM_KEYS = {
    "message": ("type", "role", "content", "id", "status", "phase"),
    "function_call": ("type", "call_id", "name", "arguments", "id", "status"),
    "function_call_output": ("type", "call_id", "output", "id", "status"),
}
_NOT_STORED = "nothing is stored here; send the item itself"


@dataclass
class Conversation:
    """Messages of a chat, each with its position in the request, for errors."""

    messages: list[Json] = field(default_factory=list)
    places: list[str] = field(default_factory=list)

    def add(self, message: Json, place: str) -> None:
        """Append a message."""
        self.messages.append(message)
        self.places.append(place)


def conversation(given: Any, instructions: str | None) -> Conversation:
    """The messages of an input: the instructions first, as a system message. Raises ApiError (400) naming an item."""
    found = Conversation()
    if instructions is not None:
        found.add({"role": "system", "content": instructions}, "instructions")
    items = [{"role": "user", "content": given}] if isinstance(given, str) else given
    if not isinstance(items, list) or not 0 < len(items) <= MAX_MESSAGES:
        what = f"a list of {len(items)} items" if isinstance(items, list) else type(items).__name__
        raise _refused("input", f"is {what}; it must be a text, or a list of 1 to {MAX_MESSAGES} items")
    for number, item in enumerate(items):
        _add(found, item, "input" if isinstance(given, str) else f"input[{number}]")
    return found


def _add(found: Conversation, item: Any, where: str) -> None:
    if not isinstance(item, dict):
        raise _refused(where, f"is {type(item).__name__}; an item is an object")
    kind = item.get("type") or "message"
    if not isinstance(kind, str) or kind not in _ADDERS:
        remedy = _NOT_STORED if kind == "item_reference" else f"the types are {', '.join(_ADDERS)}"
        raise _refused(where, f"an item of type {kind!r} cannot be read; {remedy}")
    _only(where, item, _ITEM_KEYS[kind], f"an item of type {kind}")
    _ADDERS[kind](found, item, where)


def _add_message(found: Conversation, item: Json, where: str) -> None:
    found.add({"role": item.get("role"), "content": _content(item.get("content"), f"{where}.content")}, where)


def _add_call(found: Conversation, item: Json, where: str) -> None:
    """Add a tool call to the assistant's message before it, if there is one."""
    function = {"name": item.get("name"), "arguments": item.get("arguments")}
    call = {"type": "function", "id": item.get("call_id"), "function": function}
    if not found.messages or found.messages[-1]["role"] != "assistant":
        found.add({"role": "assistant", "content": ""}, where)
    found.messages[-1].setdefault("tool_calls", []).append(call)


def _add_result(found: Conversation, item: Json, where: str) -> None:
    content = _content(item.get("output"), f"{where}.output")
    found.add({"role": "tool", "tool_call_id": item.get("call_id"), "content": content}, where)


_ADDERS: Mapping[str, Callable[[Conversation, Json, str], None]] = {
    "message": _add_message,
    "function_call": _add_call,
    "function_call_output": _add_result,
}


def _content(content: Any, where: str) -> Any:
    """Content in the format of a chat; a value that is not a list is left to the validation of the conversation."""
    if not isinstance(content, list):
        return content
    return [_part(part, f"{where}[{number}]") for number, part in enumerate(content)]


def _part(part: Any, where: str) -> Json:
    kind = part.get("type") if isinstance(part, dict) else type(part).__name__
    if not isinstance(kind, str) or kind not in _PART_KEYS:
        raise _refused(where, f"a content part of type {kind!r} cannot be read; the types are {', '.join(_PART_KEYS)}")
    _only(where, part, _PART_KEYS[kind], f"a part of type {kind}")
    if kind == "input_image":
        return {"type": "image_url", "image_url": {"url": part.get("image_url"), "detail": part.get("detail")}}
    return {"type": "text", "text": part.get("text")}


def _only(where: str, value: Json, known: tuple[str, ...], what: str) -> None:
    try:
        only(value, known, what)
    except InputError as error:
        raise _refused(where, str(error)) from None


def _refused(where: str, message: str) -> ApiError:
    return ApiError(400, f"{where}: {message}", where)
