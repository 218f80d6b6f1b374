"""Images from files: folders by class, unlabelled ones, IDX, and Hugging Face image datasets saved to disk."""

import glob
import json
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import islice, takewhile
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pyarrow as pa

from groundup.codecs import image
from groundup.codecs.image import BadImage
from groundup.config.base import knob
from groundup.config.source import ImageShape
from groundup.core.errors import InputError
from groundup.core.tables import SOURCES
from groundup.data import idx, image_files, table_files
from groundup.data import near_duplicates as near
from groundup.data.document import Document
from groundup.data.filtered import Damage, Filtered
from groundup.data.given_split import GivenSplit, part_of, words
from groundup.data.paths import legible, located, names, shown
from groundup.data.source import ImageFilesSource

TABLES = (".parquet", ".arrow")
SAMPLES = 32  # images that are measured for defaults
TEMPLATE, ALONE = 12, 3  # tokens of the chat template around a question with an image, and around an image alone
BATCH_ROWS = 16  # rows read at a time: few, since one row may be an image of many megabytes


@dataclass(frozen=True)
class _Found:
    """An image that is not loaded yet."""

    path: str
    origin: str
    kind: str  # its class, if it has one
    load: Callable[[], bytes]
    part: str = ""  # of the split that the files bring along

    @property
    def where(self) -> str:
        return self.origin


class ImagesSource(ImageFilesSource):
    """A folder or glob of images or IDX files, or a Hugging Face image dataset saved to disk."""

    version = 3  # a test part beside a validation part is for the last measurement

    classes: Literal["folders", "none"] = knob(
        "folders", "name", "folders: the folder of an image names its class; none: unlabelled images"
    )
    question: str = knob(
        "What is this?", "text", "question of the user about each image; its class is the answer", min_length=1
    )

    @property
    def has_classes(self) -> bool:
        """True unless `classes` is "none"."""
        return self.classes == "folders"

    def files(self, folder: Path) -> list[Path]:
        """The files to hash: images or tables of them, then the lists. Raises InputError when there are none."""
        files = _files(self, folder)
        arrays = list(filter(_is_idx, files)) if self.has_classes else []
        beside = [of(path) for of in (idx.labels_of, idx.classes_of) for path in arrays]
        return [*files, *filter(None, dict.fromkeys(beside)), *image_files.lists(self, folder)]

    def image_shape(self, folder: Path) -> ImageShape | None:
        """The shape of a sample of the images, with the longest class name if folders or labels name the classes."""
        places = _places(self, _files(self, folder), _root(self, folder))
        sides = sorted(max(image.measure(data)) for data in _samples(self, places, folder))
        if not sides:
            return None
        side = sides[len(sides) // 2]
        if not self.has_classes:
            return ImageShape(side, ALONE)
        classes = _classes(places)
        words = TEMPLATE + _words(self.question) + max(map(_words, classes)) if classes else None
        return ImageShape(side, words)

    def read(self, folder: Path, drops: Filtered) -> Iterator[Document]:
        """Stream the checked images as encoded; those that `heldout_files` lists, or a given split holds out, first.

        With classes = "folders" each is a conversation: the question, and as the answer the image's class, which is the
        name of its folder, or of its label in a dataset. Folders or tables called train, val and test are the split
        (`data.given_split`). Unusable images, and those without a class, are damage: those
        directly in the source's folder, or before the first wildcard of its pattern (unless only the file's name has
        wildcards). Raises InputError for missing files, damage over `bad_share`, tables without a column of images or
        names of classes, and lists that do not fit the images.
        """
        damage = Damage(self, drops, "images")
        files = _files(self, folder)
        places = _places(self, files, _root(self, folder))
        given = GivenSplit.of(self, (place.part for place in places.values()))
        found = partial(_found, self, places, folder, drops)
        yield from image_files.documents(found, partial(_document, self, damage), self, folder, damage, given)


def _document(source: ImagesSource, damage: Damage, found: _Found, heldout: bool) -> Document:
    damage.seen += 1
    classed = source.has_classes
    if classed and not found.kind.strip():
        raise BadImage(image_files.NO_CLASS, 'put it in a folder that names its class, or set classes = "none"')
    data = found.load()
    pixels = image_files.checked(data)
    return Document(
        source.name,
        found.origin,
        source.licence,
        text=None if classed else "",
        messages=image_files.asked(source.question, found.kind) if classed else None,
        images=(data,),
        perceptual_hash=near.perceptual_hash(pixels),
        heldout=heldout,
    )


def _found(source: ImagesSource, places: dict[Path, "_Place"], folder: Path, drops: Filtered) -> Iterator[_Found]:
    for path, (part, kind) in places.items():
        if path.suffix.lower() in TABLES:
            yield from _rows(source, path, shown(path, folder), drops, part)
        elif _is_idx(path):
            yield from _of_idx(source, path, shown(path, folder), part)
        else:
            yield _Found(legible(path.as_posix()), shown(path, folder), kind, partial(image_files.load, path), part)


def _of_idx(source: ImagesSource, path: Path, name: str, part: str) -> Iterator[_Found]:
    """The images of an IDX file, each with its label."""
    kinds = idx.labels(path) if source.has_classes else None
    for number, encoded in enumerate(idx.images(path), 1):
        if kinds is not None and number > len(kinds):
            raise InputError(f"source {source.name!r}: {name} has more images than its {len(kinds):,} labels")
        kind = "" if kinds is None else kinds[number - 1]
        yield _Found(f"image {number}", f"{name}:{number}", kind, partial(bytes, encoded), part)


# --- defaults -----------------------------------------------------------------------------------------------


def _samples(source: ImagesSource, places: dict[Path, "_Place"], folder: Path) -> Iterator[bytes]:
    """A sample of valid images, spread over the files; of a file with many images, the first."""
    chosen = list(places)[:: max(1, len(places) // SAMPLES)]
    for found in chosen:
        some = islice(_found(source, {found: places[found]}, folder, Filtered()), 1)
        with suppress(BadImage):
            for data in [each.load() for each in some]:
                image.measure(data)
                yield data


def _classes(places: dict[Path, "_Place"]) -> set[str]:
    """The names of the classes, but for those inside tables."""
    of_idx = (kind for path in places if _is_idx(path) for kind in set(idx.labels(path)))
    return {*of_idx, *(place.kind for path, place in places.items() if path.suffix.lower() in image_files.SUFFIXES)}


def _words(text: str) -> int:
    """Approximate number of tokens of a text if each word is one token."""
    return len(re.findall(r"[^\W\d_]+|\d|_|[^\w\s]", text))


# --- places -------------------------------------------------------------------------------------------------


class _Place(NamedTuple):
    """What the path of a file says: its part of the split, and the class of its image."""

    part: str
    kind: str


def _places(source: ImagesSource, files: list[Path], root: Path) -> dict[Path, _Place]:
    """The place of each file: parts are folders below the root, but for those of classes, or words in tables' names."""
    folders = {folder: _below(root, folder) for folder in {path.parent for path in files}}
    tabular = bool(files) and files[0].suffix.lower() in TABLES
    of_class = 1 if source.has_classes and not tabular else 0
    parts = {folder: part_of(names[: len(names) - of_class]) for folder, names in folders.items()}
    kinds = {folder: legible(folder.name) if folder != root else "" for folder in folders}
    if any(parts.values()):  # else a class may be called train
        for folder, names in folders.items():
            if not parts[folder] and (part := part_of(names)):  # beside the folders of its classes
                parts[folder], kinds[folder] = part, ""
    return {path: _Place(parts[path.parent] or _by_name(path), kinds[path.parent]) for path in files}


def _below(root: Path, folder: Path) -> tuple[str, ...]:
    return folder.relative_to(root).parts if folder.is_relative_to(root) else ()


def _by_name(path: Path) -> str:
    """The part of the split in the name of a file with many images."""
    return part_of(words(path.stem)) if path.suffix.lower() in TABLES or _is_idx(path) else ""


# --- files --------------------------------------------------------------------------------------------------


def _files(source: ImagesSource, folder: Path) -> list[Path]:
    """Images, or tables of images."""
    if of_splits := table_files.splits(source, folder):
        return [path for _, path in of_splits]
    if saved := table_files.saved(source, folder):
        return saved
    kinds = (*image_files.SUFFIXES, *image_files.UNREAD)
    found = [Path(name) for name in names(source, folder, (*kinds, *TABLES, *idx.SUFFIXES))]
    for form, which in (("tables", lambda path: path.suffix.lower() in TABLES), ("IDX files", _is_idx)):
        of_form = list(filter(which, found))
        if of_form and len(of_form) < len(found):
            raise InputError(
                f"source {source.name!r}: path {source.path!r} holds both images and {form}, such as"
                f" {of_form[0].name}; name one kind with a pattern, such as *{of_form[0].suffix}"
            )
    return found


def _is_idx(path: Path) -> bool:
    return path.name.lower().endswith(idx.SUFFIXES)


def _root(source: ImagesSource, folder: Path) -> Path:
    """The folder above the class folders: that of the source, or the part of a pattern before its first wildcard."""
    place = located(source, folder)
    if place.is_dir():
        return place
    parts = place.relative_to(folder).parts if place.is_relative_to(folder) else place.parts
    fixed = list(takewhile(lambda part: not glob.has_magic(part), parts))
    return folder if len(fixed) >= len(parts) - 1 else folder.joinpath(*fixed)


# --- tables -------------------------------------------------------------------------------------------------


def _rows(source: ImagesSource, path: Path, name: str, drops: Filtered, part: str) -> Iterator[_Found]:
    """The images of a table, in its order."""
    number = 0
    with table_files.readable(source, path):
        for batch in table_files.batches(path, partial(_columns, source, path, drops), BATCH_ROWS):
            kinds = _kinds(source, path, batch.schema) if batch.num_columns > 1 else {}
            for row in range(batch.num_rows):
                number += 1
                value = batch.column(0)[row].as_py() or {}
                label = batch.column(1)[row].as_py() if batch.num_columns > 1 else None
                kind = label if isinstance(label, str) else kinds.get(-1 if label is None else label, "")
                yield _Found(
                    str(value.get("path") or f"row {number}").replace("\\", "/"),
                    f"{name}:{number}",
                    kind,
                    partial(_bytes, value),
                    part,
                )


def _bytes(value: dict[str, Any]) -> bytes:
    if value.get("bytes") is None:
        raise BadImage("missing image", f"its row holds no bytes, only the path {value.get('path')!r}")
    return bytes(value["bytes"])


def _columns(source: ImagesSource, path: Path, drops: Filtered, schema: pa.Schema) -> list[str]:
    """The column of images and, for classes, that of labels: a ClassLabel, or named label; notes the unread ones."""
    where = f"source {source.name!r}: {path}"
    pictured = [field.name for field in schema if _is_picture(field.type)]
    if len(pictured) != 1:
        raise InputError(
            f"{where} has {len(pictured)} columns of images {{bytes, path}} among {', '.join(schema.names)}; it must"
            " have one"
        )
    if source.classes == "none":
        drops.pass_over(set(schema.names) - {*pictured})
        return pictured
    labelled = [
        name
        for name, feature in _features(schema).items()
        if feature.get("_type") == "ClassLabel" and name in schema.names
    ]
    if len(labelled) != 1:
        labelled = [name for name in ("label",) if name in schema.names]
    if not labelled:
        raise InputError(
            f'{where} has no column of labels among {", ".join(schema.names)}; name it label, or set classes = "none"'
        )
    drops.pass_over(set(schema.names) - {*pictured, *labelled})
    return [*pictured, *labelled]


def _is_picture(kind: pa.DataType) -> bool:
    place = kind.get_field_index("bytes") if pa.types.is_struct(kind) else -1
    return place >= 0 and any(
        is_bytes(kind.field(place).type) for is_bytes in (pa.types.is_binary, pa.types.is_large_binary)
    )


def _kinds(source: ImagesSource, path: Path, schema: pa.Schema) -> dict[int, str]:
    """The class of each label, by the metadata of Hugging Face datasets; textual labels name themselves."""
    label = schema.field(1)
    if any(is_text(label.type) for is_text in (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)):
        return {}
    kinds = _features(schema).get(label.name, {}).get("names")
    if (
        not pa.types.is_integer(label.type)
        or not isinstance(kinds, list)
        or not all(isinstance(kind, str) for kind in kinds)
    ):
        raise InputError(
            f"source {source.name!r}: {path}: column {label.name!r} holds {label.type} without names of classes in the"
            ' metadata; save it with a ClassLabel feature or as text, or set classes = "none"'
        )
    return dict(enumerate(kinds))


def _features(schema: pa.Schema) -> dict[str, dict[str, Any]]:
    """The columns' features in the metadata; none where there is no such metadata."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
    except (KeyError, ValueError, TypeError, RecursionError):
        return {}
    return (
        {name: feature for name, feature in features.items() if isinstance(feature, dict)}
        if isinstance(features, dict)
        else {}
    )


SOURCES.add("images", ImagesSource)
