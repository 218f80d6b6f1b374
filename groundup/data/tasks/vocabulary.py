"""The vocabulary of tasks: objects and people with English and Chinese names, and words to spell."""

import re
from pathlib import Path
from random import Random

from groundup.data.tasks.family import Language


def _lists() -> dict[str, list[str]]:
    """The lists of words in the file beside this one, by their headings."""
    text = Path(__file__).with_suffix(".txt").read_text(encoding="utf-8")
    _, *parts = re.split(r"^# (.+)$", text, flags=re.MULTILINE)
    return {heading: words.split() for heading, words in zip(parts[::2], parts[1::2], strict=True)}


def _pairs(words: list[str]) -> dict[str, str]:
    return dict(zip(words[::2], words[1::2], strict=True))


_LISTS = _lists()


HANDY = _pairs(_LISTS["common"]) | _pairs(_LISTS["handy"])
"""Things that a person can have and give: English noun -> Chinese noun. The most common come first."""

THINGS = HANDY | _pairs(_LISTS["large or alive"])
"""English noun -> Chinese noun."""

PEOPLE = _pairs(_LISTS["people"])
"""English given name -> Chinese given name."""

WORDS: dict[Language, tuple[str, ...]] = {"en": tuple(_LISTS["words en"]), "zh": tuple(_LISTS["words zh"])}
"""Words to spell, for each language its own: letters of one word, characters of the other."""

_THING_NAMES, _HANDY_NAMES, _PEOPLE_NAMES = tuple(THINGS), tuple(HANDY), tuple(PEOPLE)
_FEW = _THING_NAMES[:24]  # at level 1: the fewer words, the sooner each is learned
_CHINESE = THINGS | PEOPLE


def things(rng: Random, count: int, level: int) -> list[str]:
    """Different objects, by their English names; at level 1 from a small set."""
    return rng.sample(_FEW if level == 1 else _THING_NAMES, count)


def handy_things(rng: Random, count: int) -> list[str]:
    """Different objects that a person can own and give, by their English names."""
    return rng.sample(_HANDY_NAMES, count)


def people(rng: Random, count: int) -> list[str]:
    """Different people, by their English names."""
    return rng.sample(_PEOPLE_NAMES, count)


def named(word: str, language: Language) -> str:
    """An object or a person in a language, from the English name; digits stay digits."""
    return word if language == "en" or word.isdigit() else _CHINESE[word]
