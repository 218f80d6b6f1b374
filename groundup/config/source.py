"""The recipe's source tables: the knobs that all sources have, and validation of a table by its kind."""

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

from pydantic import AfterValidator, BeforeValidator, SerializeAsAny, model_validator

from groundup.config.base import NAME, InvalidCombination, Part, knob
from groundup.core.tables import SOURCES


class ImageShape(NamedTuple):
    """The shape of a source's images: pixels of the longer side, and text tokens of a conversation about one image."""

    side: int
    words: int | None  # text tokens if each word is one token; None: unknown, or many


class SourceConfig(Part):
    """The knobs that every source has, and the declared content of its documents, by which suites choose sources."""

    holds: ClassVar[Literal["text", "conversations", "images", "preferences"]] = (
        "text"  # text is measured in bits per byte
    )
    has_boxes: ClassVar[bool] = False  # its images have annotated boxes
    exact_answers: ClassVar[bool] = False  # an answer is right if it equals the document's, character by character
    name: str = knob(..., "name", "name of this source in mixes and reports", pattern=NAME)
    licence: str = knob("unstated", "SPDX id", "recorded for every document; without one there is a warning")
    heldout_share: float = knob(0.01, "fraction", "documents held out for validation, by content hash", ge=0, le=0.5)
    min_chars: int = knob(1, "characters", "shorter documents are filtered and counted", ge=1)
    max_chars: int = knob(
        1_000_000, "characters", "longer documents are filtered and counted: one bad file must not fill memory", ge=1
    )
    kind: str

    def image_shape(self, folder: Path) -> ImageShape | None:
        """The shape of its images, for the model's defaults; None if no default follows from them."""
        return None

    @property
    def has_classes(self) -> bool:
        """Whether the answer of each document is the class of its image."""
        return False


class FileSourceConfig(SourceConfig):
    """The knobs of a source that reads files."""

    path: str = knob(..., "path or glob", "files to read, relative to the recipe's folder; ** matches any subfolders")
    bad_share: float = knob(0.01, "fraction", "of damaged files or rows above which the source is refused", ge=0, le=1)


def _known(encoding: str) -> str:
    try:
        "".encode(encoding)
    except (LookupError, ValueError):
        raise ValueError(f"there is no encoding {encoding[:40]!r}; known are utf-8, latin-1, gb18030, ...") from None
    return encoding


class TextFilesConfig(FileSourceConfig):
    """The knobs of a source that reads files of text, tables or conversations."""

    encoding: Annotated[str, AfterValidator(_known)] = knob(
        "utf-8",
        "name",
        "encoding of text, CSV and JSON files, such as latin-1; a byte-order mark overrides it",
    )
    heldout_path: str | None = knob(
        None, "path or glob", "files of the same kind that are the held-out part; default: split by content hash"
    )

    @model_validator(mode="after")
    def _one_split(self) -> "TextFilesConfig":
        if self.heldout_path is not None and self.heldout_share and "heldout_share" in self.model_fields_set:
            raise InvalidCombination(("heldout_share",), "heldout_path already says what is held out; keep one of them")
        return self


class ImageFilesConfig(FileSourceConfig):
    """The knobs of a source that reads images from files."""

    holds = "images"

    heldout_files: str | None = knob(
        None,
        "file",
        "list of the images to hold out, one path or file name a line; default: split by content hash",
    )
    heldout_part: Literal["val", "test"] | None = knob(
        None,
        "name",
        "which of the folders train, val and test is held out, the other left out; default: val, and test measures the"
        " finished model",
    )
    without_files: str | None = knob(None, "file", "list of images to leave out, such as a published validation part")
    near_duplicates: int = knob(
        3, "bits", "images whose 64-bit hashes differ by no more are never on both sides of a split", ge=0, le=16
    )


def parse(table: Any) -> Any:
    """The source of a recipe's table, validated by the class that is registered for its kind."""
    if not isinstance(table, dict):
        return table
    known = f"known are {', '.join(SOURCES)}"
    if "kind" not in table:
        raise InvalidCombination(("kind",), f"a source needs its kind; {known}")
    if table["kind"] not in SOURCES:
        raise InvalidCombination(("kind",), f"there is no source of kind {table['kind']!r}; {known}")
    return SOURCES[table["kind"]].model_validate(table)


AnySource = SerializeAsAny[Annotated[SourceConfig, BeforeValidator(parse)]]
