"""Rendered scenes of shapes, text and numbers, with questions about them.

Each scene has a conversation of five questions in one language, since its patches cost most. A hash of its objects
decides whether it is held out: no scene is in both parts, whatever the seed and the language.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any, Literal

from groundup.codecs.detections import Detection
from groundup.config.base import knob
from groundup.core.tables import SOURCES
from groundup.data.clean import is_heldout, set_aside
from groundup.data.document import Document
from groundup.data.filtered import Filtered
from groundup.data.scene_drawing import Scene, compose, render
from groundup.data.scene_questions import FAMILIES, Language
from groundup.data.source import ProceduralSource


class ScenesSource(ProceduralSource):
    """Rendered scenes of shapes, text and numbers with questions about them, made by this program."""

    holds = "images"
    has_boxes = True
    exact_answers = True

    licence: str = knob("CC0-1.0", "SPDX id", "made by this program, free to all")
    heldout_share: float = knob(0.05, "fraction", "scenes held out for evaluation, by content hash", ge=0.001, le=0.5)
    count: int = knob(..., "scenes", "number of training scenes", ge=1)
    pixels: int = knob(64, "pixels", "the longer side of a scene", ge=16, le=1024)
    things: int = knob(4, "objects", "most objects of one scene", ge=1, le=12)
    languages: tuple[Literal["en", "zh"], ...] = knob(("en",), "names", "languages of the questions", min_length=1)
    seed: int = knob(0, "number", "seed of the training scenes", ge=0)

    def read(self, folder: Path, drops: Filtered) -> Iterator[Document]:
        """Stream `count` training scenes, then the held-out ones: a fraction `heldout_share`, within bounds.

        The first questions take families and languages in turn. Held-out scenes do not depend on count or seed.
        """
        for number in range(self.count):
            yield _document(self, number, heldout=False)
        for number in range(set_aside(self.heldout_share, self.count)):
            yield _document(self, number, heldout=True)

    def heldout(self, per_family: int) -> list[Document]:
        """`per_family` held-out scenes with one question for each family and language, whatever the count and seed."""
        lanes = len(FAMILIES) * len(self.languages)
        made = [_document(self, number, heldout=True, most=1) for number in range(per_family * lanes)]
        return [document for lane in range(lanes) for document in made[lane::lanes]]


def scene(source: ScenesSource, number: int, heldout: bool) -> tuple[Scene, Random]:
    """The scene of a number in one part of the split, and the generator of its pixels and questions."""
    family, language = _lane(source, number)
    rng = _random("heldout" if heldout else f"training {source.seed}", family, language, str(number))
    while True:
        found = compose(rng, source.pixels, source.things)
        digest = hashlib.sha256(found.key.encode()).digest()
        if is_heldout(digest, source.heldout_share) == heldout and FAMILIES[family].fits(found):
            return found, rng


def _document(source: ScenesSource, number: int, heldout: bool, most: int = 5) -> Document:
    """A scene with `most` questions."""
    family, language = _lane(source, number)
    found, rng = scene(source, number, heldout)
    image, things = render(found, rng)
    order = [family, *_others(found, family, rng, most - 1)]
    messages: list[dict[str, Any]] = []
    for name in order:
        question, answer = _asked(rng, name, language, found, things)
        messages += [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    messages[0]["content"] = [{"type": "image"}, {"type": "text", "text": messages[0]["content"]}]
    return Document(
        source=source.name,
        origin=f"held-out scene {number}" if heldout else f"scene {number}",
        licence=source.licence,
        messages=messages,
        images=(image,),
        detections=(things,),
        heldout=heldout,
        labels={"family": family, "language": language, "level": 1},
    )


def _lane(source: ScenesSource, number: int) -> tuple[str, Language]:
    """The family of a document's first question, and its language: each pair in turn."""
    names = tuple(FAMILIES)
    return names[number % len(names)], source.languages[number // len(names) % len(source.languages)]


def _others(found: Scene, family: str, rng: Random, count: int) -> list[str]:
    """Families of further questions, short ones; those that vary with the object count twice."""
    short = [name for name in FAMILIES if FAMILIES[name].fits(found) and not FAMILIES[name].long]
    possible = [name for name in short if name != family] + [name for name in short if FAMILIES[name].varies]
    return rng.sample(possible, min(count, len(possible)))


def _asked(rng: Random, name: str, language: Language, found: Scene, things: tuple[Detection, ...]) -> tuple[str, str]:
    family = FAMILIES[name]
    fields, answer = family.ask(rng, language, found, things)
    return rng.choice(family.wordings[language]).format(**fields), answer


def _random(*key: str) -> Random:
    """A generator seeded by words: the same on every machine and in every process."""
    return Random(int.from_bytes(hashlib.sha256("\n".join(key).encode()).digest()))


SOURCES.add("scenes", ScenesSource)
