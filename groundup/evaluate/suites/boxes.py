"""Suite: object detection on held-out images, with COCO's metrics."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Annotated

from pydantic import Field

from groundup.codecs.detections import Detection
from groundup.core import units
from groundup.core.tables import SUITES
from groundup.data.document import Document, measured, read
from groundup.evaluate.average_precision import (
    MIN_SCORE,
    AveragePrecision,
    Matches,
    ScoredImage,
    average_precision,
    coco,
    matches,
)
from groundup.evaluate.cases import chunks
from groundup.evaluate.classification import LONGEST, cut
from groundup.evaluate.display import Cell, Display, Gallery, Headline, Picture, Polygon, Rectangle, Row, Table
from groundup.evaluate.figure import Figure
from groundup.evaluate.prompts import prompt_of
from groundup.evaluate.suite import Advance, Suite, SuiteInputs, ignored
from groundup.evaluate.thumbnails import thumbnail
from groundup.generate.engine import Engine

PICTURES = 8  # images that are kept with their boxes


@dataclass(frozen=True)
class Box:
    """A box of a picture, its class and score: left, top, right, bottom as fractions of it, or x1, y1 to x4, y4."""

    class_name: Annotated[str, Field(alias="kind")]
    box: tuple[float, ...]
    score: float


@dataclass(frozen=True)
class DetectedImage:
    """A small image (a data URI) with its width and height, ground truth and detections."""

    image: str
    size: tuple[int, int]
    truth: list[Box]
    detections: Annotated[list[Box], Field(alias="found")]


@dataclass(frozen=True)
class Detections:
    """The figures of one source: COCO's, without intervals; those at one IoU and `min_score`; some pictures."""

    ap: Figure
    ap50: Figure
    ar: Figure
    classes: Annotated[dict[str, Figure], Field(alias="kinds")]  # AP at an IoU of 0.5
    min_score: Annotated[float, Field(alias="score")]
    precision: Figure | None
    recall: Figure | None
    f1: Figure | None
    pictures: list[DetectedImage]


@dataclass(frozen=True)
class Boxes:
    """The result, by source."""

    boxes: dict[str, Detections] = field(default_factory=dict)


# --- measuring ---------------------------------------------------------------------------------------------------


def measure(inputs: SuiteInputs) -> Boxes:
    """Run detection on the held-out images of each source with boxes."""
    if not inputs.engine.config.classes:
        inputs.note("the suite 'boxes' has nothing to measure: the model has no detection classes")
        return Boxes()
    found = {
        name: entry
        for name, documents in _images(inputs).items()
        if (entry := detect(inputs.engine, documents, inputs.advance)) is not None
    }
    return Boxes(found)


def _images(inputs: SuiteInputs) -> dict[str, Iterable[Document]]:
    """Annotated images by source: made for the measurement, or the held-out part of its documents."""
    made = {source.name: source.heldout(inputs.options.per_family) for source in inputs.sources if source.has_boxes}
    stored: dict[str, Iterable[Document]] = {
        source.name: read(measured(file), heldout=True)
        for source, file in inputs.files()
        if source.has_boxes and not made[source.name]
    }
    return stored | {name: documents for name, documents in made.items() if documents}


def detect(engine: Engine, documents: Iterable[Document], advance: Advance = ignored) -> Detections | None:
    """Compare detections with the images' annotations; None without boxes. Raises InputError without pycocotools."""

    coco()  # raise now, not after an hour of detection
    images: list[ScoredImage] = []
    kept: list[DetectedImage] = []
    side = engine.config.patch
    for chunk in chunks(document for document in documents if document.detections is not None):
        rows = [prompt_of(engine, document) for document in chunk]
        for document, row, detected in zip(chunk, rows, engine.detector.detect(rows), strict=True):
            for data, image, truth, boxes in zip(
                document.images, row.images, document.detections or (), detected, strict=True
            ):
                grid = image.grid
                images.append(ScoredImage((grid.columns * side, grid.rows * side), truth, boxes))
                if len(kept) < PICTURES and truth:
                    kept.append(_kept(data, truth, boxes))
        advance(len(chunk))
    found = average_precision(images)
    return _figures(found, matches(images), len(images), kept) if found else None


def _figures(found: AveragePrecision, matched: Matches, images: int, kept: list[DetectedImage]) -> Detections:
    ap, ap50, ar = (Figure(value, None, None, images) for value in (found.ap, found.ap50, found.ar))
    classes = {name: Figure(value, None, None, images) for name, value in found.classes.items()}
    return Detections(ap, ap50, ar, classes, MIN_SCORE, **vars(matched), pictures=kept)


def _kept(data: bytes, truth: Sequence[Detection], detections: Sequence[Detection]) -> DetectedImage:
    image, size = thumbnail(data)
    sides = (truth, [each for each in detections if each.score >= MIN_SCORE])
    return DetectedImage(
        image, size, *([Box(each.class_name, each.corners or each.box, each.score) for each in side] for side in sides)
    )


# --- display -----------------------------------------------------------------------------------------------------


def display(result: Boxes) -> Display:
    """A headline and a row for each source, AP by class, and pictures with annotated and detected boxes."""
    entries = result.boxes.items()
    return Display(
        [_headline(source, entry) for source, entry in entries],
        [_table(result.boxes), *(_by_class(source, entry) for source, entry in entries)],
        galleries=[_gallery(source, entry) for source, entry in entries],
    )


def _headline(source: str, entry: Detections) -> Headline:
    note = f"{units.percent(entry.ap50.value)} at {'a rotated' if _is_rotated(entry) else 'an'} IoU of 0.5"
    return Headline(f"Average precision, {source}", units.percent(entry.ap.value), note)


def _table(entries: dict[str, Detections]) -> Table:
    rows = [
        [
            source,
            str(entry.ap.n),
            *(units.percent(figure.value) for figure in (entry.ap, entry.ap50, entry.ar)),
            *Matches(entry.precision, entry.recall, entry.f1).cells(),
        ]
        for source, entry in entries.items()
    ]
    columns = ("source", ">images", ">AP", ">AP at IoU 0.5", ">recall of 100", ">precision", ">recall", ">F1")
    scores = sorted({entry.min_score for entry in entries.values()})
    at = f", of detections with a score of {scores[0]:g} or more" if scores else ""
    if rotated := [source for source, entry in entries.items() if _is_rotated(entry)]:
        at += f"; IoU is that of rotated boxes in {units.listed(rotated)}"
    return Table(f"Detection in held-out images; precision, recall and F1 at an IoU of 0.5{at}", columns, rows)


def _is_rotated(entry: Detections) -> bool:
    """Whether boxes were compared as rotated ones."""
    return any(len(box.box) > 4 for picture in entry.pictures for box in (*picture.truth, *picture.detections))


def _by_class(source: str, entry: Detections) -> Table:
    """A row a class, the lowest AP first."""
    lowest = sorted(entry.classes.items(), key=lambda item: item[1].value)
    rows: list[Row] = [[Cell(name, verbatim=True), units.percent(figure.value)] for name, figure in lowest[:LONGEST]]
    caption = f"Average precision by class in {source}, at an IoU of 0.5{cut(len(lowest))}"
    return Table(caption, ("class", ">AP"), rows)


def _gallery(source: str, entry: Detections) -> Gallery:
    note = f"Dashed white: ground truth; solid orange: detections with a score of {entry.min_score:g} or more."
    return Gallery(f"Detections, {source}", note, [_picture(image) for image in entry.pictures])


def _picture(image: DetectedImage) -> Picture:
    sides = (("truth", image.truth), ("detection", image.detections))
    drawn = [(box, side) for side, boxes in sides for box in boxes]
    rectangles = tuple(_rectangle(box, *image.size, side) for box, side in drawn if len(box.box) == 4)
    polygons = tuple(_polygon(box, *image.size, side) for box, side in drawn if len(box.box) > 4)
    truth, detections = (units.listed([box.class_name for box in boxes]) or "nothing" for _, boxes in sides)
    caption = f"{len(image.truth)} in the ground truth, {len(image.detections)} detected"
    label = f"Ground truth: {truth}; detections: {detections}"
    return Picture(*image.size, label, caption, image.image, rectangles=rectangles, polygons=polygons)


def _rectangle(box: Box, width: float, height: float, side: str) -> Rectangle:
    left, top, right, bottom = box.box
    x, y, w, h = (
        round(value, 2) for value in (left * width, top * height, (right - left) * width, (bottom - top) * height)
    )
    return Rectangle(x, y, w, h, _told(box, side), side)


def _polygon(box: Box, width: float, height: float, side: str) -> Polygon:
    points = zip(box.box[::2], box.box[1::2], strict=True)
    return Polygon(" ".join(f"{x * width:.2f},{y * height:.2f}" for x, y in points), _told(box, side), side)


def _told(box: Box, side: str) -> str:
    return f"{box.class_name}, {units.percent(box.score, 0) if side == 'detection' else 'ground truth'}"


SUITES.add(
    "boxes",
    Suite(1, Boxes, measure, display, "no source has held-out images with boxes", extra="vision", image_inputs=True),
)
