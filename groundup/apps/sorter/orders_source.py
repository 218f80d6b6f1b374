"""Orders to the sorting line as conversations: an operator's sentence, and the line of the policy's language that it
means.
"""

from collections.abc import Iterator
from itertools import cycle, islice

from groundup.apps.sorter.orders import Pair, Part, pairs
from groundup.apps.sorter.policy import Language
from groundup.config.source import OrdersSource
from groundup.data.clean import set_aside
from groundup.data.document import Document

MEASURED: tuple[Part, ...] = ("heldout", "novel")
TRAINED, VALIDATED, ASKED = range(3)  # seeds: what is asked in the end is not what the held-out loss was of


def documents(source: OrdersSource) -> Iterator[Document]:
    """Stream `source.count` training conversations, then held-out ones, whose phrasings are in none of those; languages
    in turn.
    """
    yield from _in_turn(source, "train", source.count)
    yield from _in_turn(source, "heldout", set_aside(source.heldout_share, source.count))


def measured(source: OrdersSource, count: int) -> list[Document]:
    """`count` different sentences of each part that is not trained on, and language; the part is the family among their
    labels.
    """
    found = []
    for part in MEASURED:
        for language in source.languages:
            different: dict[str, Pair] = {}
            stream = pairs(ASKED, part, language)
            while len(different) < count:
                pair = next(stream)
                different.setdefault(pair.text, pair)
            found += [
                _document(source, pair, part, language, str(number)) for number, pair in enumerate(different.values())
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
