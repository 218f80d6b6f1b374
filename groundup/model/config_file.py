"""Reads the values of a foreign `config.json` by type and range; each fault is one sentence that names the key."""

import math
from typing import Any, TypeVar

from groundup.core.errors import InputError

SIDE = 1 << 20  # the largest width, number of heads or layers, and side of a matrix
LENGTH = 1 << 28  # the largest vocabulary or context
Choice = TypeVar("Choice")
_REQUIRED: Any = object()


class ConfigFile:
    """The object of a `config.json`, or a part of it, of which every key must be read before it is `finish`ed.

    A key that holds null counts as left out. Raises InputError for something else than an object.
    """

    def __init__(self, table: Any, where: str):
        if not isinstance(table, dict):
            raise InputError(f"{where}: expected an object, found {_shown(table)}; give a model's config.json")
        self.table, self.where = table, where
        self._known: set[str] = set()

    def part(self, *keys: str) -> "ConfigFile":
        """The object under the first of these keys that holds something; an empty one without."""
        self.ignore(*keys)
        key = next((key for key in keys if self.table.get(key)), None)
        return ConfigFile({} if key is None else self.table[key], f"{self.where}: {key}" if key else self.where)

    def count(self, key: str, most: int = SIDE, default: int = _REQUIRED) -> int:
        """A whole number from 1 to `most`."""
        value = self._value(key, default)
        if type(value) is not int or not 0 < value <= most:
            raise self._fault(key, f"a whole number from 1 to {most:,}")
        return value

    def number(self, key: str, default: float = _REQUIRED) -> float:
        """A positive finite number."""
        value = self._value(key, default)
        if type(value) not in (int, float) or not 0 < value < math.inf or value > 1e308:
            raise self._fault(key, "a positive number")
        return float(value)

    def flag(self, key: str, default: bool = False) -> bool:
        """True or false."""
        if not isinstance(value := self._value(key, default), bool):
            raise self._fault(key, "true or false")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of texts."""
        value = self._value(key, _REQUIRED)
        if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
            raise self._fault(key, "a list of texts")
        return tuple(value)

    def choice(self, key: str, choices: dict[str, Choice], default: str = _REQUIRED) -> Choice:
        """What a text stands for."""
        value = self._value(key, default)
        if not isinstance(value, str) or value not in choices:
            raise self._fault(key, f"{' or '.join(choices)}: nothing else is supported")
        return choices[value]

    def neutral(self, key: str, *values: Any) -> None:
        """Check that a key is left out or has one of the values that change nothing."""
        if (value := self._value(key, values[0])) not in values or type(value) not in map(type, values):
            raise self._fault(key, f"{' or '.join(map(repr, values))}: nothing else is supported")

    def ignore(self, *keys: str) -> None:
        """Keys that do not matter, whatever they hold."""
        self._known.update(keys)

    def finish(self) -> None:
        """Raise InputError for a key that holds something and was not read."""
        for key, value in self.table.items():
            if key not in self._known and value not in (None, False, [], {}):
                raise InputError(
                    f"{self.where}: {ascii(key)[:60]} is {_shown(value)}; this key is not known for this architecture,"
                    " so the model might compute something else than here"
                )

    def _value(self, key: str, default: Any) -> Any:
        self._known.add(key)
        value = self.table.get(key)
        if value is not None:
            return value
        if default is _REQUIRED:
            raise InputError(f"{self.where}: the key {key!r} is missing")
        return default

    def _fault(self, key: str, wanted: str) -> InputError:
        return InputError(f"{self.where}: {key} is {_shown(self.table.get(key))}; expected {wanted}")


def _shown(value: Any) -> str:
    text = ascii(value) if not isinstance(value, int) or abs(value) < 10**40 else "a number of more than 40 digits"
    return text if len(text) <= 60 else f"{text[:57]}..."
