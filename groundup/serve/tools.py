"""Tool calls, as the chat template writes them: the grammar of an answer, and a streaming parser of calls."""

import json
import secrets
from typing import Any

from groundup.codecs import chat
from groundup.codecs.text import Tokenizer
from groundup.core.errors import InputError
from groundup.generate.detokenizer import overlap
from groundup.generate.grammar import UntrustedGrammar
from groundup.serve.errors import ApiError, invalid_request
from groundup.serve.schema import ChatRequest, Function, ResponseFormat, ToolChoice

OPEN, CLOSE, THINK, THOUGHT = "<tool_call>", "</tool_call>", "<think>", "</think>"
STYLE = {
    "x-guidance": {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
}  # one line, as the template writes it
PLAIN = {"type", "properties", "required", "title", "description", "$defs", "$schema"}
TEXT = f"TEXT: /(?s:.+)/ & ~/(?s:.*){OPEN}(?s:.*)/"


# --- grammars ----------------------------------------------------------------------------------


def grammar(payload: ChatRequest, tokenizer: Tokenizer) -> UntrustedGrammar | None:
    """The grammar of the answer, not compiled; None without constraint. Raises ApiError (400) for invalid options."""
    choice = resolve_tool_choice(payload)
    if choice.type == "none":
        return None if payload.response_format is None else format_grammar(payload.response_format)
    with invalid_request("tools"):
        for special in (OPEN, CLOSE):
            tokenizer.special(special)
    start = _start(payload, choice, tokenizer)
    if start is None:
        return None
    functions = [
        tool.function for tool in payload.tools if choice.function is None or tool.function.name == choice.function.name
    ]
    names = " | ".join(f"call_{number}" for number in range(len(functions)))
    calls = 'call ("\\n" call)*' if payload.parallel_tool_calls and choice.type != "function" else "call"
    rules = [rule for number, function in enumerate(functions) for rule in _call(number, function)]
    with invalid_request("tools"):
        lines = [f"start: {start}", f"calls: {calls}", f"call: {names}", *rules, TEXT, *_form(payload.response_format)]
        return UntrustedGrammar("lark", "\n".join(lines))


def resolve_tool_choice(payload: ChatRequest) -> ToolChoice:
    """The tool choice with its default. Raises ApiError (400) where it does not fit the tools."""
    choice = payload.tool_choice or ToolChoice(type="auto" if payload.tools else "none")
    if choice.type != "none" and not payload.tools:
        raise ApiError(400, f"tool_choice is {choice.type!r}, and there are no tools to choose from", "tool_choice")
    if (choice.function is None) == (choice.type == "function"):
        raise ApiError(400, "tool_choice names a function exactly if its type is 'function'", "tool_choice")
    names = [tool.function.name for tool in payload.tools]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise ApiError(400, f"there are two tools of the name {twice}", "tools")
    if choice.function is not None and choice.function.name not in names:
        raise ApiError(
            400,
            f"tool_choice names {choice.function.name}; the tools are {', '.join(names)}",
            "tool_choice.function.name",
        )
    return choice


def _start(payload: ChatRequest, choice: ToolChoice, tokenizer: Tokenizer) -> str | None:
    """The start rule of the grammar; None without constraint."""
    form = payload.response_format
    if form is not None and form.type not in ("text", "json_object", "json_schema"):
        raise ApiError(
            400,
            f"response_format of type {form.type!r} cannot be had together with tools; use tool_choice 'none'",
            "response_format",
        )
    if choice.type != "auto":
        return "calls"
    if form is not None and form.type != "text":
        return "calls | form"
    if payload.parallel_tool_calls and not any(tool.function.strict for tool in payload.tools):
        return None
    return f"TEXT? ({THINK} TEXT? {THOUGHT} TEXT?)? calls?" if _thinks(tokenizer) else "TEXT? calls?"


def _thinks(tokenizer: Tokenizer) -> bool:
    try:
        return all(tokenizer.special(name) for name in (THINK, THOUGHT))
    except InputError:
        return False


def _call(number: int, function: Function) -> list[str]:
    schema = arguments_schema(function)
    if schema["type"] != "object":
        raise ApiError(
            400, f"the parameters of {function.name} are of type {schema['type']!r}; they must be an object", "tools"
        )
    opening = json.dumps(f'\n{{"name": "{function.name}", "arguments": ')
    return [
        f'call_{number}: {OPEN} {opening} arguments_{number} "}}\\n" {CLOSE}',
        f"arguments_{number}: %json {json.dumps(schema)}",
    ]


def arguments_schema(function: Function) -> dict[str, Any]:
    """The schema of a function's arguments. A plain list of properties allows no other properties."""
    schema = (
        {"type": "object", "properties": {}}
        if function.parameters is None
        else {"type": "object"} | function.parameters
    )
    if "properties" in schema and schema.keys() <= PLAIN:
        schema["additionalProperties"] = False
    return schema | STYLE


def _form(form: ResponseFormat | None) -> list[str]:
    return [] if form is None or form.type == "text" else [f"form: %json {json.dumps(_schema(form))}"]


def format_grammar(form: ResponseFormat) -> UntrustedGrammar | None:
    """The grammar of a response format; None for text. Raises ApiError (400) where its field is missing."""
    given = {name for name in ("json_schema", "pattern", "grammar") if getattr(form, name) is not None}
    wanted = {"json_schema": {"json_schema"}, "regex": {"pattern"}, "grammar": {"grammar"}}.get(form.type, set())
    if given != wanted:
        what = f"needs {next(iter(wanted))} and nothing else" if wanted else "needs no other field"
        raise ApiError(400, f"a response_format of type {form.type!r} {what}", "response_format")
    with invalid_request("response_format"):
        match form.type:
            case "text":
                return None
            case "regex":
                return UntrustedGrammar("regex", str(form.pattern))
            case "grammar":
                return UntrustedGrammar("lark", str(form.grammar))
        return UntrustedGrammar("json_schema", json.dumps(_schema(form)))


def _schema(form: ResponseFormat) -> dict[str, Any]:
    return STYLE | ({"type": "object"} if form.json_schema is None else form.json_schema.schema_)


# --- parsing calls -----------------------------------------------------------------------------------


def with_id(call: dict[str, Any]) -> dict[str, Any]:
    """The call with a new id."""
    return {"id": f"call_{secrets.token_hex(12)}"} | call


class ToolCallParser:
    """Splits an answer into text and tool calls while it is generated.

    The results of `feed` and `close` together equal `chat.parse_answer` of the whole. Text and calls are returned once
    they are complete; an unclosed or malformed call is returned as text, by `close`.
    """

    def __init__(self) -> None:
        self._text = self._space = ""  # not parsed yet; trailing white space, returned only if text follows
        self._state = self._at_start
        self._begun = self._last = False

    def feed(self, text: str) -> tuple[str, list[dict[str, Any]]]:
        """Parse more of the answer; returns new text and calls."""
        self._text += text
        text, calls = "", []
        while step := self._state():
            text += step[0]
            calls += step[1]
        return self._hold_trailing_space(text), calls

    def close(self) -> tuple[str, list[dict[str, Any]]]:
        """End the answer; returns the remaining text and calls."""
        self._last = True
        return self.feed("")

    def _at_start(self) -> tuple[str, list[dict[str, Any]]] | None:
        start = self._text.lstrip()
        if THINK.startswith(start) and start != THINK and not self._last:
            return None
        if not start.startswith(THINK):
            self._state = self._in_text
            return "", []
        self._state = self._in_thought
        space = len(self._text) - len(start)
        return self._take(space + len(THINK)), []

    def _in_thought(self) -> tuple[str, list[dict[str, Any]]] | None:
        place = self._text.find(THOUGHT)
        if place >= 0:
            self._state = self._in_text
            return self._take(place + len(THOUGHT)), []
        return self._text_before(THOUGHT)

    def _in_text(self) -> tuple[str, list[dict[str, Any]]] | None:
        place = self._text.find(OPEN)
        if place >= 0:
            self._state = self._in_call
            text = self._take(place)
            self._take(len(OPEN))
            return text, []
        return self._text_before(OPEN)

    def _in_call(self) -> tuple[str, list[dict[str, Any]]] | None:
        found = chat.parse_call(self._text) if CLOSE in self._text else None
        if found is not None:
            self._text, self._state = found[1], self._in_text
            return "", [found[0]]
        if not self._last:
            return None
        self._state = self._in_text
        return OPEN, []

    def _text_before(self, mark: str) -> tuple[str, list[dict[str, Any]]] | None:
        text = self._take(len(self._text) - (0 if self._last else overlap(self._text, mark)))
        return (text, []) if text else None

    def _take(self, count: int) -> str:
        taken, self._text = self._text[:count], self._text[count:]
        return taken

    def _hold_trailing_space(self, text: str) -> str:
        text = self._space + text
        if not self._begun:
            text = text.lstrip()
        bare = text.rstrip()
        self._space, self._begun = text[len(bare) :], self._begun or bool(bare)
        return bare
