"""How an answer is compared with the expected one: exactly, as a set of items, or as a number."""

import re
from collections.abc import Callable
from decimal import Decimal
from typing import Literal

Matching = Literal["exact", "set", "numeric"]
_SEPARATOR = re.compile(r"[,，、;；\n]")
_NUMBER = re.compile(r"[-−]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:[eE][-+]?\d{1,3})?")


def exact(answer: str, expected: str) -> bool:
    """Equal character by character; the chat template drops white space around an answer, so it does not count."""
    return answer.strip() == expected.strip()


def same_set(answer: str, expected: str) -> bool:
    """The same items in any order, each as often; items are separated by commas, semicolons or line ends."""
    return _items(answer) == _items(expected)


def numeric(answer: str, expected: str) -> bool:
    """The last number of the answer equals that of the expected one: 1,200 is 1200.0. Without a number it is wrong."""
    found, right = _number(answer), _number(expected)
    return found is not None and found == right


MATCHINGS: dict[Matching, Callable[[str, str], bool]] = {"exact": exact, "set": same_set, "numeric": numeric}


def has_number(text: str) -> bool:
    """Whether `numeric` finds a number in a text."""
    return _number(text) is not None


def _items(text: str) -> list[str]:
    return sorted(item for part in _SEPARATOR.split(text) if (item := part.strip()))


def _number(text: str) -> Decimal | None:
    numbers = _NUMBER.findall(text)
    return Decimal(numbers[-1].replace(",", "").replace("−", "-")) if numbers else None
