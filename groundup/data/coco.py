"""Annotations in COCO's format: one JSON file with images, their boxes or polygons, and the names of the classes."""

import json
import math
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from groundup.codecs.image import BadImage
from groundup.codecs.strict_json import once, says_nothing
from groundup.core.errors import InputError
from groundup.data.annotations import (
    POLYGONS,
    ROTATED,
    AnnotatedImage,
    Box,
    annotated,
    bounds,
    images_beside,
    name_of,
    numbers,
    rotated_box,
)
from groundup.data.filtered import Damage, Filtered
from groundup.data.paths import shown

_OF_ANNOTATION = (
    "id",
    "image_id",
    "category_id",
    "bbox",
    "segmentation",
    "area",
    "iscrowd",
    "rotation",
)  # the area follows from the box
_OF_IMAGE = ("id", "file_name", "width", "height")


def read(path: Path, images: Path | None, folder: Path, damage: Damage) -> Iterator[AnnotatedImage]:
    """Stream the images of a file; annotations of no image count as damage. Raises InputError for another format."""
    root = _root(path)
    name = shown(path, folder)
    images = images_beside(path, images, filter(None, map(_file_name, root["images"])))
    kinds = _kinds(path, root["categories"])
    annotations = defaultdict(list)
    for number, annotation in enumerate(root["annotations"]):
        if (id := _id(annotation, "image_id")) is not None:
            annotations[id].append(annotation)
        else:
            damage.seen += 1
            damage.note("broken annotation", f"{name}: annotations[{number}]", "it has no image_id")
        damage.drops.pass_over(_unread(annotation, _OF_ANNOTATION))
        if isinstance(annotation, dict):
            _told(annotation, damage.drops)
    taken = set()
    for number, image in enumerate(root["images"]):
        damage.seen += 1
        where = f"{name}: images[{number}]"
        try:
            if (id := _id(image, "id")) is None or id in taken:
                raise BadImage("broken annotation", "an image needs an id of its own")
            taken.add(id)
            damage.drops.pass_over(_unread(image, _OF_IMAGE))
            yield _image(image, annotations.get(id, []), kinds, annotated(images, _file_name(image), folder, where))
        except BadImage as error:
            damage.note(error.reason, where, error.detail)
    for id in annotations.keys() - taken:
        damage.seen += 1
        damage.note("missing image", f"{name}: image_id {id}", "annotated, but not among the images")


def _root(path: Path) -> Any:
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


def _kinds(path: Path, categories: list[Any]) -> dict[Any, str]:
    kinds: dict[Any, str] = {}
    for category in categories:
        if (id := _id(category, "id")) is not None:
            kind = name_of(category.get("name"))
            if kinds.setdefault(id, kind) != kind:
                raise InputError(f"{path}: the category {id!r} has two names, {kinds[id]!r} and {kind!r}; take one out")
    return kinds


def _id(value: Any, key: str) -> int | str | None:
    """The id under a key of an object; 1, 1.0 and "1" are the same id. None if there is no id."""
    id = value.get(key) if isinstance(value, dict) else None
    if isinstance(id, str):
        return int(id) if id.isascii() and id.isdecimal() and len(id) < 19 and str(int(id)) == id else id
    if isinstance(id, float):
        return int(id) if id.is_integer() else None
    return id if isinstance(id, int) and not isinstance(id, bool) else None


def _file_name(image: Any) -> str | None:
    name = image.get("file_name") if isinstance(image, dict) else None
    return name if isinstance(name, str) else None


def _unread(value: Any, known: tuple[str, ...]) -> list[str]:
    """The keys with a value that are not read, for the report."""
    return (
        [key for key, item in value.items() if key not in known and not says_nothing(item)]
        if isinstance(value, dict)
        else []
    )


def _image(
    image: dict[str, Any], annotations: list[dict[str, Any]], kinds: dict[Any, str], listed: AnnotatedImage
) -> AnnotatedImage:
    size = (image.get("width"), image.get("height"))
    listed.where += f" {image['file_name']}"
    listed.pixels = True
    listed.size = None if size == (None, None) else size  # type: ignore[assignment] # other values match no image size
    return listed.take((kinds.get(_id(each, "category_id"), ""), _box(each)) for each in annotations)


def _told(annotation: dict[str, Any], drops: Filtered) -> None:
    """Count boxes that are not upright."""
    bbox = annotation.get("bbox")
    if bbox is None:
        drops.recognise(POLYGONS)
    elif (isinstance(bbox, list) and len(bbox) == 5) or _said(annotation, "rotation"):
        drops.recognise(ROTATED)


def _said(annotation: dict[str, Any], key: str) -> Any:
    """The value of a key of an annotation, or of its attributes, where CVAT writes it."""
    inner = annotation.get("attributes")
    return (inner if isinstance(inner, dict) and key in inner else annotation).get(key)


def _box(annotation: dict[str, Any]) -> Box:
    if _said(annotation, "ignore"):
        raise BadImage(
            "annotation to be ignored",
            "an image needs all of its boxes, and no others; take its image out, or the key 'ignore'",
        )
    if annotation.get("bbox") is None:
        return bounds(_polygons(annotation.get("segmentation")))
    x, y, width, height, *angle = numbers(annotation["bbox"], (4, 5))
    if not angle and (clockwise := _said(annotation, "rotation")):  # of the upright box, about its middle
        return rotated_box(x + width / 2, y + height / 2, width, height, math.radians(*numbers([clockwise], (1,))))
    if not angle:
        return x, y, x + width, y + height
    return rotated_box(x, y, width, height, -math.radians(angle[0]))  # theirs is counter-clockwise


def _polygons(value: Any) -> list[float]:
    """The points of all polygons of a segmentation."""
    if not isinstance(value, list) or not value:
        raise BadImage("broken annotation", "neither a bbox nor a polygon as segmentation")
    polygons = value if all(isinstance(each, list) for each in value) else [value]
    even = tuple(range(6, 100_000, 2))
    return [number for polygon in polygons for number in numbers(polygon, even)]
