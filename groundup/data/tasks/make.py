"""Training and held-out documents of a tasks source."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from random import Random

from groundup.config.source import TasksSource
from groundup.core.errors import InputError
from groundup.data.document import Document
from groundup.data.tasks import dates, gym, lists, lookup, numbers, numerals, units, words
from groundup.data.tasks.family import Family, Language, Task

FAMILIES: dict[str, Family] = {
    "copying": words.COPYING,
    "spelling": words.SPELLING,
    "reversing": words.REVERSING,
    "sorting": lists.SORTING,
    "counting": lists.COUNTING,
    "membership": lists.MEMBERSHIP,
    "choosing": lists.CHOOSING,
    "deleting": lists.DELETING,
    "comparing": numbers.COMPARING,
    "arithmetic": numbers.ARITHMETIC,
    "sequence": numbers.SEQUENCE,
    "numerals": numerals.NUMERALS,
    "dates": dates.DATES,
    "units": units.UNITS,
    "lookup": lookup.LOOKUP,
}
"""The families, by the names that recipes use."""


@dataclass(frozen=True)
class _Lane:
    """One family in one language at the level the recipe asks for."""

    name: str
    family: Family
    level: int
    language: Language


def check(source: TasksSource) -> None:
    """Raise InputError where the source asks for a family that does not exist or cannot be made here."""
    for name, level in source.families.items():
        _family(source, name, level)


def training(source: TasksSource) -> Iterator[Document]:
    """`source.count` conversations, one from each family and language in turn.

    Questions are distinct; where a family has fewer than asked for, all come once before any comes again.
    """
    streams = [(lane, _endless(source, lane)) for lane in _lanes(source)]
    for number in range(source.count):
        lane, tasks = streams[number % len(streams)]
        yield _document(source, lane, next(tasks), str(number // len(streams)), heldout=False)


def heldout(source: TasksSource, per_family: int) -> list[Document]:
    """`per_family` different held-out instances of each family and language, or as many as there are.

    They depend neither on the count nor on the seed of the source, so that runs with others are measured on the same.
    """
    documents = []
    for lane in _lanes(source):
        rng = _random("heldout", lane.name, lane.language)
        tasks = _distinct(lane, rng, source.heldout_share, heldout=True, key=lambda task: task.payload)
        documents += [
            _document(source, lane, task, f"heldout-{number}", heldout=True)
            for number, task in enumerate(islice(tasks, per_family))
        ]
    return documents


def is_heldout(family: str, payload: str, share: float) -> bool:
    """Whether an instance belongs to the held-out part: a matter of its content alone, whatever language, level or
    seed.
    """
    return int.from_bytes(hashlib.sha256(f"{family}\n{payload}".encode()).digest()[:8]) < share * 2**64


def _family(source: TasksSource, name: str, level: int) -> Family:
    if name in FAMILIES:
        return FAMILIES[name]
    if name.startswith(gym.PREFIX):
        return gym.family(name, level)
    known = f"{', '.join(FAMILIES)} and {gym.PREFIX}<data set of reasoning-gym>"
    raise InputError(f"source {source.name}: unknown task family {name!r}; known are {known}")


def _lanes(source: TasksSource) -> list[_Lane]:
    """Families by languages; a family that lacks all the languages asked for comes in its own."""
    lanes = []
    for name, level in source.families.items():
        family = _family(source, name, level)
        languages = [language for language in source.languages if language in family.languages]
        lanes += [_Lane(name, family, level, language) for language in languages or family.languages]
    return lanes


def _endless(source: TasksSource, lane: _Lane) -> Iterator[Task]:
    rng = _random("training", str(source.seed), lane.name, lane.language)
    found = True
    while found:
        found = False
        for task in _distinct(lane, rng, source.heldout_share, heldout=False, key=lambda task: task.question):
            found = True
            yield task
    raise InputError(
        f"source {source.name}: family {lane.name} at level {lane.level} has no training instances; choose another"
        " level"
    )


def _distinct(lane: _Lane, rng: Random, share: float, heldout: bool, key: Callable[[Task], str]) -> Iterator[Task]:
    """Instances of one part, no key twice, until nothing new turns up.

    A space of n equally likely keys is left with one unseen once in e^10, or 22,000, times.
    """
    seen: set[str] = set()
    misses, part = 0, share if heldout else 1 - share
    while misses * part < 100 + 10 * len(seen):
        task = lane.family.make(rng, lane.level, lane.language)
        if key(task) in seen or is_heldout(lane.name, task.payload, share) != heldout:
            misses += 1
            continue
        misses = 0
        seen.add(key(task))
        yield task


def _document(source: TasksSource, lane: _Lane, task: Task, number: str, heldout: bool) -> Document:
    return Document(
        source=source.name,
        origin=f"tasks/{lane.name}/{lane.language}/level-{lane.level}/{number}",
        licence=source.licence,
        messages=[{"role": "user", "content": task.question}, {"role": "assistant", "content": task.answer}],
        heldout=heldout,
        labels={"family": lane.name, "language": lane.language, "level": lane.level},
    )


def _random(*key: str) -> Random:
    """A generator seeded by words: the same on every machine and in every process."""
    return Random(int.from_bytes(hashlib.sha256("\n".join(key).encode()).digest()))
