"""Conversations to ids and back: one Jinja template, in the ChatML form, for tuning, evaluation, serving and export.

Only the template, and an assistant that thinks or calls a tool, can write special tokens. Whatever else a message contains
stays text: a user who writes "<|im_end|>" ends no turn.
"""

import json
import re
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import groupby
from typing import Any

from jinja2 import Template
from jinja2.sandbox import ImmutableSandboxedEnvironment

from groundup.codecs.boxes import LOCATIONS
from groundup.codecs.image import Grid
from groundup.codecs.text import CHAT_TEMPLATE, SEEING, SIGHT, SPECIALS, SPOKEN, Tokenizer, mend
from groundup.errors import InputError

Message = dict[str, Any]

KEYS = {
    "system": {"role", "content", "name"},
    "user": {"role", "content", "name"},
    "assistant": {"role", "content", "name", "tool_calls"},
    "tool": {"role", "content", "name", "tool_call_id"},
}

_START, _END = "<|im_start|>", "<|im_end|>"
_ANSWER = _START + "assistant\n"

_IMAGE = "".join((SIGHT[0], SIGHT[2], SIGHT[1]))

# Literals that must stay text are written with a mark while the template is filled in; the mark itself too.
_MARK = "\ue000"
_HIDDEN = {literal: _MARK + chr(0xE001 + place) for place, literal in enumerate((_MARK, *SEEING))}
_SHOWN = {hidden: literal for literal, hidden in _HIDDEN.items()}
_MARKED = re.compile(f"{_MARK}[\ue001-{chr(0xE001 + len(SEEING))}]")
_LOCATION = r"<loc(?:0|[1-9][0-9]{0,2})>"  # any of LOCATIONS
_SPECIAL = re.compile("(" + "|".join([*map(re.escape, (*SPECIALS, *SIGHT)), _LOCATION]) + ")")
_THOUGHT = re.compile(r"\s*<think>.*?(?:</think>|\Z)", re.DOTALL)
_CLOSING = re.compile(r"\s*</tool_call>")
_FOREIGN = re.compile("|".join([*(re.escape(literal) for literal in _HIDDEN if literal not in LOCATIONS), _LOCATION]))
_FOREIGN_IN_ANSWER = re.compile("|".join(re.escape(literal) for literal in _HIDDEN if literal not in SPOKEN))


def encode(
    tokenizer: Tokenizer, messages: list[Message], tools: list[dict[str, Any]] | None = None, grids: Sequence[Grid] = ()
) -> tuple[list[int], list[bool]]:
    """The ids of a conversation, and for each whether it is the assistant's: its answers, each with the <|im_end|> after it.

    `tools` are JSON descriptions of functions, in the OpenAI shape; `grids` those of the images, in order, each of which becomes one
    <|image_pad|> a patch between <|vision_start|> and <|vision_end|>. Raises InputError as `check` does, and for images
    without grids or with a tokenizer that has no tokens for them.
    """
    check(messages, tools)
    _check_images(messages, grids)
    return _walk(tokenizer, _render(messages, tools, add_generation_prompt=False), iter(grids))


def prompt(tokenizer: Tokenizer, messages: list[Message], tools: list[dict[str, Any]] | None = None, grids: Sequence[Grid] = ()) -> list[int]:
    """The ids after which the assistant's answer comes: exactly the first ids of `encode` of the same messages and any answer.

    Raises InputError as `encode` does.
    """
    check(messages, tools)
    _check_images(messages, grids)
    return _walk(tokenizer, _render(messages, tools, add_generation_prompt=True), iter(grids))[0]


def shown(images: int = 1) -> list[Message]:
    """Images as a user shows them, with nothing said."""
    return [{"role": "user", "content": [{"type": "image"}] * images}]


def image(tokenizer: Tokenizer, grid: Grid) -> list[int]:
    """The ids of an image: one a patch, and one before and after."""
    start, end, pad = map(tokenizer.special, SIGHT)
    return [start, *[pad] * grid.patches, end]


def places(tokenizer: Tokenizer, ids: Sequence[int]) -> list[int]:
    """Where the patches of each image begin."""
    start = tokenizer.special(SIGHT[0]) if tokenizer.sees else -1
    return [place + 1 for place, id in enumerate(ids) if id == start]


def _walk(tokenizer: Tokenizer, rendered: str, grids: Iterator[Grid]) -> tuple[list[int], list[bool]]:
    ids: list[int] = []
    answers: list[bool] = []
    for turn in rendered.split(_START)[1:]:
        for text, trained in _stretches(_START + turn):
            stretch = _spell(tokenizer, text, grids)
            ids += stretch
            answers += [trained] * len(stretch)
    return ids, answers


def _stretches(turn: str) -> list[tuple[str, bool]]:
    """A turn in stretches that are all the assistant's, True, or all not."""
    if not turn.startswith(_ANSWER):
        return [(turn, False)]
    answer, end, rest = turn.removeprefix(_ANSWER).partition(_END)
    return [(_ANSWER, False), (answer + end, True), (rest, False)]


def _spell(tokenizer: Tokenizer, rendered: str, grids: Iterator[Grid]) -> list[int]:
    ids: list[int] = []
    for place, piece in enumerate(_SPECIAL.split(rendered)):
        if piece == SIGHT[2] and place % 2:
            ids += [tokenizer.special(piece)] * next(grids).patches
        elif place % 2 and (tokenizer.knows(piece) or piece not in LOCATIONS):
            ids.append(tokenizer.special(piece))
        elif piece:
            ids += tokenizer.encode(_MARKED.sub(lambda match: _SHOWN[match[0]], piece) if _MARK in piece else piece)
    return ids


# --- rendering ----------------------------------------------------------------------------------------------


@cache
def _template() -> Template:
    """The compiled template, in the settings in which `transformers` runs the same text."""
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    environment.filters["tojson"] = _to_json
    return environment.from_string(CHAT_TEMPLATE.read_text(encoding="utf-8"))


def _to_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _render(messages: list[Message], tools: list[dict[str, Any]] | None, add_generation_prompt: bool) -> str:
    hidden = [_hide_message(message) for message in messages]
    return _template().render(messages=hidden, tools=_hide_all(tools), add_generation_prompt=add_generation_prompt)


def _hide_message(message: Message) -> Message:
    answer = message["role"] == "assistant"
    hidden = {"role": message["role"], "content": _shown(message.get("content"), _FOREIGN_IN_ANSWER if answer else _FOREIGN)}
    if answer and message.get("tool_calls"):
        hidden["tool_calls"] = _hide_all(message["tool_calls"])
    return hidden


def _hide(text: str, literals: re.Pattern[str] = _FOREIGN) -> str:
    return literals.sub(lambda match: _HIDDEN[match[0]], text) if "<" in text or _MARK in text else text


def _hide_all(value: Any) -> Any:
    """A JSON value with the literals in all its texts hidden, keys included."""
    match value:
        case str():
            return _hide(value)
        case list():
            return [_hide_all(item) for item in value]
        case dict():
            return {_hide_all(key): _hide_all(item) for key, item in value.items()}
    return value


def _shown(content: str | list[dict[str, str]] | None, foreign: re.Pattern[str]) -> str:
    """Content as text for the template; only an image's part writes what stands for an image."""
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else content or []
    groups = groupby(parts, lambda part: part["type"] == "image")
    # texts side by side are joined first: a literal may be spread over them
    return "".join(_IMAGE * len(list(group)) if pictured else _hide("".join(part["text"] for part in group), foreign) for pictured, group in groups)


# --- checking -----------------------------------------------------------------------------------------------


def check(messages: list[Message], tools: list[dict[str, Any]] | None = None) -> None:
    """Check a conversation in the OpenAI shape; raises InputError that names the message and what is wrong with it.

    Content is a text or a list of parts: texts, and for a user images as {"type": "image"}; an assistant may call tools after saying
    something, or instead. A system message comes first, and a tool's result after a call. The names of speakers and the ids of
    calls are not shown to the model: order says which result belongs to which call. Any other key is refused, unless it is null.
    """
    if not isinstance(messages, list) or not messages:
        raise InputError("the conversation has no messages; give at least one")
    before: Message = {"role": "nobody"}
    for number, message in enumerate(messages, 1):
        where = f"message {number}"
        _check_message(where, message)
        if message["role"] == "system" and number > 1:
            raise InputError(f"{where}: a system message after others; put it first")
        if message["role"] == "tool" and before["role"] != "tool" and not before.get("tool_calls"):
            raise InputError(f"{where}: a tool's result without a call; put an assistant message with tool_calls before it")
        before = message
    if tools:
        _check_tools(tools)


def _check_message(where: str, message: Message) -> None:
    role = message.get("role") if isinstance(message, dict) else None
    if not isinstance(role, str) or role not in KEYS:
        raise InputError(f"{where}: unknown role {role!r}; the roles are {', '.join(KEYS)}")
    unknown = [key for key, value in message.items() if key not in KEYS[role] and value is not None]
    if unknown:
        raise InputError(f"{where}: unknown key {unknown[0]!r} in a message of role {role}; known are {', '.join(sorted(KEYS[role]))}")
    calls = message.get("tool_calls")
    if calls:
        _check_calls(where, calls)
    content = message.get("content")
    if not isinstance(content, str) and not (calls and content is None):
        _check_parts(where, role, content)


def _check_parts(where: str, role: str, content: Any) -> None:
    if not isinstance(content, list):
        raise InputError(f"{where}: content is {_kind(content)}; it must be a text or a list of text parts")
    for part in content:
        kind = part.get("type") if isinstance(part, dict) else _kind(part)
        if kind == "image" and role == "user":
            continue
        if kind != "text":
            raise InputError(f"{where}: a content part of type {kind!r}; only parts of type 'text' can be read, and a user's of type 'image'")
        if not isinstance(part.get("text"), str):
            raise InputError(f"{where}: a text part whose text is {_kind(part.get('text'))}; it must be a text")


def images(messages: list[Message]) -> int:
    """How many images a conversation shows."""
    return sum(part["type"] == "image" for message in messages if isinstance(message.get("content"), list) for part in message["content"])


def _check_images(messages: list[Message], grids: Sequence[Grid]) -> None:
    if images(messages) != len(grids):
        raise InputError(f"the conversation shows {images(messages)} images, and {len(grids)} are given; give each its own")


def _check_calls(where: str, calls: Any) -> None:
    if not isinstance(calls, list):
        raise InputError(f"{where}: tool_calls is {_kind(calls)}; it must be a list of calls")
    for call in calls:
        function = call.get("function") if isinstance(call, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            raise InputError(f"{where}: a tool call without a function that has a name")
        arguments = function.get("arguments")
        if not isinstance(_from_json(arguments) if isinstance(arguments, str) else arguments, dict):
            raise InputError(f"{where}: the arguments of {function['name']} are not a JSON object")
        _check_json(f"{where}: the call of {function['name']}", call)


def _check_tools(tools: Any) -> None:
    if not isinstance(tools, list):
        raise InputError(f"tools is {_kind(tools)}; it must be a list of descriptions of functions")
    for number, tool in enumerate(tools, 1):
        if not isinstance(tool, dict):
            raise InputError(f"tool {number} is {_kind(tool)}; it must be an object that describes a function")
        _check_json(f"tool {number}", tool)


def _check_json(where: str, value: Any) -> None:
    try:
        _to_json(value)
    except (TypeError, ValueError) as error:
        raise InputError(f"{where} is not JSON ({error})") from None


def _from_json(text: str) -> Any:
    try:
        return json.loads(text)
    except (json.JSONDecodeError, RecursionError):
        return None


def _kind(value: Any) -> str:
    return "missing" if value is None else type(value).__name__


# --- reading an answer --------------------------------------------------------------------------------------


def parse_answer(text: str) -> Message:
    """An answer as a message: `content`, and `tool_calls` (arguments as JSON text) if it holds calls that can be read.

    What is thought calls nothing; a call whose JSON is broken or not closed stays content.
    """
    thought = _THOUGHT.match(text)
    content, calls = thought[0] if thought else "", []
    rest = text[len(content) :]
    while rest:
        said, opened, rest = rest.partition("<tool_call>")
        content += said
        if call := parse_call(rest):
            calls.append(call[0])
            rest = call[1]
        else:
            content += opened
    return {"role": "assistant", "content": content.strip()} | ({"tool_calls": calls} if calls else {})


def parse_call(text: str) -> tuple[dict[str, Any], str] | None:
    """The call that a text begins with, after its <tool_call>, and what follows its end; None if there is none that can be read."""
    try:
        value, end = json.JSONDecoder().raw_decode(text, len(text) - len(text.lstrip()))
    except (json.JSONDecodeError, RecursionError):
        return None
    closing = _CLOSING.match(text, end)
    if not closing or not isinstance(value, dict) or value.keys() != {"name", "arguments"}:
        return None
    name, arguments = value["name"], value["arguments"]
    if not isinstance(name, str) or not isinstance(arguments, dict):
        return None
    # JSON can spell half a character, which is no text.
    function = {"name": mend(name), "arguments": mend(_to_json(arguments))}
    return {"type": "function", "function": function}, text[closing.end() :]
