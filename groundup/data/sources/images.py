"""Images from files: folders by class, unlabelled ones, and Hugging Face image datasets saved to disk."""

import glob
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import takewhile
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from groundup.codecs.image import BadImage
from groundup.config.base import knob
from groundup.core.errors import InputError
from groundup.core.tables import SOURCES
from groundup.data import image_files, table_files
from groundup.data import near_duplicates as near
from groundup.data.document import Document
from groundup.data.filtered import Damage, Filtered
from groundup.data.paths import located, names, shown
from groundup.data.source import ImageFilesSource

TABLES = (".parquet", ".arrow")
BATCH_ROWS = 16  # few, since one row may be an image of many megabytes


@dataclass(frozen=True)
class _Found:
    """An image that is not loaded yet."""

    path: str
    origin: str
    kind: str  # its class, if it has one
    load: Callable[[], bytes]

    @property
    def where(self) -> str:
        return self.origin


class ImagesSource(ImageFilesSource):
    """A folder or glob of images, or a Hugging Face image dataset saved to disk."""

    classes: Literal["folders", "none"] = knob(
        "folders", "name", "folders: the folder an image lies in names its class; none: images alone"
    )
    question: str = knob(
        "What is this?", "text", "what a user asks of each image; its class is the answer", min_length=1
    )

    @property
    def has_classes(self) -> bool:
        """Unless it is of images alone."""
        return self.classes == "folders"

    def files(self, folder: Path) -> list[Path]:
        """The files to hash: images or tables of them, then the lists. Raises InputError when there are none."""
        return [*_files(self, folder), *image_files.lists(self, folder)]

    def read(self, folder: Path, drops: Filtered) -> Iterator[Document]:
        """Stream the checked images as encoded; those that `heldout_files` lists first.

        With classes = "folders" each is a conversation: the question, and as the answer the image's class, which is the
        name of its folder, or of its label in a dataset. Unusable images, and those without a class, are damage: those
        directly in the source's folder, or before the first wildcard of its pattern (unless only the file's name has
        wildcards). Raises InputError for missing files, damage over `bad_share`, tables without a column of images or
        names of classes, and lists that do not fit the images.
        """
        damage = Damage(self, drops, "images")
        yield from image_files.documents(
            partial(_found, self, folder, drops), partial(_document, self, damage), self, folder, damage
        )


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


def _found(source: ImagesSource, folder: Path, drops: Filtered) -> Iterator[_Found]:
    root = _root(source, folder)
    for path in _files(source, folder):
        if path.suffix.lower() in TABLES:
            yield from _rows(source, path, shown(path, folder), drops)
        else:
            kind = "" if path.parent == root else path.parent.name
            yield _Found(path.as_posix(), shown(path, folder), kind, partial(image_files.load, path))


# --- files --------------------------------------------------------------------------------------------------


def _files(source: ImagesSource, folder: Path) -> list[Path]:
    """Images, or tables of images."""
    if saved := table_files.saved(source, folder):
        return saved
    found = [Path(name) for name in names(source, folder, (*image_files.SUFFIXES, *TABLES))]
    of_tables = [path for path in found if path.suffix.lower() in TABLES]
    if of_tables and len(of_tables) < len(found):
        raise InputError(
            f"source {source.name!r}: path {source.path!r} holds both images and tables, such as {of_tables[0].name}; "
            "name one kind with a pattern, such as *.parquet"
        )
    return found


def _root(source: ImagesSource, folder: Path) -> Path:
    """The folder that names no class: that of the source, or before a pattern's first wildcard."""
    place = located(source, folder)
    if place.is_dir():
        return place
    parts = place.relative_to(folder).parts if place.is_relative_to(folder) else place.parts
    fixed = list(takewhile(lambda part: not glob.has_magic(part), parts))
    return folder if len(fixed) >= len(parts) - 1 else folder.joinpath(*fixed)


# --- tables -------------------------------------------------------------------------------------------------


def _rows(source: ImagesSource, path: Path, name: str, drops: Filtered) -> Iterator[_Found]:
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
