"""A DOTA folder: a label file for each image, lines of eight numbers in pixels, the name of the class, and a flag.

`images/P0001.png` has its labels in `labelTxt/P0001.txt` (or `labelTxt-v1.5`, or `annfiles`), where the first lines may
be `imagesource:...` and `gsd:...` (arXiv:1711.10398).
"""

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from groundup.codecs.image import BadImage
from groundup.data.annotations import DIFFICULT, ROTATED, AnnotatedImage, Box, paired, read_rows
from groundup.data.filtered import Damage, Filtered
from groundup.data.given_split import part_of
from groundup.data.image_files import SUFFIXES
from groundup.data.paths import matching

_HEADER = re.compile(r"\s*(imagesource|gsd)\s*:", re.IGNORECASE)
_FLAG = re.compile(r"[0-9]")


def label_files(place: Path) -> list[Path]:
    """All .txt in or under folders of labels, sorted."""
    found = map(Path, sorted(matching("**/*", place, (".txt",))))
    return [path for path in found if any(map(_is_labels, (place.name, *path.relative_to(place).parts[:-1])))]


def read(labels: list[Path], place: Path, images: Path, folder: Path, damage: Damage) -> Iterator[AnnotatedImage]:
    """Stream the images in or under a folder, with the boxes of the label files that lie under `place`."""
    pictures = map(Path, sorted(matching("**/*", images, SUFFIXES)))
    files, keys = {_key(path, place): path for path in labels}, {path: _key(path, images) for path in pictures}
    for each in paired(keys, files, partial(_boxes, drops=damage.drops), folder, damage):
        each.pixels, each.part = True, part_of(each.file.relative_to(images).parts[:-1])
        damage.drops.recognise(ROTATED, len(each.boxes))
        yield each


def _key(path: Path, root: Path) -> str:
    """What an image and its labels have in common: the path under `root` without suffix and the folders of the form."""
    *folders, name = path.relative_to(root).with_suffix("").parts
    return "/".join([*(part for part in folders if part.lower() != "images" and not _is_labels(part)), name])


def _boxes(file: Path, drops: Filtered) -> Iterator[tuple[str, Box]]:
    """The boxes of a label file as corners in pixels. Raises BadImage for a line that is none."""
    header = True
    for number, row in read_rows(file):
        header = header and bool(_HEADER.match(row))
        if not header:
            yield _box(row, number, drops)


def _box(row: str, number: int, drops: Filtered) -> tuple[str, Box]:
    values = row.split()
    name = values[8:-1] if len(values) > 9 and _FLAG.fullmatch(values[-1]) else values[8:]
    try:
        corners = tuple(map(float, values[:8]))
    except ValueError:
        name = []
    if not name:
        raise BadImage(
            "broken annotation", f"line {number} is {row[:60]!r}; expected x1 y1 x2 y2 x3 y3 x4 y4 class difficult"
        )
    if len(name) < len(values) - 8 and values[-1] != "0":
        drops.recognise(DIFFICULT)
    return " ".join(name), corners


def _is_labels(folder: str) -> bool:
    return folder.lower().startswith("labeltxt") or folder.lower() == "annfiles"
