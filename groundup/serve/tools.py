"""Tool calls, in the format of the model: the grammar of an answer, and ids of calls."""

import json
import re
import secrets
from typing import Any

from groundup.codecs.answers import THINK, THOUGHT
from groundup.codecs.call_format import CallFormat
from groundup.codecs.text import Tokenizer
from groundup.core.errors import InputError
from groundup.generate.grammar import UntrustedGrammar
from groundup.serve.errors import ApiError, invalid_request
from groundup.serve.schema import ChatRequest, Function, ResponseFormat, ToolChoice

STYLE = {
    "x-guidance": {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
}  # one line, as the template writes it
PLAIN = {"type", "properties", "required", "title", "description", "$defs", "$schema"}


# --- grammars ----------------------------------------------------------------------------------


def grammar(payload: ChatRequest, tokenizer: Tokenizer) -> UntrustedGrammar | None:
    """The grammar of the answer, not compiled; None without constraint. Raises ApiError (400) for invalid options."""
    choice = resolve_tool_choice(payload)
    if choice.type == "none":
        return None if payload.response_format is None else format_grammar(payload.response_format)
    with invalid_request("tools"):
        form = _format(tokenizer)
    start = _start(payload, choice, tokenizer)
    if start is None:
        return None
    functions = [
        tool.function for tool in payload.tools if choice.function is None or tool.function.name == choice.function.name
    ]
    names = " | ".join(f"call_{number}" for number in range(len(functions)))
    several = payload.parallel_tool_calls and choice.type != "function" and form.between is not None
    calls = f"call ({json.dumps(form.between)} call)*" if several else "call"
    calls = " ".join([*_spelled(tokenizer, form, form.before), calls, *_spelled(tokenizer, form, form.after)])
    rules = [rule for number, each in enumerate(functions) for rule in _call(number, each, tokenizer, form)]
    text = f"TEXT: /(?s:.+)/ & ~/(?s:.*){re.escape(form.opening)}(?s:.*)/" if form.opening else "TEXT: /(?s:[^{].*)/"
    with invalid_request("tools"):
        lines = [f"start: {start}", f"calls: {calls}", f"call: {names}", *rules, text, *_form(payload.response_format)]
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
    return tokenizer.knows(THINK) and tokenizer.knows(THOUGHT)


def _format(tokenizer: Tokenizer) -> CallFormat:
    """The model's format of calls. Raises InputError for a model without one, and for ours without its tokens."""
    if tokenizer.calls is None:
        raise InputError("the chat template of this model writes no tool calls that can be read; leave tools out")
    if tokenizer.template is None:
        for marker in tokenizer.calls.markers:
            tokenizer.special(marker)
    return tokenizer.calls


def _spelled(tokenizer: Tokenizer, form: CallFormat, text: str) -> list[str]:
    """A text in llguidance's syntax: markers that are control tokens by their ids, all else as strings."""
    known = [re.escape(marker) for marker in form.markers if tokenizer.knows(marker)]
    pieces = re.split(f"({'|'.join(known) or '(?!)'})", text)
    return [
        f"<[{tokenizer.special(piece)}]>" if place % 2 else json.dumps(piece)
        for place, piece in enumerate(pieces)
        if piece
    ]


def _call(number: int, function: Function, tokenizer: Tokenizer, form: CallFormat) -> list[str]:
    schema = arguments_schema(function)
    if schema["type"] != "object":
        raise ApiError(
            400, f"the parameters of {function.name} are of type {schema['type']!r}; they must be an object", "tools"
        )
    head = _spelled(tokenizer, form, form.head.replace("NAME", function.name))
    return [
        " ".join([f"call_{number}:", *head, f"arguments_{number}", *_spelled(tokenizer, form, form.tail)]),
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


def with_id(call: dict[str, Any]) -> dict[str, Any]:
    """The call with a new id."""
    return {"id": f"call_{secrets.token_hex(12)}"} | call
