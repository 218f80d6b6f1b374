"""{"name": ..., "parameters": {...}} as the whole answer, as of Llama 3."""

from groundup.codecs.call_format import CallFormat, Calls, call_of, decoded
from groundup.core.tables import CALL_FORMATS

_TAG = "<|python_tag|>"


def _read(text: str) -> Calls | None:
    text = text.lstrip().removeprefix(_TAG)
    found = decoded(text)
    call = call_of(found[0], "parameters") if found else None
    return ([call], text[found[1] :]) if found and call else None


CALL_FORMATS.add(
    "llama",
    CallFormat(
        "",
        "}",
        '{"name": "NAME", "parameters": ',
        "}",
        _read,
        lambda template: '"parameters": ' in template,
        starts=("{", _TAG),
    ),
)
