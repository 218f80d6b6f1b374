"""Procedurally generated, verifiable instructions: training and held-out documents of a recipe's task families."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from math import ceil
from pathlib import Path
from random import Random
from typing import Annotated, Literal

from pydantic import Field

from groundup.config.base import knob
from groundup.core.errors import InputError
from groundup.core.tables import SOURCES
from groundup.data.document import Document
from groundup.data.filtered import Filtered
from groundup.data.source import ProceduralSource
from groundup.data.tasks import Family, Language, Task, family

HELDOUT_TASKS = 300  # held-out instructions of one source, for its validation loss; evaluation makes its own


@dataclass(frozen=True)
class _Lane:
    """One family in one language at the recipe's level."""

    name: str
    family: Family
    level: int
    language: Language


class TasksSource(ProceduralSource):
    """Procedurally generated, verifiable instructions; no instance is both in training and held out."""

    holds = "conversations"
    exact_answers = True

    licence: str = knob("CC0-1.0", "SPDX id", "made by this program, free to all")
    heldout_share: float = knob(0.1, "fraction", "instances held out for evaluation, by content hash", ge=0.01, le=0.5)
    count: int = knob(..., "conversations", "number of training instances", ge=1)
    languages: tuple[Literal["en", "zh"], ...] = knob(
        ("en", "zh"), "names", "languages of the instructions", min_length=1
    )
    families: dict[str, Annotated[int, Field(ge=1, le=5)]] = knob(
        ..., "family: level", "task families and their levels of difficulty, 1 to 5", min_length=1
    )
    seed: int = knob(0, "number", "seed of the training instances", ge=0)

    def files(self, folder: Path) -> list[Path]:
        """None. Raises InputError for a family that does not exist or cannot be made here."""
        self.lanes()
        return []

    def read(self, folder: Path, drops: Filtered) -> Iterator[Document]:
        """Stream training instances, then held-out ones for the validation loss."""
        per_family = ceil(HELDOUT_TASKS / (len(self.families) * len(self.languages)))
        return chain(self.training(), self.heldout(per_family))

    def training(self) -> Iterator[Document]:
        """`self.count` conversations, families and languages in turn; a family repeats once it is exhausted."""
        streams = [(lane, _endless(self, lane)) for lane in self.lanes()]
        for number in range(self.count):
            lane, tasks = streams[number % len(streams)]
            yield _document(self, lane, next(tasks), str(number // len(streams)), heldout=False)

    def heldout(self, per_family: int) -> list[Document]:
        """Up to `per_family` held-out instances of each family and language, independent of count and seed."""
        documents = []
        for lane in self.lanes():
            rng = _random("heldout", lane.name, lane.language)
            tasks = _distinct(lane, rng, self.heldout_share, heldout=True, key=lambda task: task.payload)
            documents += [
                _document(self, lane, task, f"heldout-{number}", heldout=True)
                for number, task in enumerate(islice(tasks, per_family))
            ]
        return documents

    def lanes(self) -> list[_Lane]:
        """Families by languages; a family in none of the recipe's languages comes in its own."""
        lanes = []
        for name, level in self.families.items():
            family = self._family(name, level)
            languages = [language for language in self.languages if language in family.languages]
            lanes += [_Lane(name, family, level, language) for language in languages or family.languages]
        return lanes

    def _family(self, name: str, level: int) -> Family:
        try:
            return family(name, level)
        except InputError as error:
            raise InputError(f"source {self.name}: {error}") from None


def is_heldout(family: str, payload: str, fraction: float) -> bool:
    """Whether an instance is held out: a function of its content alone, whatever language, level or seed."""
    return int.from_bytes(hashlib.sha256(f"{family}\n{payload}".encode()).digest()[:8]) < fraction * 2**64


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


def _distinct(lane: _Lane, rng: Random, fraction: float, heldout: bool, key: Callable[[Task], str]) -> Iterator[Task]:
    """Distinct instances of one part, until no new ones come; of n equally likely keys one is missed 1 in e^10 runs."""
    seen: set[str] = set()
    misses, part = 0, fraction if heldout else 1 - fraction
    while misses * part < 100 + 10 * len(seen):
        task = lane.family.make(rng, lane.level, lane.language)
        if key(task) in seen or is_heldout(lane.name, task.payload, fraction) != heldout:
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


SOURCES.add("tasks", TasksSource)
