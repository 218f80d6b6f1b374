"""Conversations in the OpenAI form, checked key by key: a key that would not be used is refused by name."""

import json
from itertools import groupby
from typing import Any

from groundup.codecs import strict_json
from groundup.codecs.strict_json import only, says_nothing
from groundup.core.errors import InputError

Message = dict[str, Any]

_COMMON = ("role", "content", "name", "weight")
KEYS = {
    "system": _COMMON,
    "developer": _COMMON,  # the system's other name
    "user": _COMMON,
    "assistant": (*_COMMON, "tool_calls"),
    "tool": (*_COMMON, "tool_call_id"),
}
PARTS = {"text": ("type", "text"), "image": ("type",)}
DETAILS = ("auto", "low", "high")  # of an image: accepted without effect, as the model's budget sets the resolution
CALL, CALLED = ("id", "type", "function", "index"), ("name", "arguments")
TOOL, FUNCTION = ("type", "function"), ("name", "description", "parameters", "strict")
NESTING = 64  # levels of a tool's description or a call's arguments


def check(messages: list[Message], tools: list[dict[str, Any]] | None = None) -> None:
    """Check a conversation and its tools; raises InputError that names the message or tool, and the fault.

    Content is a text or a list of parts: texts, and for a user images as {"type": "image"}; an assistant may call tools
    after a text, or instead. A tool's result comes after its call. Names of speakers and ids of calls are not shown to
    the model; ids give the order of the results. An assistant's `weight` 0 takes it out of the loss mask. A function's
    `strict` binds answers, and is not shown. Any other key is refused, unless its value is empty.
    """
    if not isinstance(messages, list) or not messages:
        raise InputError("the conversation has no messages; give at least one")
    calls: list[dict[str, Any]] = []
    for number, message in enumerate(messages, 1):
        where = f"message {number}"
        _check_message(where, message)
        if message["role"] == "tool":
            _check_result(where, message, calls)
        else:
            calls = message.get("tool_calls") or []
    if not says_nothing(tools):
        _check_tools(tools)


def supervised(message: Message) -> bool:
    """Whether a message is in the loss mask: an assistant's, unless its weight is 0."""
    return message["role"] == "assistant" and message.get("weight") != 0


def images(messages: list[Message]) -> int:
    """How many images a conversation shows."""
    return sum(
        part["type"] == "image"
        for message in messages
        if isinstance(message.get("content"), list)
        for part in message["content"]
    )


def in_order(messages: list[Message]) -> list[Message]:
    """The messages with the results of tools in the order of the calls whose ids they name."""
    ordered: list[Message] = []
    for of_tools, group in groupby(messages, lambda message: message["role"] == "tool"):
        found = list(group)
        if of_tools:
            places = {
                call["id"]: place for place, call in enumerate(ordered[-1]["tool_calls"]) if call.get("id") is not None
            }
            if all(message.get("tool_call_id") in places for message in found):
                found.sort(key=lambda message: places[message["tool_call_id"]])
        ordered += found
    return ordered


def arguments(function: dict[str, Any]) -> Any:
    """The arguments of a called function, also if given as JSON text. Raises ValueError for text that is no JSON."""
    found = function.get("arguments")
    if isinstance(found, str):
        return strict_json.loads(found) if found.strip() else {}
    return found


def _check_message(where: str, message: Message) -> None:
    role = message.get("role") if isinstance(message, dict) else None
    if not isinstance(role, str) or role not in KEYS:
        raise InputError(f"{where}: unknown role {role!r}; the roles are {', '.join(KEYS)}")
    _only(where, message, KEYS[role], f"a message of role {role}")
    _check_texts(where, message, ("name", "tool_call_id"))
    _check_weight(where, message)
    calls = message.get("tool_calls")
    if not says_nothing(calls):
        _check_calls(where, calls)
    content = message.get("content")
    if not isinstance(content, str) and not (calls and content is None):
        _check_parts(where, role, content)


def _only(where: str, value: dict[str, Any], known: tuple[str, ...], what: str) -> None:
    try:
        only(value, known, what)
    except InputError as error:
        raise InputError(f"{where}: {error}") from None


def _check_texts(where: str, value: dict[str, Any], keys: tuple[str, ...]) -> None:
    for key in keys:
        if not isinstance(value.get(key), str | None):
            raise InputError(f"{where}: {key} is {_kind(value[key])}; it must be a text")


def _check_weight(where: str, message: Message) -> None:
    weight = message.get("weight")
    if says_nothing(weight):
        return
    if weight not in (0, 1):
        raise InputError(f"{where}: weight is {str(weight)[:20]!r}; it must be 0 or 1")
    if weight and message["role"] != "assistant":
        raise InputError(
            f"{where}: weight 1 of a message of role {message['role']}; only the assistant's are trained: remove it"
        )


def _check_parts(where: str, role: str, content: Any) -> None:
    if not isinstance(content, list):
        raise InputError(f"{where}: content is {_kind(content)}; it must be a text or a list of text parts")
    for part in content:
        kind = part.get("type") if isinstance(part, dict) else _kind(part)
        if kind != "text" and not (kind == "image" and role == "user"):
            raise InputError(
                f"{where}: a content part of type {kind!r}; only parts of type 'text' can be read, and a user's of type"
                " 'image'"
            )
        _only(where, part, PARTS[kind], f"a part of type {kind}")
        if kind == "text" and not isinstance(part.get("text"), str):
            raise InputError(f"{where}: a text part whose text is {_kind(part.get('text'))}; it must be a text")


def _check_calls(where: str, calls: Any) -> None:
    if not isinstance(calls, list):
        raise InputError(f"{where}: tool_calls is {_kind(calls)}; it must be a list of calls")
    for call in calls:
        function = call.get("function") if isinstance(call, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            raise InputError(f"{where}: a tool call without a function that has a name")
        _only(where, call, CALL, "a tool call")
        _only(where, function, CALLED, f"the call of {function['name']}")
        if call.get("type") not in (None, "function"):
            raise InputError(f"{where}: a tool call of type {call['type']!r}; only functions are called")
        _check_texts(f"{where}: the call of {function['name']}", call, ("id",))
        _check_arguments(f"{where}: the arguments of {function['name']}", function)


def _check_arguments(where: str, function: dict[str, Any]) -> None:
    try:
        found = arguments(function)
    except ValueError as error:
        raise InputError(f"{where} are not a JSON object ({error})") from None
    if not isinstance(found, dict):
        raise InputError(f"{where} are not a JSON object; they are {_kind(found)}")
    _check_json(where, found)


def _check_result(where: str, message: Message, calls: list[dict[str, Any]]) -> None:
    if not calls:
        raise InputError(f"{where}: a tool's result without a call; put an assistant message with tool_calls before it")
    ids, id = [call["id"] for call in calls if call.get("id") is not None], message.get("tool_call_id")
    if id is not None and ids and id not in ids:
        raise InputError(
            f"{where}: the result of a call {id!r}, which nobody made; the calls before it are {', '.join(ids)}"
        )


def _check_tools(tools: Any) -> None:
    if not isinstance(tools, list):
        raise InputError(f"tools is {_kind(tools)}; it must be a list of descriptions of functions")
    for number, tool in enumerate(tools, 1):
        if not isinstance(tool, dict):
            raise InputError(f"tool {number} is {_kind(tool)}; it must be an object that describes a function")
        function = tool.get("function")
        if tool.get("type") != "function" or not isinstance(function, dict):
            raise InputError(
                f'tool {number} is no function; write {{"type": "function", "function": {{"name": ..., "parameters":'
                " ...}}"
            )
        _only(f"tool {number}", tool, TOOL, "a tool")
        _check_function(f"tool {number}", function)


def _check_function(where: str, function: dict[str, Any]) -> None:
    _only(where, function, FUNCTION, "a function")
    if not isinstance(function.get("name"), str) or not function["name"]:
        raise InputError(f"{where}: a function without a name")
    _check_texts(where, function, ("description",))
    for key, kind, words in (("parameters", dict, "an object, a JSON schema"), ("strict", bool, "true or false")):
        if not isinstance(function.get(key), kind | None):
            raise InputError(f"{where}: {key} is {_kind(function[key])}; it must be {words}")
    _check_json(f"{where}: parameters", function.get("parameters"))


def _check_json(where: str, value: Any) -> None:
    if deeper(value, NESTING):
        raise InputError(f"{where} nested more than {NESTING} deep; make them flatter")
    try:
        to_json(value)
    except (TypeError, ValueError) as error:
        raise InputError(f"{where} are not JSON ({error})") from None


def to_json(value: Any) -> str:
    """A JSON value as the template writes it. Raises TypeError or ValueError for any other value."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def deeper(value: Any, levels: int) -> bool:
    """Whether a JSON value is nested deeper than so many levels."""
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return bool(inside) and (levels == 0 or any(deeper(item, levels - 1) for item in inside))


def _kind(value: Any) -> str:
    return "missing" if value is None else type(value).__name__
