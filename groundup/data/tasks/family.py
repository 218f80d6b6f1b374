"""Tasks and task families, and the helpers that all families share."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from random import Random
from typing import Literal

Language = Literal["en", "zh"]
Phrases = Mapping[Language, tuple[str, ...]]
"""Ways to ask the same thing, with {fields} for what differs from instance to instance."""


@dataclass(frozen=True, slots=True)
class Task:
    """One verifiable instruction: question, the only right `answer`, compared exactly, and payload.

    `payload` identifies the instance in its family, independent of the wording and the language.
    """

    question: str
    answer: str
    payload: str


@dataclass(frozen=True)
class Family:
    """A family of tasks: `make` draws an instance of a level from 1 to 5, which `levels` describe.

    `make` consumes the same random numbers for the instance in every language and chooses the wording last.
    """

    make: Callable[[Random, int, Language], Task]
    levels: tuple[str, str, str, str, str]
    languages: tuple[Language, ...] = ("en", "zh")


def ask(
    rng: Random, phrases: Phrases, language: Language, answer: str, payload: Iterable[object], **fields: object
) -> Task:
    """Word an instance in one of its phrasings, drawn from `rng`."""
    return Task(rng.choice(phrases[language]).format(**fields), answer, "|".join(map(str, payload)))


def listing(items: Iterable[object], language: Language) -> str:
    """The items with the language's separator: `a, b, c` or `a、b、c`."""
    return (", " if language == "en" else "、").join(map(str, items))
