"""Reads values of a published `config.json` by type and range; each error is one sentence that names the key."""

import math
from typing import Any

from groundup.core.errors import InputError

SIDE = 1 << 20  # the largest width, number of heads or layers, and side of a matrix
LENGTH = 1 << 28  # the largest vocabulary or context


class ConfigFile:
    """The object of a `config.json`, or a part of it. Raises InputError for any other value."""

    def __init__(self, table: Any, where: str):
        if not isinstance(table, dict):
            raise InputError(f"{where}: expected an object, found {_shown(table)}; give a model's config.json")
        self.table, self.where = table, where

    def part(self, *keys: str) -> "ConfigFile":
        """The object under the first of these keys that is not empty; else an empty one."""
        key = next((key for key in keys if self.table.get(key)), None)
        return ConfigFile({} if key is None else self.table[key], f"{self.where}: {key}")

    def count(self, key: str, most: int = SIDE) -> int:
        """A whole number from 1 to `most`."""
        value = self._required(key)
        if type(value) is not int or not 0 < value <= most:
            raise self._fault(key, f"a whole number from 1 to {most:,}")
        return value

    def number(self, key: str, default: float) -> float:
        """A positive finite number."""
        value = self.table.get(key, default)
        if type(value) not in (int, float) or not 0 < value < math.inf or value > 1e308:
            raise self._fault(key, "a positive number")
        return float(value)

    def flag(self, key: str) -> bool:
        """True or false; false where it is left out."""
        if not isinstance(value := self.table.get(key, False), bool):
            raise self._fault(key, "true or false")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of texts."""
        value = self._required(key)
        if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
            raise self._fault(key, "a list of texts")
        return tuple(value)

    def _required(self, key: str) -> Any:
        if key not in self.table:
            raise InputError(f"{self.where}: the key {key!r} is missing")
        return self.table[key]

    def _fault(self, key: str, wanted: str) -> InputError:
        return InputError(f"{self.where}: {key} is {_shown(self.table.get(key))}; expected {wanted}")


def _shown(value: Any) -> str:
    text = ascii(value) if not isinstance(value, int) or abs(value) < 10**40 else "a number of more than 40 digits"
    return text if len(text) <= 60 else f"{text[:57]}..."
