"""Multiple-choice questions from JSON lines, in Unicode normal form.

A line: {"question": text, "choices": [text, ...], "answer": index from 0 or letter from "A"}, optionally "subject".
"""

import json
import string
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from groundup.codecs.normal import normalise, repair_surrogates
from groundup.codecs.strict_json import only
from groundup.core.errors import InputError
from groundup.core.files import lines
from groundup.data.lines import record

T = TypeVar("T")
_KEYS = ("question", "choices", "answer", "subject")


@dataclass(frozen=True)
class Question:
    """One question, its choices, the index of the right one, and its subject ("" if it has none)."""

    text: str
    choices: tuple[str, ...]
    answer: int
    subject: str


def read(path: Path) -> list[Question]:
    """The questions of a file. Raises InputError that names a wrong line, or for an empty or missing file."""
    return [_question(value, where) for where, value in records(path, _KEYS)]


def records(path: Path, keys: Sequence[str] | None, what: str = "questions") -> list[tuple[str, dict[str, Any]]]:
    """The place `file:line` and the JSON object of each line; with `keys`, an object has no others.

    Raises InputError that names a wrong line, or for an empty or missing file.
    """
    try:
        rows = lines(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); give a JSONL file") from None
    found = [_record(line, f"{path}:{number}", keys) for number, line in enumerate(rows, 1) if line.strip()]
    if not found:
        raise InputError(f"{path}: holds no {what}; give one JSON object a line")
    return found


def by_subject(items: Iterable[T], subject: Callable[[T], str]) -> dict[str, list[T]]:
    """All items under "", and the items of each subject under its name."""
    groups: dict[str, list[T]] = {"": []}
    for item in items:
        for name in dict.fromkeys(("", subject(item))):
            groups.setdefault(name, []).append(item)
    return groups


def _record(line: bytes, where: str, keys: Sequence[str] | None) -> tuple[str, dict[str, Any]]:
    try:
        value = record(line)
    except ValueError as error:
        raise InputError(f"{where}: not a JSON object ({error}); mend or remove the line") from None
    try:
        if keys is not None:
            only(value, keys, "a question")
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
    return where, value


def _question(value: dict[str, Any], where: str) -> Question:
    choices = _choices(value.get("choices"), where)
    return Question(
        text(value, "question", where),
        choices,
        _answer(value.get("answer"), len(choices), where),
        text(value, "subject", where, ""),
    )


def text(value: dict[str, Any], key: str, where: str, default: str | None = None) -> str:
    """The text under a key in normal form. Raises InputError for another type, or none without a default."""
    found = value.get(key, default)
    if not isinstance(found, str):
        raise InputError(f"{where}: {key!r} must be a text, found {json.dumps(found)}")
    return normalise(repair_surrogates(found))


def _choices(found: Any, where: str) -> tuple[str, ...]:
    if (
        not isinstance(found, list)
        or len(found) < 2
        or not all(isinstance(choice, str) and normalise(choice) for choice in found)
    ):
        raise InputError(
            f"{where}: 'choices' must be a list of two or more texts that are not empty, found {json.dumps(found)}"
        )
    return tuple(normalise(repair_surrogates(choice)) for choice in found)


def _answer(found: Any, count: int, where: str) -> int:
    places = dict(zip(string.ascii_uppercase, range(count), strict=False))
    place = places.get(found.strip().upper()) if isinstance(found, str) else found
    if not isinstance(place, int) or isinstance(place, bool) or not 0 <= place < count:
        letters = f" or a letter from A to {list(places)[-1]}"
        raise InputError(
            f"{where}: 'answer' must be a number from 0 to {count - 1}{letters}, found {json.dumps(found)}"
        )
    return place
