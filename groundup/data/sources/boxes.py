"""Images with boxes, upright or rotated. An invalid box filters its image: a missing label would teach "no object"."""

import math
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from groundup.codecs import rotated_boxes
from groundup.codecs.detections import Detection, to_text
from groundup.codecs.image import BadImage
from groundup.codecs.normal import normalise
from groundup.codecs.strict_json import only
from groundup.config.base import knob
from groundup.core.errors import InputError
from groundup.core.tables import SOURCES
from groundup.data import coco, dota, image_files, voc, yolo, yolo_split
from groundup.data import near_duplicates as near
from groundup.data.annotations import (
    POLYGONS,
    ROTATED,
    AnnotatedImage,
    Box,
    annotated,
    bounds,
    name_of,
    numbers,
    paired,
    read_rows,
)
from groundup.data.document import Document
from groundup.data.filtered import Damage, Filtered
from groundup.data.given_split import GivenSplit, part_of, parts_of_files, words
from groundup.data.lines import lines, record
from groundup.data.paths import located, matching, names, placed, shown, there
from groundup.data.source import ImageFilesSource

FORMS = (".json", ".jsonl", ".xml")
BEYOND = 0.01  # fraction of the image's side by which a box may exceed it (rounding) and is clipped
MOST = 1e15  # largest coordinate; areas of larger ones overflow
MIN_INSIDE = 0.5  # fraction of a rotated box's area that must be inside the image
UPRIGHT = 4  # numbers of a box; a rotated one has eight
_RESERVED = "<>;"  # in an answer they end a class name


class BoxesSource(ImageFilesSource):
    """Images with boxes, upright or rotated: COCO (.json), YOLO (a folder with data.yaml), DOTA (one with labelTxt),
    Pascal VOC (.xml) or JSON lines of {file, boxes: [{class, xyxy}]}.
    """

    version = 3  # a rotation beside an upright box is read, and a test part beside a validation part
    has_boxes = True

    images: str | None = knob(None, "folder", "folder of the images; default: beside the annotations")
    question: str = knob(
        "What lies where?",
        "text",
        "question about each image, with boxes as the answer; empty: only the detection head is trained",
    )
    rotated: bool = knob(True, "flag", "rotated boxes keep their corners; false: upright boxes around them")

    def files(self, folder: Path) -> list[Path]:
        """The files, for hashing: annotations, the images that they name and that are there, and its lists."""
        listed = _read(self, folder, Damage(self, Filtered(), "images"))
        images = dict.fromkeys(each.file for each in listed if there(each.file))
        annotations = _annotations(self, folder)
        return [*annotations, *voc.sets(annotations), *images, *image_files.lists(self, folder)]

    def read(self, folder: Path, drops: Filtered) -> Iterator[Document]:
        """Stream the annotated images, each with the question, and its boxes as the answer and as detections.

        `path` is, matches as a pattern, or is a folder with

        - a COCO .json. A box is `bbox` [left, top, width, height] in pixels; a rotated box is [middle x, middle y,
          width, height, degrees counter-clockwise], or an upright one with a `rotation` in degrees clockwise (CVAT has
          it among its `attributes`); a `segmentation` polygon alone becomes its axis-aligned bounds. A crowd is one
          detection. `ignore` is damage. Other keys are reported as not read.
        - a YOLO folder with data.yaml or classes.txt, images in `images` folders, and beside them `labels` folders with
          lines of `class cx cy w h` or, rotated, `class x1 y1 .. x4 y4`, in fractions of the image. Where there are
          polygons of more or fewer points, all of them become their bounds. An empty file means an empty image; an
          image without a file is left out and counted.
        - a DOTA folder of `images` and `labelTxt` (`data.dota`).
        - Pascal VOC's .xml, a file an image, the images beside them or in a folder JPEGImages.
        - .jsonl, lines of {"file": ..., "boxes": [{"class": name, "xyxy": [left, top, right, bottom]}]} in fractions;
          "corners": [x1, y1, ..., x4, y4] instead of "xyxy" is a rotated box.

        Folders or files called train, val and test are the split, as are the parts in data.yaml and VOC's ImageSets.
        Annotations are held in memory, images are not. Unusable images, names without a file and bad boxes are damage.
        Raises InputError for damage over `bad_share`, malformed annotations, and lists that do not fit the images.
        """
        damage = Damage(self, drops, "images")
        listed = list(_read(self, folder, damage))
        given = GivenSplit.of(self, (each.part for each in listed))
        rotated = self.rotated and POLYGONS not in drops.recognised  # then those of four points are polygons too
        make = partial(_document, self, rotated)
        yield from image_files.documents(lambda: listed, make, self, folder, damage, given)


def _document(source: BoxesSource, rotated: bool, each: AnnotatedImage, heldout: bool) -> Document:
    if each.problem:
        raise each.problem
    data = image_files.load(each.file)
    pixels = image_files.checked(data)
    size = (pixels.shape[1], pixels.shape[0])
    if each.size not in (None, size):
        raise BadImage(
            "not of the annotated size",
            f"{each.file.name} has {size[0]} x {size[1]} pixels upright, its annotation says {each.size}",
        )
    unit = size if each.pixels else (1, 1)
    things = tuple(_detection(_kind(kind), box, unit, rotated) for kind, box in each.boxes)
    return Document(
        source.name,
        each.origin,
        source.licence,
        messages=image_files.asked(source.question, to_text(list(things))),
        images=(data,),
        detections=(things,),
        perceptual_hash=near.perceptual_hash(pixels),
        heldout=heldout,
    )


def _detection(kind: str, box: Box, size: tuple[int, int], rotated: bool) -> Detection:
    if len(box) == UPRIGHT:
        return Detection(kind, _within(box, size))
    if not rotated:
        return Detection(kind, _within(bounds(list(box)), size))
    return Detection.rotated(kind, _outline(box, size))


def _outline(box: Box, size: tuple[int, int]) -> rotated_boxes.Array:
    """The corners of a rotated box in fractions of an image's size, in order. They may lie outside of it."""
    if not all(abs(value) < MOST for value in box):
        raise BadImage("box that is no number", f"{box}")
    corners = rotated_boxes.ordered(np.array(box).reshape(4, 2) / size)
    if corners is None:
        raise BadImage("corners of no box", f"one lies between the others: {box}")
    if not (area := rotated_boxes.areas(corners[None])[0]) > rotated_boxes.TINY:
        raise BadImage("box of no area", f"its corners are {box}")
    if rotated_boxes.intersections(rotated_boxes.WHOLE, corners[None])[0] < MIN_INSIDE * area:
        raise BadImage(
            "box outside its image", f"less than half of it lies in an image of {size[0]} x {size[1]}: {box}"
        )
    return corners


def _kind(name: str) -> str:
    """The name of a class as it is written in answers."""
    kind = " ".join(normalise(name).split())
    if not kind:
        raise BadImage(image_files.NO_CLASS, "every box needs one")
    if any(mark in kind for mark in _RESERVED):
        raise BadImage(
            "class that cannot be written", f"{kind!r} has one of {' '.join(_RESERVED)} in it; call it something else"
        )
    return kind


def _within(box: Box, size: tuple[int, int]) -> tuple[float, float, float, float]:
    """A box in fractions of an image's size, clipped to the image."""
    if not all(map(math.isfinite, box)):
        raise BadImage("box that is no number", f"{box}")
    left, top, right, bottom = (value / size[place % 2] for place, value in enumerate(box))
    if left >= right or top >= bottom:
        raise BadImage("box of no area", f"left, top, right, bottom are {box}")
    clipped = (max(left, 0.0), max(top, 0.0), min(right, 1.0), min(bottom, 1.0))
    outside = min(left, top) < -BEYOND or max(right, bottom) > 1 + BEYOND
    if outside or clipped[0] >= clipped[2] or clipped[1] >= clipped[3]:
        raise BadImage(
            "box outside its image", f"left, top, right, bottom are {box} in an image of {size[0]} x {size[1]}"
        )
    return clipped


# --- which annotations --------------------------------------------------------------------------------------


def _annotations(source: BoxesSource, folder: Path) -> list[Path]:
    """The annotation files, all of one format."""
    place = located(source, folder)
    if labels := _dota_labels(place):
        return labels
    if _is_yolo(place):
        return [*yolo.files(source, place), *yolo_split.lists(place)]
    return _of_one_form(source, folder)


def _of_one_form(source: BoxesSource, folder: Path) -> list[Path]:
    """The files of COCO, VOC or JSON lines. Raises InputError for files of several formats, or of an unknown one."""
    found = [Path(name) for name in names(source, folder, FORMS)]
    forms = sorted({path.suffix.lower() for path in found})
    if odd := [path for path in found if path.suffix.lower() not in FORMS]:
        raise InputError(
            f"source {source.name!r}: {odd[0]} is no annotation; expected a COCO .json, Pascal VOC's .xml, a .jsonl, a"
            " YOLO folder with data.yaml or a DOTA folder with labelTxt"
        )
    if len(forms) > 1:
        raise InputError(
            f"source {source.name!r}: path {source.path!r} holds annotations of several forms, {' and '.join(forms)};"
            f" name those of one with a pattern, such as **/*{forms[0]}"
        )
    return found


def _is_yolo(place: Path) -> bool:
    """Whether a path is a YOLO folder, or one without any annotations, which then has to become one."""
    return place.is_dir() and (yolo.is_one(place) or not matching("**/*", place, FORMS))


def _dota_labels(place: Path) -> list[Path]:
    """The label files of a DOTA folder; none of any other path."""
    return [] if not place.is_dir() or yolo.is_one(place) else dota.label_files(place)


def _read(source: BoxesSource, folder: Path, damage: Damage) -> Iterator[AnnotatedImage]:
    """All annotated images; annotations that name no image are counted as damage here."""
    place = located(source, folder)
    if labels := _dota_labels(place):
        yield from dota.read(labels, place, placed(source.images or source.path, folder), folder, damage)
        return
    if _is_yolo(place):
        yield from _yolo(source, place, folder, damage)
        return
    images = None if source.images is None else placed(source.images, folder)
    found = _of_one_form(source, folder)
    parts = parts_of_files(found)
    if found[0].suffix.lower() == ".xml":
        yield from voc.read(found, parts, images, folder, damage)
        return
    for path in found:
        reader = _lines if path.suffix.lower() == ".jsonl" else coco.read
        for each in reader(path, images, folder, damage):
            each.part = parts[path] or part_of(words(path.stem)) or part_of(each.name.split("/")[:-1])
            yield each


# --- JSON lines ---------------------------------------------------------------------------------------------


def _lines(path: Path, images: Path | None, folder: Path, damage: Damage) -> Iterator[AnnotatedImage]:
    images = path.parent if images is None else images
    for origin, line in lines(path, shown(path, folder), damage):
        try:
            yield _line(line, images, folder, origin)
        except BadImage as error:
            damage.note(error.reason, origin, error.detail)
        except (InputError, ValueError) as error:
            damage.note("broken line", origin, str(error))


def _line(line: bytes, images: Path, folder: Path, origin: str) -> AnnotatedImage:
    value = record(line)
    if not isinstance(value.get("boxes"), list):
        raise BadImage("broken line", 'expected {"file": ..., "boxes": [...]}')
    only(value, ("file", "boxes"), "an image")
    return annotated(images, value.get("file"), folder, origin).take(map(_line_box, value["boxes"]))


def _line_box(box: Any) -> tuple[str, Box]:
    if not isinstance(box, dict):
        raise BadImage("broken annotation", 'a box is no {"class": ..., "xyxy": [...]}')
    form, count = ("corners", 8) if "corners" in box else ("xyxy", UPRIGHT)
    only(box, ("class", form), "a box")
    return name_of(box.get("class")), tuple(numbers(box.get(form), (count,)))


# --- YOLO ---------------------------------------------------------------------------------------------------


def _yolo(source: BoxesSource, place: Path, folder: Path, damage: Damage) -> Iterator[AnnotatedImage]:
    kinds = yolo.classes(source, place)
    images = place if source.images is None else placed(source.images, folder)
    part = yolo_split.parts(place, images)
    labels = {path.with_suffix("").as_posix(): path for path in yolo.label_files(place)}
    root = images if source.images is not None else None
    pictures = yolo.image_files(images, everything=root is not None)
    keys = {path: yolo.label_of(path, root, place).as_posix() for path in pictures}
    for each in paired(keys, labels, partial(_yolo_boxes, kinds=kinds, drops=damage.drops), folder, damage):
        each.part = part(each.file)
        yield each


def _yolo_boxes(file: Path, kinds: dict[int, str], drops: Filtered) -> Iterator[tuple[str, Box]]:
    for number, row in read_rows(file):
        yield _yolo_box(row, number, kinds, drops)


def _yolo_box(row: str, number: int, kinds: dict[int, str], drops: Filtered) -> tuple[str, Box]:
    try:
        kind, *values = map(float, row.split())  # some programs write the class as 1.0
    except ValueError:
        raise BadImage("broken annotation", f"line {number} is {row[:60]!r}; expected numbers") from None
    if len(values) != 4 and (len(values) < 6 or len(values) % 2):
        raise BadImage(
            "broken annotation",
            f"line {number} has {len(values)} numbers after the class; expected 4, 8 for corners, or a polygon's",
        )
    if kind not in kinds:
        raise BadImage(image_files.NO_CLASS, f"line {number}: class {kind:g}; the names go from 0 to {max(kinds)}")
    if len(values) > UPRIGHT:
        rotated = len(values) == 8
        drops.recognise(ROTATED if rotated else POLYGONS)
        return kinds[int(kind)], tuple(values) if rotated else bounds(values)
    x, y, width, height = values
    return kinds[int(kind)], (x - width / 2, y - height / 2, x + width / 2, y + height / 2)


SOURCES.add("boxes", BoxesSource)
