"""Source "orders": conversations of an operator's sentence and the order it means in the policy's language."""

from collections.abc import Iterator
from itertools import cycle, islice
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from groundup.apps.sorter.orders import Pair, Part, pairs
from groundup.apps.sorter.policy import Language
from groundup.config.base import knob
from groundup.core.tables import SOURCES
from groundup.data.clean import set_aside
from groundup.data.document import Document
from groundup.data.filtered import Filtered
from groundup.data.source import ProceduralSource

MEASURED: tuple[Part, ...] = ("heldout", "novel")
TRAINED, VALIDATED, ASKED = range(3)  # seeds: the evaluation asks other sentences than the held-out loss is of


class OrdersSource(ProceduralSource):
    """Operators' sentences with the orders they mean in the policy's language, made by this program."""

    holds = "conversations"

    licence: str = knob("CC0-1.0", "SPDX id", "made by this program, free to all")
    heldout_share: float = knob(
        0.03, "fraction", "held-out conversations, in other phrasings, beside the training ones", ge=0.001, le=0.5
    )
    count: int = knob(..., "conversations", "number of training conversations", ge=1)
    languages: dict[Literal["en", "zh"], Annotated[int, Field(ge=1, le=100)]] = knob(
        {"en": 1, "zh": 1},
        "language: number",
        "languages of the orders, and how many of each in turn",
        min_length=1,
    )

    def read(self, folder: Path, drops: Filtered) -> Iterator[Document]:
        """Stream `count` training conversations, then held-out ones in phrasings that are not trained on; languages in
        turn.
        """
        yield from _in_turn(self, "train", self.count)
        yield from _in_turn(self, "heldout", set_aside(self.heldout_share, self.count))

    def heldout(self, per_family: int) -> list[Document]:
        """`per_family` different sentences of each split not trained on, in each language; the split is the family."""
        found = []
        for part in MEASURED:
            for language in self.languages:
                different: dict[str, Pair] = {}
                stream = pairs(ASKED, part, language)
                while len(different) < per_family:
                    pair = next(stream)
                    different.setdefault(pair.text, pair)
                found += [
                    _document(self, pair, part, language, str(number)) for number, pair in enumerate(different.values())
                ]
        return found


def _in_turn(source: OrdersSource, part: Part, count: int) -> Iterator[Document]:
    streams = {
        language: enumerate(pairs(TRAINED if part == "train" else VALIDATED, part, language))
        for language in source.languages
    }
    turns = [language for language, many in source.languages.items() for _ in range(many)]
    for language in islice(cycle(turns), count):
        number, pair = next(streams[language])
        yield _document(source, pair, part, language, str(number))


def _document(source: OrdersSource, pair: Pair, part: Part, language: Language, number: str) -> Document:
    return Document(
        source=source.name,
        origin=f"{part} {language} {number}",
        licence=source.licence,
        messages=pair.messages,
        heldout=part != "train",
        labels={"family": part, "language": language, "level": 1},
    )


SOURCES.add("orders", OrdersSource)
