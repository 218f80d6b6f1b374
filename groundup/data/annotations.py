"""Shared by all annotation formats: an annotated image, and boxes that are validated as they are read."""

import json
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from groundup.codecs.image import BadImage
from groundup.data import image_files
from groundup.data.filtered import Damage
from groundup.data.given_split import words
from groundup.data.paths import legible, shown, there

POLYGONS = "polygons, read as the boxes that bound them"
ROTATED = "rotated boxes"
DIFFICULT = "boxes marked as difficult, read like all others"

Box = tuple[float, ...]  # left, top, right, bottom, or of a rotated one x1, y1 to x4, y4


@dataclass
class AnnotatedImage:
    """An annotated image that is not loaded yet: its boxes with classes, in fractions or, if `pixels`, in pixels."""

    file: Path
    origin: str
    where: str  # of the annotation
    name: str = ""  # of the image, as the annotation has it
    boxes: list[tuple[str, Box]] = field(default_factory=list)
    pixels: bool = False
    size: tuple[int, int] | None = None  # width and height as annotated
    problem: BadImage | None = None
    part: str = ""  # of the given split

    @property
    def path(self) -> str:
        """As text, with slashes."""
        return legible(self.file.as_posix())

    def take(self, boxes: Iterable[tuple[str, Box]]) -> "AnnotatedImage":
        """Add boxes; the first invalid one is recorded and reported only if the image is used."""
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
    """A list of numbers whose length is one of `counts`. Raises BadImage for any other value."""
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


def rotated_box(cx: float, cy: float, width: float, height: float, clockwise: float) -> Box:
    """The corners of a box that is turned about its middle by radians; raises BadImage for one without area."""
    if width <= 0 or height <= 0:
        raise BadImage("box of no area", f"its sides are {width:g} and {height:g}")
    if not math.isfinite(clockwise):
        return (math.nan,) * 8
    cos, sin = math.cos(clockwise) / 2, math.sin(clockwise) / 2
    steps = ((-width, -height), (width, -height), (width, height), (-width, height))
    return tuple(value for w, h in steps for value in (cx + w * cos - h * sin, cy + w * sin + h * cos))


def read_rows(file: Path) -> Iterator[tuple[int, str]]:
    """The non-empty lines of a label file, with their numbers. Raises BadImage for a file that is not text."""
    try:
        rows = file.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise BadImage("broken annotation", f"it cannot be read as text ({error})") from None
    return ((number, row) for number, row in enumerate(rows, 1) if row.strip())


def paired(
    images: dict[Path, str],
    labels: dict[str, Path],
    read: Callable[[Path], Iterator[tuple[str, Box]]],
    folder: Path,
    damage: Damage,
) -> Iterator[AnnotatedImage]:
    """Pair images with label files of the same key; files without a partner are counted."""
    for path, key in images.items():
        if file := labels.pop(key, None):
            damage.seen += 1
            yield AnnotatedImage(path, shown(path, folder), shown(file, folder)).take(read(file))
        else:
            damage.drops.note("image without label file", shown(path, folder))
    for path in labels.values():
        damage.seen += 1
        damage.note("label file without image", shown(path, folder))


def name_of(value: Any) -> str:
    """The name of a class; an invalid one becomes empty, which is refused later."""
    return value if isinstance(value, str) else ""
