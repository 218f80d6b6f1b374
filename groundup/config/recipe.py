"""The recipe: every knob a user can turn, typed, with its unit, default and reason.

A recipe is one TOML file. `load` checks it whole before anything runs and refuses it with one sentence
that names the file, the line and the key. What a recipe leaves out is derived from one dial, `model.depth`;
`derivations` lists every derived value with the reason.
"""

from collections.abc import Iterable
from typing import Annotated, Any, ClassVar, Literal, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

NAME = r"^[a-z0-9][a-z0-9_-]{0,63}$"


class Part(BaseModel):
    """A table of the recipe: immutable, and closed to unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def knob(default: Any, unit: str, reason: str, **limits: Any) -> Any:
    """Declare one knob: its default, its unit, and what it decides and why that default.

    >>> knob(8192, "ids", "vocabulary", ge=258).json_schema_extra
    {'unit': 'ids'}
    """
    return Field(default, description=reason, json_schema_extra={"unit": unit}, **limits)


def _rising(ends: tuple[float, float]) -> tuple[float, float]:
    if ends[0] > ends[1]:
        raise ValueError(f"a range is [low, high], and {ends[0]} is above {ends[1]}")
    return ends


# --- the world ---------------------------------------------------------------------------------------------


Range = Annotated[tuple[float, float], AfterValidator(_rising)]


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


# --- sources -----------------------------------------------------------------------------------------------


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


# --- tokenizer and model -----------------------------------------------------------------------------------


class TokenizerPart(Part):
    """How text becomes ids."""

    vocab_size: int = knob(8192, "ids", "bytes, merges and special tokens together", ge=288, le=1_000_000)
    sample_megabytes: int = knob(256, "MB", "text the merges are learned from; more changes little", ge=1)
    path: str | None = knob(None, "folder", "take this tokenizer.json instead of training one")


class ModelPart(Part):
    """The shape of the transformer; `depth` is the one dial."""

    depth: int = knob(4, "layers", "the dial: width, heads, batch and rates follow from it", ge=1, le=1024)
    width: int | None = knob(None, "features", "64 a layer", ge=8)
    head_dim: int | None = knob(None, "features", "64, or the width where that is less", ge=2)
    heads: int | None = knob(None, "heads", "width / head_dim", ge=1)
    kv_heads: int | None = knob(None, "heads", "half the heads: half the cache for nearly the same loss", ge=1)
    ffn: int | None = knob(
        None, "features", "8/3 of the width, to a multiple of 64: as many weights as a 4x layer without a gate", ge=8
    )
    context: int = knob(512, "tokens", "longest sequence the model sees", ge=8)
    tied: bool = knob(True, "flag", "one matrix for embedding and head: right for small models")
    rope_base: float = knob(10_000.0, "number", "base of the rotary wavelengths; raise it for long contexts", gt=1)
    patch: int | None = knob(
        None, "pixels", "side of an image patch; left out: 16 with model.eyes, 8 with images, else none", ge=2, le=64
    )
    patches: int = knob(
        196, "patches", "most an image may have: it is scaled down to fit, its aspect kept", ge=1, le=4096
    )
    eyes: str | None = knob(
        None,
        "folder",
        "see through the vision tower of a SigLIP 2 (NaFlex) model instead of at the pixels; it is trained along",
    )
    start: str | None = knob(None, "folder", "take weights in the Hugging Face layout instead of random ones")
    precision: Literal["auto", "bf16", "fp32"] = knob(
        "auto", "name", "bf16 where the device multiplies it fast; master weights stay fp32"
    )


def derived_shape(part: ModelPart) -> dict[str, int]:
    """Width, head_dim, heads, kv_heads and ffn of a model: as set, else from the depth."""
    width = part.width or 64 * part.depth
    head_dim = part.head_dim or (width // part.heads if part.heads else min(64, width))
    heads = part.heads or max(1, width // head_dim)
    kv_heads = part.kv_heads or (heads // 2 if heads % 2 == 0 else heads)
    ffn = part.ffn or max(64, round(width * 8 / 3 / 64) * 64)
    return {"width": width, "head_dim": head_dim, "heads": heads, "kv_heads": kv_heads, "ffn": ffn}


# --- stages ------------------------------------------------------------------------------------------------


class StagePart(Part):
    """One training stage: an objective, its data and how to optimise."""

    do: Literal["pretrain", "instruct"] = knob(
        ..., "name", "pretrain: every token counts; instruct: only the assistant's"
    )
    name: str | None = knob(
        None, "name", "name of the stage's folder; the objective's name when left out", pattern=NAME
    )
    tokens: int = knob(..., "tokens", "how much to train", ge=1)
    mix: dict[str, Annotated[float, Field(gt=0)]] = knob(
        ..., "source: weight", "shares of the tokens seen", min_length=1
    )
    batch_tokens: int | None = knob(None, "tokens", "tokens a step, all processes together", ge=8)
    micro_tokens: int | None = knob(
        None, "tokens", "tokens a forward on one process: less needs less memory, the numbers stay", ge=8
    )
    muon_lr: float | None = knob(None, "rate", "peak rate of Muon, for the matrices of the blocks", gt=0)
    adamw_lr: float | None = knob(None, "rate", "peak rate of AdamW, for embedding, head and norms", gt=0)
    weight_decay: float | None = knob(None, "rate", "pull towards zero, on matrices only", ge=0)
    clip: float | None = knob(None, "norm", "largest norm of the whole gradient", gt=0)
    warmup: float | None = knob(None, "share", "of the steps, rate rising from zero", ge=0, le=1)
    decay: float | None = knob(
        None, "share", "of the steps, rate falling to zero; between them it is stable", ge=0, le=1
    )
    augment: float = knob(
        0.0,
        "strength",
        "of random crops, flips, colours, erasing and mixing, 0 to 1: for few images, seen often",
        ge=0,
        le=1,
    )
    images: Literal["next", "masked"] = knob(
        "next", "name", "how pre-training learns from images: predict the next patch, or hidden ones"
    )
    recompute: bool = knob(False, "flag", "gradient checkpointing: a third more work, far less memory")
    checkpoint_steps: int = knob(200, "steps", "between checkpoints: the most work a crash can cost", ge=1)
    keep: int = knob(2, "checkpoints", "last ones kept; the one before serves when the last is damaged", ge=1)
    sample_steps: int = knob(500, "steps", "between samples of the model's text; 0 for none", ge=0)
    validate_steps: int = knob(250, "steps", "between looks at the held-out loss; 0 for none", ge=0)

    @property
    def title(self) -> str:
        """Name of the stage and of its folder."""
        return self.name or self.do


class EvaluatePart(Part):
    """What is measured on the grown model."""

    suites: tuple[Literal["bits-per-byte", "tasks", "choice", "images", "boxes", "probe", "orders"], ...] = knob(
        ("bits-per-byte",), "names", "measurements to make"
    )
    per_family: int = knob(50, "instances", "held-out instances a task family and language", ge=1)
    choice: tuple[str, ...] = knob((), "paths", "multiple-choice JSONL files: question, choices, answer")
    baselines: bool = knob(False, "flag", "gzip, xz and an n-gram model beside the bits per byte")
    validation_megabytes: float = knob(1.0, "MB", "held-out text a source for bits per byte", gt=0)
    prompts: tuple[str, ...] = knob((), "texts", "questions answered at the end of the run and in the report")


class LinePart(Part):
    """The sorting line at work at the end of a run, with the model as its brain and an oracle beside it."""

    items: int = knob(500, "items", "that leave the line in each setting; more of them narrow the intervals", ge=1)
    settings: tuple[
        Literal["standard", "dark", "bright", "noise", "blur", "dirt", "fast", "crowded", "unknown"], ...
    ] = knob(("standard",), "names", "the standard line, or that line under shifts of the world", min_length=1)
    sure: int = knob(80, "percent", "an item whose kind is less sure goes to the bin for people", ge=50, le=99)


class Recipe(Part):
    """A whole recipe."""

    name: str = knob(..., "name", "names the run's folder", pattern=NAME)
    seed: int = knob(17, "number", "every random choice follows from it", ge=0, lt=2**63)
    source: tuple[Source, ...] = knob(..., "tables", "where the data comes from", min_length=1)
    tokenizer: TokenizerPart = TokenizerPart()
    model: ModelPart = ModelPart()
    stage: tuple[StagePart, ...] = knob((), "tables", "training stages, in order")
    evaluate: EvaluatePart | None = None
    line: LinePart | None = None

    @property
    def patch(self) -> int:
        """Pixels a side of an image patch; 0 for a model without eyes."""
        seen = any(source.holds == "images" for source in self.source)
        return self.model.patch or (16 if self.model.eyes else 8 if seen else 0)

    @model_validator(mode="after")
    def _combinations(self) -> "Recipe":
        names = [source.name for source in self.source]
        _unique("source", names)
        _unique("stage", [stage.title for stage in self.stage])
        for number, stage in enumerate(self.stage):
            for name in stage.mix:
                if name not in names:
                    raise InvalidCombination(
                        ("stage", number, "mix", name),
                        f"mix names {name!r}, which is no source; the sources are {', '.join(names)}",
                    )
            if (stage.warmup or 0) + (stage.decay or 0) > 1:
                raise InvalidCombination(
                    ("stage", number, "decay"), "warmup and decay together are more than the whole stage; lower one"
                )
        if self.patch and self.model.patches + 2 >= self.model.context:
            raise InvalidCombination(
                ("model", "context"),
                f"an image of {self.model.patches} patches and a question do not fit {self.model.context} tokens; raise"
                " it, or lower model.patches",
            )
        if self.model.eyes and self.model.start:
            raise InvalidCombination(
                ("model", "eyes"), "a model that model.start names brings the eyes it has; leave one of the two out"
            )
        if self.line and not any(isinstance(source, SimulatorSource | BoxesSource) for source in self.source):
            raise InvalidCombination(
                ("line",),
                "the line's brain names things in pictures, but no source has boxes; add one of kind simulator or"
                " boxes",
            )
        shape = derived_shape(self.model)
        if shape["heads"] % shape["kv_heads"]:
            raise InvalidCombination(
                ("model", "kv_heads"),
                f"kv_heads {shape['kv_heads']} does not divide heads {shape['heads']}; choose a divisor",
            )
        if shape["head_dim"] % 2:
            raise InvalidCombination(
                ("model", "head_dim"),
                f"head_dim {shape['head_dim']} is odd; rotary positions turn pairs of features: choose an even one",
            )
        return self


class InvalidCombination(ValueError):
    """A combination of values that cannot work, with the place of the one to change."""

    def __init__(self, place: tuple[str | int, ...], message: str):
        super().__init__(message)
        self.place = place


def _unique(key: str, names: Iterable[str]) -> None:
    seen: set[str] = set()
    for number, name in enumerate(names):
        if name in seen:
            raise InvalidCombination((key, number, "name"), f"two {key}s are called {name!r}; give each its own name")
        seen.add(name)
