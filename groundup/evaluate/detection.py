"""What the labels of a model's patches say lies where, against what does."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from groundup.codecs.boxes import Detection
from groundup.data.document import Document
from groundup.evaluate.average_precision import SCORE, Matches, Picture, Precision, average_precision, coco, matches
from groundup.evaluate.figure import Figure
from groundup.evaluate.images import Advance, chunks, ignored
from groundup.evaluate.prompts import prompt_of
from groundup.evaluate.thumbnails import thumbnail
from groundup.generate.engine import Engine

SHOWN = 8  # pictures that are kept with their boxes


@dataclass(frozen=True)
class Detected:
    """Boxes found in `images` images: COCO's figures, those at one overlap and one score, and a few pictures with both
    sides' boxes.
    """

    images: int
    precision: Precision
    matches: Matches
    pictures: list[dict[str, Any]]

    def as_dict(self) -> dict[str, Any]:
        """The figures for JSON; those of COCO have no interval."""
        coco = {name: self._plain(getattr(self.precision, name)) for name in ("ap", "ap50", "ar")}
        kinds = {kind: self._plain(value) for kind, value in self.precision.kinds.items()}
        return coco | {"kinds": kinds, "score": SCORE} | self.matches.as_dict() | {"pictures": self.pictures}

    def _plain(self, value: float) -> dict[str, Any]:
        return Figure(value, None, None, self.images).as_dict()


def detect(engine: Engine, documents: Iterable[Document], advance: Advance = ignored) -> Detected | None:
    """Find things in the images of documents that say what lies in them; None where nothing lies in any.

    `advance` is told of documents done. Raises InputError where pycocotools is not installed.
    """
    coco()  # better now than after an hour of looking
    pictures: list[Picture] = []
    shown: list[dict[str, Any]] = []
    for chunk in chunks(document for document in documents if document.things is not None):
        rows = [prompt_of(engine, document) for document in chunk]
        for document, row, found in zip(chunk, rows, engine.detector.detect(rows), strict=True):
            for data, look, truth, things in zip(
                document.images, row.images, document.things or (), found, strict=True
            ):
                side = engine.config.patch
                pictures.append(Picture((look.view.grid.columns * side, look.view.grid.rows * side), truth, things))
                if len(shown) < SHOWN and truth:
                    shown.append(_shown(data, truth, things))
        advance(len(chunk))
    precision = average_precision(pictures)
    return Detected(len(pictures), precision, matches(pictures), shown) if precision else None


def _shown(data: bytes, truth: Iterable[Detection], found: Iterable[Detection]) -> dict[str, Any]:
    image, size = thumbnail(data)
    sides = {"truth": truth, "found": [thing for thing in found if thing.score >= SCORE]}
    boxes = {side: [vars(thing) | {"box": [*thing.box]} for thing in things] for side, things in sides.items()}
    return {"image": image, "size": [*size]} | boxes
