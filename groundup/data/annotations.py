"""What annotations of all formats are made of: an annotated image, and boxes that are checked as they are read."""

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from groundup.codecs.image import BadImage
from groundup.data import image_files
from groundup.data.given_split import words
from groundup.data.paths import legible, shown, there

POLYGONS = "polygons, read as the boxes that bound them"
ROTATED = "rotated boxes, read as the upright boxes that bound them"

Box = tuple[float, float, float, float]


@dataclass
class AnnotatedImage:
    """An annotated image, not loaded yet: its boxes by class, in fractions or, if `pixels`, in pixels."""

    file: Path
    origin: str
    where: str  # of the annotation
    name: str = ""  # of the image, as the annotation has it
    boxes: list[tuple[str, Box]] = field(default_factory=list)
    pixels: bool = False
    size: tuple[int, int] | None = None  # width and height as annotated
    problem: BadImage | None = None
    part: str = ""  # of the split that the files bring along

    @property
    def path(self) -> str:
        """As text, with slashes."""
        return legible(self.file.as_posix())

    def take(self, boxes: Iterable[tuple[str, Box]]) -> "AnnotatedImage":
        """Take over boxes; the first that cannot be read is remembered, for when the image turns out to be used."""
        try:
            self.boxes = list(boxes)
        except BadImage as error:
            self.problem = error
        return self


def annotated(images: Path, name: Any, folder: Path, where: str) -> AnnotatedImage:
    """An image that an annotation names; raises BadImage when it may not."""
    if not isinstance(name, str) or not name:
        raise BadImage("broken annotation", "it names no file")
    file = image_files.contained(images, name)
    return AnnotatedImage(file, shown(file, folder), where, name)


def images_beside(path: Path, chosen: Path | None, names: Iterable[str]) -> Path:
    """The folder of the images of an annotation file: of several, the first that holds one of their first `names`.

    These are the `chosen` one, or that of the file, `images` beside it, and the one above, as COCO has it; and in them
    folders that the file's name has a word of: `train2017` of `instances_train2017.json`.
    """
    own = path.parent
    places = [own, own / "images", own.parent, own.parent / "images"] if chosen is None else [chosen]
    places += [place / word for place in places for word in words(path.stem)]
    for name in islice(names, 20):
        for place in places:
            if there(place / name):
                return place
    return places[0]


def numbers(value: Any, counts: tuple[int, ...]) -> list[float]:
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


def bounds(points: list[float]) -> Box:
    """The bounds along the axes of points x1, y1, x2, y2, ..."""
    if not all(map(math.isfinite, points)):
        return (math.nan,) * 4
    return min(points[::2]), min(points[1::2]), max(points[::2]), max(points[1::2])


def rotated_bounds(cx: float, cy: float, width: float, height: float, radians: float) -> Box:
    """The bounds along the axes of a box that is turned about its middle."""
    if not math.isfinite(radians):
        return (math.nan,) * 4
    cos, sin = abs(math.cos(radians)), abs(math.sin(radians))
    half_width, half_height = (width * cos + height * sin) / 2, (width * sin + height * cos) / 2
    return cx - half_width, cy - half_height, cx + half_width, cy + half_height


def name_of(value: Any) -> str:
    """The name of a class; empty, which is refused later, for what is none."""
    return value if isinstance(value, str) else ""
