"""Calls of tools: what an answer may be when it must call one, and the calls in an answer while it comes.

The form of a call is that of the chat template.
"""

import json
import secrets
from typing import Any

from groundup.codecs import chat
from groundup.codecs.text import Tokenizer
from groundup.core.errors import InputError
from groundup.generate.detokenizer import overlap
from groundup.generate.grammar import UntrustedGrammar
from groundup.serve.errors import ApiError, about
from groundup.serve.schema import ChatRequest, Function, ResponseFormat, ToolChoice

OPEN, CLOSE, THINK, THOUGHT = "<tool_call>", "</tool_call>", "<think>", "</think>"
STYLE = {
    "x-guidance": {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
}  # one line, as the template writes it
PLAIN = {"type", "properties", "required", "title", "description", "$defs", "$schema"}
TEXT = f"TEXT: /(?s:.+)/ & ~/(?s:.*){OPEN}(?s:.*)/"


# --- what an answer may be ----------------------------------------------------------------------------------


def grammar(asked: ChatRequest, tokenizer: Tokenizer) -> UntrustedGrammar | None:
    """What the answer to a request may be; None if anything. Raises ApiError for a form that is none; nothing is
    compiled.
    """
    choice = chosen(asked)
    if choice.type == "none":
        return None if asked.response_format is None else formatted(asked.response_format)
    with about("tools"):
        for special in (OPEN, CLOSE):
            tokenizer.special(special)
    start = _start(asked, choice, tokenizer)
    if start is None:
        return None
    functions = [
        tool.function for tool in asked.tools if choice.function is None or tool.function.name == choice.function.name
    ]
    names = " | ".join(f"call_{number}" for number in range(len(functions)))
    calls = 'call ("\\n" call)*' if asked.parallel_tool_calls and choice.type != "function" else "call"
    rules = [rule for number, function in enumerate(functions) for rule in _call(number, function)]
    with about("tools"):
        lines = [f"start: {start}", f"calls: {calls}", f"call: {names}", *rules, TEXT, *_form(asked.response_format)]
        return UntrustedGrammar("lark", "\n".join(lines))


def chosen(asked: ChatRequest) -> ToolChoice:
    """Whether the answer to a request calls tools; raises ApiError where that cannot be."""
    choice = asked.tool_choice or ToolChoice(type="auto" if asked.tools else "none")
    if choice.type != "none" and not asked.tools:
        raise ApiError(400, f"tool_choice is {choice.type!r}, and there are no tools to choose from", "tool_choice")
    if (choice.function is None) == (choice.type == "function"):
        raise ApiError(400, "tool_choice names a function exactly if its type is 'function'", "tool_choice")
    names = [tool.function.name for tool in asked.tools]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise ApiError(400, f"there are two tools of the name {twice}", "tools")
    if choice.function is not None and choice.function.name not in names:
        raise ApiError(
            400,
            f"tool_choice names {choice.function.name}; the tools are {', '.join(names)}",
            "tool_choice.function.name",
        )
    return choice


def _start(asked: ChatRequest, choice: ToolChoice, tokenizer: Tokenizer) -> str | None:
    """The rule that an answer follows; None where it is free."""
    form = asked.response_format
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
    if asked.parallel_tool_calls and not any(tool.function.strict for tool in asked.tools):
        return None
    return f"TEXT? ({THINK} TEXT? {THOUGHT} TEXT?)? calls?" if _thinks(tokenizer) else "TEXT? calls?"


def _thinks(tokenizer: Tokenizer) -> bool:
    try:
        return all(tokenizer.special(name) for name in (THINK, THOUGHT))
    except InputError:
        return False


def _call(number: int, function: Function) -> list[str]:
    schema = arguments(function)
    if schema["type"] != "object":
        raise ApiError(
            400, f"the parameters of {function.name} are of type {schema['type']!r}; they must be an object", "tools"
        )
    opening = json.dumps(f'\n{{"name": "{function.name}", "arguments": ')
    return [
        f'call_{number}: {OPEN} {opening} arguments_{number} "}}\\n" {CLOSE}',
        f"arguments_{number}: %json {json.dumps(schema)}",
    ]


def arguments(function: Function) -> dict[str, Any]:
    """The schema of a function's arguments: none but those it declares, unless the schema says more of them than their
    names.
    """
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


def formatted(form: ResponseFormat) -> UntrustedGrammar | None:
    """What an answer of a form may be; None if anything. Raises ApiError for a form that lacks its field."""
    given = {name for name in ("json_schema", "pattern", "grammar") if getattr(form, name) is not None}
    wanted = {"json_schema": {"json_schema"}, "regex": {"pattern"}, "grammar": {"grammar"}}.get(form.type, set())
    if given != wanted:
        what = f"needs {next(iter(wanted))} and nothing else" if wanted else "needs no other field"
        raise ApiError(400, f"a response_format of type {form.type!r} {what}", "response_format")
    with about("response_format"):
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


# --- what an answer calls -----------------------------------------------------------------------------------


def numbered(call: dict[str, Any]) -> dict[str, Any]:
    """A call with an id of its own."""
    return {"id": f"call_{secrets.token_hex(12)}"} | call


class Speech:
    """Tells what an answer says from what it calls while it comes.

    What `hear` and `end` give is together what `chat.parse_answer` makes of the whole: a text is given once it can be
    no part of a call, a call once it is closed. A call that is never closed or cannot be read is text, and comes at the
    end.
    """

    def __init__(self) -> None:
        self._text = self._space = ""  # not understood yet; white space that is said only if something follows
        self._where = self._opening
        self._begun = self._last = False

    def hear(self, text: str) -> tuple[str, list[dict[str, Any]]]:
        """What more of the answer says and calls."""
        self._text += text
        said, calls = "", []
        while step := self._where():
            said += step[0]
            calls += step[1]
        return self._without_space(said), calls

    def end(self) -> tuple[str, list[dict[str, Any]]]:
        """What the answer turns out to have said and called."""
        self._last = True
        return self.hear("")

    def _opening(self) -> tuple[str, list[dict[str, Any]]] | None:
        start = self._text.lstrip()
        if THINK.startswith(start) and start != THINK and not self._last:
            return None
        if not start.startswith(THINK):
            self._where = self._speaking
            return "", []
        self._where = self._thinking
        space = len(self._text) - len(start)
        return self._take(space + len(THINK)), []

    def _thinking(self) -> tuple[str, list[dict[str, Any]]] | None:
        place = self._text.find(THOUGHT)
        if place >= 0:
            self._where = self._speaking
            return self._take(place + len(THOUGHT)), []
        return self._all_but(THOUGHT)

    def _speaking(self) -> tuple[str, list[dict[str, Any]]] | None:
        place = self._text.find(OPEN)
        if place >= 0:
            self._where = self._calling
            said = self._take(place)
            self._take(len(OPEN))
            return said, []
        return self._all_but(OPEN)

    def _calling(self) -> tuple[str, list[dict[str, Any]]] | None:
        found = chat.parse_call(self._text) if CLOSE in self._text else None
        if found is not None:
            self._text, self._where = found[1], self._speaking
            return "", [found[0]]
        if not self._last:
            return None
        self._where = self._speaking
        return OPEN, []

    def _all_but(self, mark: str) -> tuple[str, list[dict[str, Any]]] | None:
        said = self._take(len(self._text) - (0 if self._last else overlap(self._text, mark)))
        return (said, []) if said else None

    def _take(self, count: int) -> str:
        taken, self._text = self._text[:count], self._text[count:]
        return taken

    def _without_space(self, said: str) -> str:
        said = self._space + said
        if not self._begun:
            said = said.lstrip()
        bare = said.rstrip()
        self._space, self._begun = said[len(bare) :], self._begun or bool(bare)
        return bare
