"""Strict JSON: refuses duplicate keys, unknown keys and numbers that JSON does not have."""

import json
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from math import isinf
from types import MappingProxyType
from typing import Any

from groundup.core.errors import InputError

MOST_DIGITS = 1000  # of an integer: parsing time is quadratic in the number of digits
_NONE: Mapping[str, str] = MappingProxyType({})


def loads(text: str) -> Any:
    """Parse a JSON text. Raises ValueError for invalid JSON, deep nesting, duplicate keys, NaN and huge numbers."""
    try:
        return _DECODER.decode(text)
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The object of these keys and values; raises ValueError for a duplicate key."""
    value = dict(pairs)
    if len(value) < len(pairs):
        raise ValueError(f"the key {Counter(key for key, _ in pairs).most_common(1)[0][0]!r} stands twice")
    return value


def _finite(text: str) -> float:
    value = float(text)
    if isinf(value):
        raise ValueError(f"the number {text[:20]} is too large")
    return value


def _whole(text: str) -> int:
    if len(text) > MOST_DIGITS:
        raise ValueError(f"a number of {len(text):,} digits")
    return int(text)


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is no number in JSON")


_DECODER = json.JSONDecoder(object_pairs_hook=once, parse_float=_finite, parse_int=_whole, parse_constant=_no_number)


def in_texts(value: Any, change: Callable[[str], str]) -> Any:
    """A JSON value with all its texts changed, keys included."""
    match value:
        case str():
            return change(value)
        case list():
            return [in_texts(item, change) for item in value]
        case dict():
            return {change(key): in_texts(item, change) for key, item in value.items()}
    return value


# --- objects of known keys ----------------------------------------------------------------------------------


def only(value: dict[str, Any], known: Collection[str], what: str, remedies: Mapping[str, str] = _NONE) -> None:
    """Raise InputError that names the first unknown key of an object; a key with an empty value counts as absent."""
    for key, item in value.items():
        if key not in known and not says_nothing(item):
            known_keys, remedy = ", ".join(sorted(known)), remedies.get(key, "take it out")
            raise InputError(f"unknown key {key[:60]!r} in {what}; known are {known_keys}; {remedy}")


def says_nothing(value: Any) -> bool:
    """Whether a value is null, or a text, list or object with nothing in it."""
    return value is None or (isinstance(value, str | list | dict) and not value)
