"""Images with boxes in COCO, YOLO or line form. A bad box drops its image, as a missing label would teach absence."""

import json
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from groundup.codecs.detections import Detection, to_text
from groundup.codecs.image import BadImage
from groundup.codecs.normal import normalise
from groundup.codecs.strict_json import once, only, says_nothing
from groundup.config.base import knob
from groundup.core.errors import InputError
from groundup.core.tables import SOURCES
from groundup.data import image_files, yolo
from groundup.data import near_duplicates as near
from groundup.data.document import Document
from groundup.data.filtered import Damage, Filtered
from groundup.data.lines import lines, record
from groundup.data.paths import located, names, placed, shown, there
from groundup.data.source import ImageFilesSource

BEYOND = 0.01  # of the image's side: how far a box may stick out, by rounding, and is clipped
_OF_ANNOTATION = (
    "id",
    "image_id",
    "category_id",
    "bbox",
    "segmentation",
    "area",
    "iscrowd",
)  # the area follows from the box
_OF_IMAGE = ("id", "file_name", "width", "height")
_RESERVED = "<>;"  # in an answer they end a class name

Box = tuple[float, float, float, float]


@dataclass
class _Listed:
    """An annotated image, not loaded yet: its boxes by class, in fractions or, if `pixels`, in pixels."""

    file: Path
    origin: str
    where: str  # of the annotation
    boxes: list[tuple[str, Box]] = field(default_factory=list)
    pixels: bool = False
    size: tuple[int, int] | None = None  # width and height as annotated
    problem: BadImage | None = None

    @property
    def path(self) -> str:
        return self.file.as_posix()

    def take(self, boxes: Iterable[tuple[str, Box]]) -> "_Listed":
        """Take over boxes; the first that cannot be read is remembered, for when the image turns out to be used."""
        try:
            self.boxes = list(boxes)
        except BadImage as error:
            self.problem = error
        return self


class BoxesSource(ImageFilesSource):
    """Images with boxes: COCO (a .json file), YOLO (a folder with data.yaml) or JSON lines of {file, boxes: [{class,
    xyxy}]}.
    """

    has_boxes = True

    images: str | None = knob(None, "folder", "where the images lie; left out: beside the annotations")
    question: str = knob(
        "What lies where?",
        "text",
        "asked of each image, with boxes as the answer; empty: only the patches are labelled",
    )

    def files(self, folder: Path) -> list[Path]:
        """The files, for hashing: annotations, the images that they name and that are there, and its lists."""
        listed = _read(self, folder, Damage(self, Filtered(), "images"))
        images = dict.fromkeys(each.file for each in listed if there(each.file))
        return [*_annotations(self, folder), *images, *image_files.lists(self, folder)]

    def read(self, folder: Path, drops: Filtered) -> Iterator[Document]:
        """Stream the annotated images, each with the question, and its boxes as the answer and as detections.

        `path` is, or matches as a pattern,

        - a COCO .json. A box is `bbox` [left, top, width, height] in pixels; a rotated box, [middle x, middle y, width,
          height, degrees] or a `segmentation` polygon alone, becomes its axis-aligned bounds. A crowd is one detection.
          `ignore` or `rotation` (also among its `attributes`) is damage. Other keys are reported as not read.
        - a YOLO folder with data.yaml or classes.txt, images in `images` folders, and beside them `labels` folders with
          lines of `class cx cy w h` or, rotated, `class x1 y1 .. x4 y4` (bounds again), in fractions of the image. An
          empty file means an empty image; an image without a file is left out and counted.
        - .jsonl, lines of {"file": ..., "boxes": [{"class": name, "xyxy": [left, top, right, bottom]}]} in fractions.

        Annotations are held in memory, images are not. Unusable images, names without a file and bad boxes are damage.
        Raises InputError for damage over `bad_share`, malformed annotations, and lists that do not fit the images.
        """
        damage = Damage(self, drops, "images")
        listed = list(_read(self, folder, damage))
        yield from image_files.documents(lambda: listed, partial(_document, self), self, folder, damage)


def _document(source: BoxesSource, each: _Listed, heldout: bool) -> Document:
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
    things = tuple(Detection(_kind(kind), _within(box, size if each.pixels else (1, 1))) for kind, box in each.boxes)
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


def _kind(name: str) -> str:
    """A class as answers spell it."""
    kind = " ".join(normalise(name).split())
    if not kind:
        raise BadImage(image_files.NO_CLASS, "every box needs one")
    if any(mark in kind for mark in _RESERVED):
        raise BadImage(
            "class that cannot be written", f"{kind!r} has one of {' '.join(_RESERVED)} in it; call it something else"
        )
    return kind


def _within(box: Box, size: tuple[int, int]) -> Box:
    """A box in fractions of an image's size, clipped to it."""
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
    place = located(source, folder)
    if place.is_dir():
        return yolo.files(source, place)
    found = [Path(name) for name in names(source, folder, ())]
    for path in found:
        if path.suffix.lower() not in (".json", ".jsonl"):
            raise InputError(
                f"source {source.name!r}: {path} is no annotation; expected a COCO .json, a .jsonl or a YOLO folder"
                " with data.yaml"
            )
    return found


def _read(source: BoxesSource, folder: Path, damage: Damage) -> Iterator[_Listed]:
    """All annotated images; annotations that name no image are counted as damage here."""
    place = located(source, folder)
    if place.is_dir():
        yield from _yolo(source, place, folder, damage)
        return
    for path in _annotations(source, folder):
        images = path.parent if source.images is None else placed(source.images, folder)
        reader = _lines if path.suffix.lower() == ".jsonl" else _coco
        yield from reader(path, images, folder, damage)


def _listed(images: Path, name: Any, folder: Path, where: str) -> _Listed:
    """An image that an annotation names; raises BadImage when it may not."""
    if not isinstance(name, str) or not name:
        raise BadImage("broken annotation", "it names no file")
    file = image_files.contained(images, name)
    return _Listed(file, shown(file, folder), where)


def _numbers(value: Any, counts: tuple[int, ...]) -> list[float]:
    """A list of as many numbers as one of `counts`; raises BadImage for any other."""
    if (
        not isinstance(value, list)
        or len(value) not in counts
        or any(isinstance(each, bool) or not isinstance(each, int | float) for each in value)
    ):
        raise BadImage(
            "broken annotation", f"a box of {json.dumps(value)[:60]}; expected {' or '.join(map(str, counts))} numbers"
        )
    return [float(each) if abs(each) < 1e15 else math.nan for each in value]


def _bounds(points: list[float]) -> Box:
    """The bounds along the axes of points x1, y1, x2, y2, ..."""
    if not all(map(math.isfinite, points)):
        return (math.nan,) * 4
    return min(points[::2]), min(points[1::2]), max(points[::2]), max(points[1::2])


# --- JSON lines ---------------------------------------------------------------------------------------------


def _lines(path: Path, images: Path, folder: Path, damage: Damage) -> Iterator[_Listed]:
    for origin, line in lines(path, shown(path, folder), damage):
        try:
            yield _line(line, images, folder, origin)
        except BadImage as error:
            damage.note(error.reason, origin, error.detail)
        except (InputError, ValueError) as error:
            damage.note("broken line", origin, str(error))


def _line(line: bytes, images: Path, folder: Path, origin: str) -> _Listed:
    value = record(line)
    if not isinstance(value.get("boxes"), list):
        raise BadImage("broken line", 'expected {"file": ..., "boxes": [...]}')
    only(value, ("file", "boxes"), "an image")
    return _listed(images, value.get("file"), folder, origin).take(map(_line_box, value["boxes"]))


def _line_box(box: Any) -> tuple[str, Box]:
    if not isinstance(box, dict):
        raise BadImage("broken annotation", 'a box is no {"class": ..., "xyxy": [...]}')
    only(box, ("class", "xyxy"), "a box")
    left, top, right, bottom = _numbers(box.get("xyxy"), (4,))
    return _name(box.get("class")), (left, top, right, bottom)


def _name(value: Any) -> str:
    """The name of a class; empty, which is refused later, for what is none."""
    return value if isinstance(value, str) else ""


# --- COCO ---------------------------------------------------------------------------------------------------


def _coco(path: Path, images: Path, folder: Path, damage: Damage) -> Iterator[_Listed]:
    root = _coco_root(path)
    name = shown(path, folder)
    kinds = _coco_kinds(path, root["categories"])
    annotations = defaultdict(list)
    for number, annotation in enumerate(root["annotations"]):
        if _has_id(annotation, "image_id"):
            annotations[annotation["image_id"]].append(annotation)
        else:
            damage.seen += 1
            damage.note("broken annotation", f"{name}: annotations[{number}]", "it has no image_id")
        damage.drops.pass_over(_unread(annotation, _OF_ANNOTATION))
    taken = set()
    for number, image in enumerate(root["images"]):
        damage.seen += 1
        where = f"{name}: images[{number}]"
        try:
            if not _has_id(image, "id") or image["id"] in taken:
                raise BadImage("broken annotation", "an image needs an id of its own")
            taken.add(image["id"])
            damage.drops.pass_over(_unread(image, _OF_IMAGE))
            yield _coco_image(
                image, annotations.get(image["id"], []), kinds, _listed(images, image.get("file_name"), folder, where)
            )
        except BadImage as error:
            damage.note(error.reason, where, error.detail)
    for id in annotations.keys() - taken:
        damage.seen += 1
        damage.note("missing image", f"{name}: image_id {id}", "annotated, but not among the images")


def _coco_root(path: Path) -> Any:
    try:
        root = json.loads(path.read_bytes(), object_pairs_hook=once)
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} cannot be read as JSON ({error}); mend it or correct the path") from None
    for key in ("images", "annotations", "categories"):
        if not isinstance(root, dict) or not isinstance(root.get(key), list):
            raise InputError(
                f"{path}: no list {key!r} at its top; a COCO file is an object with lists of images, annotations and"
                " categories"
            )
    return root


def _coco_kinds(path: Path, categories: list[Any]) -> dict[Any, str]:
    kinds: dict[Any, str] = {}
    for category in categories:
        if _has_id(category, "id"):
            kind = _name(category.get("name"))
            if kinds.setdefault(category["id"], kind) != kind:
                raise InputError(
                    f"{path}: the category {category['id']!r} has two names, {kinds[category['id']]!r} and {kind!r};"
                    " take one out"
                )
    return kinds


def _has_id(value: Any, key: str) -> bool:
    return isinstance(value, dict) and isinstance(value.get(key), int | str) and not isinstance(value[key], bool)


def _unread(value: Any, known: tuple[str, ...]) -> list[str]:
    """The keys with a value that are not read."""
    return (
        [key for key, item in value.items() if key not in known and not says_nothing(item)]
        if isinstance(value, dict)
        else []
    )


def _coco_image(
    image: dict[str, Any], annotations: list[dict[str, Any]], kinds: dict[Any, str], listed: _Listed
) -> _Listed:
    size = (image.get("width"), image.get("height"))
    listed.where += f" {image['file_name']}"
    listed.pixels = True
    listed.size = None if size == (None, None) else size  # type: ignore[assignment] # what is no pair of numbers fits no image either
    return listed.take(
        (kinds.get(each["category_id"], "") if _has_id(each, "category_id") else "", _coco_box(each))
        for each in annotations
    )


def _coco_box(annotation: dict[str, Any]) -> Box:
    inner = annotation.get("attributes")
    said = annotation | inner if isinstance(inner, dict) else annotation
    if said.get("ignore"):
        raise BadImage(
            "annotation to be ignored",
            "an image needs all of its boxes, and no others; take its image out, or the key 'ignore'",
        )
    if said.get("rotation"):
        raise BadImage(
            "turned box",
            f"its rotation is {str(said['rotation'])[:20]}; write bbox as [middle x, middle y, width, height, degrees]",
        )
    if annotation.get("bbox") is None:
        return _bounds(_polygons(annotation.get("segmentation")))
    x, y, width, height, *angle = _numbers(annotation["bbox"], (4, 5))
    if not angle:
        return x, y, x + width, y + height
    cos, sin = abs(math.cos(math.radians(angle[0]))), abs(math.sin(math.radians(angle[0])))
    half_width, half_height = (width * cos + height * sin) / 2, (width * sin + height * cos) / 2
    return x - half_width, y - half_height, x + half_width, y + half_height


def _polygons(value: Any) -> list[float]:
    """The points of all polygons of a segmentation."""
    if not isinstance(value, list) or not value:
        raise BadImage("broken annotation", "neither a bbox nor a polygon as segmentation")
    polygons = value if all(isinstance(each, list) for each in value) else [value]
    even = tuple(range(6, 100_000, 2))
    return [number for polygon in polygons for number in _numbers(polygon, even)]


# --- YOLO ---------------------------------------------------------------------------------------------------


def _yolo(source: BoxesSource, place: Path, folder: Path, damage: Damage) -> Iterator[_Listed]:
    kinds = yolo.classes(source, place)
    images = place if source.images is None else placed(source.images, folder)
    labels = {path.with_suffix("").as_posix(): path for path in yolo.label_files(place)}
    for path in yolo.image_files(images, everything=source.images is not None):
        label = yolo.label_of(path, images if source.images is not None else None, place)
        if file := labels.pop(label.as_posix(), None):
            damage.seen += 1
            yield _Listed(path, shown(path, folder), shown(file, folder)).take(_yolo_boxes(file, kinds))
        else:
            damage.drops.note("image without label file", shown(path, folder))
    for path in labels.values():
        damage.seen += 1
        damage.note("label file without image", shown(path, folder))


def _yolo_boxes(file: Path, kinds: dict[int, str]) -> Iterator[tuple[str, Box]]:
    try:
        rows = file.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise BadImage("broken annotation", f"it cannot be read as text ({error})") from None
    for number, row in enumerate(rows, 1):
        if row.strip():
            yield _yolo_box(row, number, kinds)


def _yolo_box(row: str, number: int, kinds: dict[int, str]) -> tuple[str, Box]:
    try:
        kind, values = int(row.split()[0]), [float(value) for value in row.split()[1:]]
    except ValueError:
        raise BadImage("broken annotation", f"line {number} is {row[:60]!r}; expected numbers") from None
    if len(values) not in (4, 8):
        raise BadImage(
            "broken annotation",
            f"line {number} has {len(values)} numbers after the class; expected 4, or 8 for corners",
        )
    if kind not in kinds:
        raise BadImage(image_files.NO_CLASS, f"line {number}: class {kind}; the names go from 0 to {max(kinds)}")
    if len(values) == 8:
        return kinds[kind], _bounds(values)
    x, y, width, height = values
    return kinds[kind], (x - width / 2, y - height / 2, x + width / 2, y + height / 2)


SOURCES.add("boxes", BoxesSource)
