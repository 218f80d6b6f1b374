"""<tool_call>{"name": ..., "arguments": {...}}</tool_call>, as of Hermes, Qwen and our own models."""

import re

from groundup.codecs.call_format import CallFormat, Calls, call_of, decoded
from groundup.core.tables import CALL_FORMATS

_CLOSING = re.compile(r"\s*</tool_call>")


def _read(text: str) -> Calls | None:
    found = decoded(text)
    closing = _CLOSING.match(text, found[1]) if found else None
    call = call_of(found[0], "arguments") if found and closing else None
    return ([call], text[closing.end() :]) if call and closing else None


HERMES = CallFormat(
    "<tool_call>", "</tool_call>", '<tool_call>\n{"name": "NAME", "arguments": ', "}\n</tool_call>", _read,
    lambda template: "<tool_call>" in template and "<function=" not in template and "<arg_key>" not in template,
    between="\n",
)  # fmt: skip
CALL_FORMATS.add("hermes", HERMES)
