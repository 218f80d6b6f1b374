"""[TOOL_CALLS] [{"name": ..., "arguments": {...}}, ...], as of Mistral."""

from groundup.codecs.call_format import CallFormat, Calls, call_of, decoded
from groundup.core.tables import CALL_FORMATS


def _read(text: str) -> Calls | None:
    found = decoded(text)
    values = found[0] if found and isinstance(found[0], list) else []
    calls = [call for value in values if (call := call_of(value, "arguments", frozenset({"id"})))]
    return (calls, text[found[1] :]) if found and calls and len(calls) == len(values) else None


CALL_FORMATS.add(
    "mistral",
    CallFormat(
        "[TOOL_CALLS]", "]", '{"name": "NAME", "arguments": ', "}", _read,
        lambda template: "[TOOL_CALLS]" in template and "[ARGS]" not in template, "[TOOL_CALLS] [", ", ", "]",
    ),
)  # fmt: skip
