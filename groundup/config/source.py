"""The recipe's tables of sources."""

from typing import Annotated, ClassVar, Literal, get_args

from pydantic import Field

from groundup.config.base import NAME, Part, Range, knob


class WorldPart(Part):
    """The sorting line of `groundup/world/`, and how much it varies; [low, high] are ranges that a value is drawn
    from.
    """

    pixels: int = knob(192, "pixels", "a side of the camera's square picture", ge=32, le=512)
    belt: float = knob(0.35, "m/s", "speed of the belt", gt=0, le=1)
    rate: float = knob(
        90.0, "items/min", "that arrive at that speed; they come with the belt, and stop with it", gt=0, le=600
    )
    overlap: float = knob(0.1, "share", "of the items that arrive on top of the one before", ge=0, le=1)
    unknown: float = knob(
        0.0, "share", "of the items that are of no kind, and such as training never shows", ge=0, le=1
    )
    odd: float = knob(
        0.0, "share", "of the items that are of no kind, and such as training may show: each another", ge=0, le=1
    )
    light: Range = knob((0.8, 1.2), "factor", "brightness of the lamps")
    exposure: Range = knob((-0.2, 0.2), "stops", "of the camera")
    noise: Range = knob((1.0, 5.0), "grey levels", "standard deviation of the camera's noise, of 256 levels")
    blur: Range = knob((0.2, 0.6), "pixels", "standard deviation of the lens's blur")
    dirt: Range = knob((0.0, 0.35), "share", "of an item's surface under dirt")
    crush: Range = knob((0.0, 0.6), "share", "how flat an item was pressed; boxes are not")
    seal: float = knob(0.03, "share", "of the well placed picks at which suction does not take hold", ge=0, le=1)
    drop: float = knob(0.01, "share", "of the held items that fall on the way", ge=0, le=1)


class SourceBase(Part):
    """What every source has."""

    holds: ClassVar[Literal["text", "conversations", "images"]] = (
        "text"  # what its documents are; text is measured in bits per byte
    )
    name: str = knob(..., "name", "what mixes and reports call this source", pattern=NAME)
    licence: str = knob("unstated", "SPDX id", "recorded for every document; unstated is warned about")
    heldout_share: float = knob(0.01, "share", "documents kept for validation, chosen by content hash", ge=0, le=0.5)
    min_chars: int = knob(1, "characters", "shorter documents are dropped and counted", ge=1)
    max_chars: int = knob(
        1_000_000, "characters", "longer documents are dropped and counted: one bad file must not fill memory", ge=1
    )


class FileSource(SourceBase):
    """A source that reads files."""

    path: str = knob(..., "path or glob", "files to read, relative to the recipe's folder; ** crosses folders")
    bad_share: float = knob(
        0.01, "share", "unreadable files or lines tolerated before the source is refused", ge=0, le=1
    )


class TextSource(FileSource):
    """Text and Markdown files, one document a file."""

    kind: Literal["text"]


class MessagesSource(FileSource):
    """Conversations: JSON lines with `messages` (and `tools`) in the OpenAI shape."""

    holds = "conversations"
    kind: Literal["messages"]


class TableSource(FileSource):
    """Parquet, CSV, JSON lines or Arrow files (Hugging Face datasets saved to disk), one document a row."""

    kind: Literal["table"]
    column: str = knob("text", "column", "the column that holds the text")


class PictureSource(FileSource):
    """A source of images in files."""

    holds = "images"
    heldout_files: str | None = knob(
        None, "file", "lists the images to hold out, one path or file name a line; left out: by content hash"
    )
    without_files: str | None = knob(
        None, "file", "lists images to leave out, such as a validation part that nothing is chosen by"
    )
    near_duplicates: int = knob(
        3, "bits", "images whose 64-bit hashes differ by no more are one: never on both sides of a split", ge=0, le=16
    )


class ImagesSource(PictureSource):
    """A folder or glob of images, or a Hugging Face image dataset saved to disk."""

    kind: Literal["images"]
    classes: Literal["folders", "none"] = knob(
        "folders", "name", "folders: the folder an image lies in names its class; none: images alone"
    )
    question: str = knob(
        "What is this?", "text", "what a user asks of each image; its class is the answer", min_length=1
    )


class BoxesSource(PictureSource):
    """Images with boxes: COCO (a .json file), YOLO (a folder with data.yaml) or JSON lines of {file, boxes: [{class,
    xyxy}]}.
    """

    kind: Literal["boxes"]
    images: str | None = knob(None, "folder", "where the images lie; left out: beside the annotations")
    question: str = knob(
        "What lies where?",
        "text",
        "asked of each image, with boxes as the answer; empty: only the patches are labelled",
    )


class ScenesSource(SourceBase):
    """Rendered scenes of shapes, text and numbers with questions about them, made by this program."""

    holds = "images"
    kind: Literal["scenes"]
    licence: str = knob("CC0-1.0", "SPDX id", "made by this program, free to all")
    heldout_share: float = knob(0.05, "share", "scenes kept for evaluation, chosen by content hash", ge=0.001, le=0.5)
    count: int = knob(..., "scenes", "how many to make", ge=1)
    pixels: int = knob(64, "pixels", "the longer side of a scene", ge=16, le=1024)
    things: int = knob(4, "things", "most in one scene", ge=1, le=12)
    languages: tuple[Literal["en", "zh"], ...] = knob(("en",), "names", "languages of the questions", min_length=1)
    seed: int = knob(0, "number", "another seed makes other scenes", ge=0)


class SimulatorSource(SourceBase):
    """Pictures of the sorting line with what lies in them, rendered by this program; `[source.world]` is a table of
    WorldPart.
    """

    holds = "images"
    kind: Literal["simulator"]
    licence: str = knob("CC0-1.0", "SPDX id", "made by this program, free to all")
    heldout_share: float = knob(
        0.03, "share", "of so many more pictures, kept for evaluation: from seeds of their own", ge=0.001, le=0.5
    )
    count: int = knob(..., "pictures", "how many to make to train on", ge=1)
    world: WorldPart = WorldPart()


class OrdersSource(SourceBase):
    """Orders to the sorting line in sentences, with the lines of the policy's language that they mean, made by this
    program.
    """

    holds = "conversations"
    kind: Literal["orders"]
    licence: str = knob("CC0-1.0", "SPDX id", "made by this program, free to all")
    heldout_share: float = knob(
        0.03, "share", "of so many more, in phrasings that are not trained on, for the held-out loss", ge=0.001, le=0.5
    )
    count: int = knob(..., "conversations", "how many to make to train on", ge=1)
    languages: dict[Literal["en", "zh"], Annotated[int, Field(ge=1, le=100)]] = knob(
        {"en": 1, "zh": 1},
        "language: number",
        "languages of the orders, and how many of each come in turn",
        min_length=1,
    )


class LibrarySource(SourceBase):
    """The running Python's own library: real text that is on every machine."""

    kind: Literal["python-library"]
    licence: str = knob("PSF-2.0", "SPDX id", "the licence of CPython and its library")
    parts: tuple[Literal["docstrings", "source", "topics"], ...] = knob(
        ("docstrings", "topics"), "names", "prose first: code is much larger and harder", min_length=1
    )


class TasksSource(SourceBase):
    """Verifiable instructions made by procedures; training and held-out instances never meet."""

    holds = "conversations"
    kind: Literal["tasks"]
    licence: str = knob("CC0-1.0", "SPDX id", "made by this program, free to all")
    heldout_share: float = knob(0.1, "share", "instances kept for evaluation, chosen by content hash", ge=0.01, le=0.5)
    count: int = knob(..., "conversations", "how many training instances to make", ge=1)
    languages: tuple[Literal["en", "zh"], ...] = knob(
        ("en", "zh"), "names", "languages of the instructions", min_length=1
    )
    families: dict[str, Annotated[int, Field(ge=1, le=5)]] = knob(
        ..., "family: level", "task families and their difficulty, 1 to 5", min_length=1
    )
    seed: int = knob(0, "number", "another seed makes other instances", ge=0)


Source = Annotated[
    TextSource
    | MessagesSource
    | TableSource
    | ImagesSource
    | BoxesSource
    | ScenesSource
    | SimulatorSource
    | OrdersSource
    | LibrarySource
    | TasksSource,
    Field(discriminator="kind"),
]
KINDS: dict[str, type[SourceBase]] = {
    get_args(source.model_fields["kind"].annotation)[0]: source for source in get_args(get_args(Source)[0])
}
