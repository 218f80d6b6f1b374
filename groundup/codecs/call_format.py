"""A format of tool calls in an answer: what the model writes around a call, and the call that is read of it."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from groundup.codecs.messages import NESTING, deeper, to_json
from groundup.codecs.normal import repair_surrogates
from groundup.core.tables import CALL_FORMATS

Call = dict[str, Any]
Calls = tuple[list[Call], str]


@dataclass(frozen=True)
class CallFormat:
    """What stands around calls: `before` and `after` all, `between` two (None: one call at a time), and around each.

    `opening` begins the calls, wherever it stands in an answer; without one, calls are a whole answer that `starts` so.
    `closing` is there at the latest when a call can be read. `head` precedes the arguments; NAME in it is the
    function's. `read` gives the calls behind `opening`, and the text that follows; None for no call, or not yet one.
    `writes` tells of a chat template whether it writes calls so.
    """

    opening: str
    closing: str
    head: str
    tail: str
    read: Callable[[str], Calls | None]
    writes: Callable[[str], bool]
    before: str = ""
    between: str | None = None
    after: str = ""
    starts: tuple[str, ...] = ()

    @property
    def markers(self) -> tuple[str, ...]:
        """The literals that are control tokens where the tokenizer has them."""
        return tuple(filter(None, (self.opening, self.closing)))


def of_template(text: str) -> CallFormat | None:
    """The format in which a chat template writes calls; None for one that knows no tools, or another format."""
    return next((form for _, form in CALL_FORMATS.items() if form.writes(text)), None)


def decoded(text: str, start: int = 0) -> tuple[Any, int] | None:
    """A JSON value in a text, behind white space, and where it ends; None where there is none."""
    try:
        return json.JSONDecoder().raw_decode(text, start + len(text[start:]) - len(text[start:].lstrip()))
    except (ValueError, RecursionError):  # ValueError: no JSON, or a number of thousands of digits
        return None


def call_of(value: Any, key: str, more: frozenset[str] = frozenset()) -> Call | None:
    """The call of a JSON object with `name` and, under `key`, the arguments; None for any other value."""
    if not isinstance(value, dict) or value.keys() - more != {"name", key}:
        return None
    name, given = value["name"], value[key]
    if not isinstance(name, str) or not isinstance(given, dict) or deeper(given, NESTING):
        return None
    try:
        written = to_json(given)
    except ValueError:  # Python reads numbers that JSON has not
        return None
    # JSON can spell half a character, which is no text.
    function = {"name": repair_surrogates(name), "arguments": repair_surrogates(written)}
    return {"type": "function", "function": function}
