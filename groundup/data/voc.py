"""Annotations in the format of Pascal VOC: an XML file for each image, and lists of the images of each part.

The XML is parsed without document types, so that no entity is expanded, and with bounded size and depth.
"""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from groundup.codecs.image import BadImage
from groundup.core.errors import InputError
from groundup.data import image_files
from groundup.data.annotations import DIFFICULT, ROTATED, AnnotatedImage, Box, rotated_box
from groundup.data.filtered import Damage, Filtered
from groundup.data.given_split import TEST, TRAIN, VAL
from groundup.data.paths import shown, there

MOST_BYTES, MOST_DEPTH = 8 << 20, 32  # of a file: known data sets have at most some hundred objects, 5 deep
_SETS = (("train", TRAIN), ("val", VAL), ("test", TEST), ("trainval", TRAIN))  # of VOC; the last only where no other is


def sets(paths: Sequence[Path]) -> list[Path]:
    """The lists of VOC's parts, in ImageSets/Main beside the folders of the annotations, in the order they hold."""
    folders = dict.fromkeys(
        path.parent.parent / "ImageSets" / "Main" for path in paths if path.suffix.lower() == ".xml"
    )
    return [file for folder in folders for name, _ in _SETS if there(file := folder / f"{name}.txt")]


def read(
    paths: Sequence[Path], folders: dict[Path, str], images: Path | None, folder: Path, damage: Damage
) -> Iterator[AnnotatedImage]:
    """Stream the annotated images of some files, of the parts of their `folders` or, where these have none, of lists.

    Annotations of no image are counted as damage.
    """
    listed = _listed(paths)
    for path in paths:
        damage.seen += 1
        where = shown(path, folder)
        try:
            root = _root(path)
            file = _image(root, path, images)
            part = folders[path] or listed.get((path.parent.parent, path.stem), "")
            found = AnnotatedImage(file, shown(file, folder), where, pixels=True, size=_size(root), part=part)
            yield found.take(_object(each, damage.drops) for each in root.iter("object"))
        except BadImage as error:
            damage.note(error.reason, where, error.detail)


def _listed(paths: Sequence[Path]) -> dict[tuple[Path, str], str]:
    """The part of each image, by the folder of its set and its name, as the lists say."""
    parts: dict[tuple[Path, str], str] = {}
    for path in sets(paths):
        try:
            names = [line.split()[0] for line in path.read_text(encoding="utf-8-sig").split("\n") if line.strip()]
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(
                f"{path}: cannot be read ({error}); save it as UTF-8, the name of an image a line"
            ) from None
        for name in names:
            parts.setdefault((path.parent.parent.parent, name), dict(_SETS)[path.stem])
    return parts


def _root(path: Path) -> Element:
    """The element `annotation` of a file."""
    try:
        if path.stat().st_size > MOST_BYTES:
            raise BadImage("broken annotation", f"more than {MOST_BYTES:,} bytes")
        root = _parsed(path.read_bytes())
    except (OSError, expat.ExpatError, ValueError, LookupError) as error:
        raise BadImage("broken annotation", f"it cannot be read as XML ({error})") from None
    if root.tag != "annotation":
        raise BadImage("broken annotation", f"its root is {root.tag[:40]!r}; expected VOC's annotation")
    return root


def _parsed(data: bytes) -> Element:
    """A document as elements. Raises ValueError for a document type, which could define entities, and for depth."""
    builder, parser, depth = TreeBuilder(), expat.ParserCreate(), 0

    def start(tag: str, attributes: dict[str, str]) -> None:
        nonlocal depth
        depth += 1
        if depth > MOST_DEPTH:
            raise ValueError(f"elements more than {MOST_DEPTH} deep")
        builder.start(tag, attributes)

    def end(tag: str) -> None:
        nonlocal depth
        depth -= 1
        builder.end(tag)

    def refuse(*declared: object) -> None:
        raise ValueError("it declares a document type, which annotations need not")

    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.CharacterDataHandler, parser.StartDoctypeDeclHandler = builder.data, refuse
    parser.Parse(data, True)
    return builder.close()


def _image(root: Element, path: Path, images: Path | None) -> Path:
    """The image that an annotation is of: by its `filename`, or else by the annotation's own name."""
    name = (root.findtext("filename") or "").strip()
    above = path.parent.parent
    folders = [images] if images is not None else [path.parent, above / "JPEGImages", above / "images", above]
    stems = (path.stem + suffix for suffix in image_files.SUFFIXES)
    for each in (name, *stems) if name else stems:
        for folder in folders:
            if there(file := image_files.contained(folder, each)):
                return file
    raise BadImage("missing image", f"no file {name[:80]!r} beside it or in JPEGImages; set images to their folder")


def _size(root: Element) -> tuple[int, int] | None:
    """Width and height, where they are written: some programs leave them at 0."""
    values = [_number(root.find("size"), side) for side in ("width", "height")] if root.find("size") is not None else []
    width, height = [int(value) if math.isfinite(value) else 0 for value in values] or [0, 0]
    return (width, height) if width > 0 and height > 0 else None


def _object(found: Element, drops: Filtered) -> tuple[str, Box]:
    """Class and box of an object. Pixels are counted from 1, and the last ones belong to the box."""
    if (found.findtext("difficult") or "0").strip() not in ("0", ""):
        drops.recognise(DIFFICULT)
    name = found.findtext("name") or ""
    if (turned := found.find("robndbox")) is not None:
        drops.recognise(ROTATED)
        cx, cy, width, height, angle = (_number(turned, key) for key in ("cx", "cy", "w", "h", "angle"))
        return name, rotated_box(cx, cy, width, height, angle)
    box = found.find("bndbox")
    left, top, right, bottom = (_number(box, key) for key in ("xmin", "ymin", "xmax", "ymax"))
    left, top = (value - 1 if value >= 1 else value for value in (left, top))  # some programs count from 0
    return name, (left, top, right, bottom)


def _number(found: Element | None, key: str) -> float:
    text = (found.findtext(key) or "").strip() if found is not None else ""
    try:
        return float(text)
    except ValueError:
        raise BadImage("broken annotation", f"its {key} is {text[:40]!r}; expected a number") from None
