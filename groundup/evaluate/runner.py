"""All that a recipe asks to be measured of a model, as one JSON-able table.

    {
      "bits_per_byte": {SOURCE: {"model": FIGURE, "baselines": {METHOD: FIGURE}, "bytes": int, "training_bytes": int}},
      "tasks": {SOURCE: {"average": FIGURE, "rows": [{"family": str, "language": str, "level": int, "exact_match":
      FIGURE,
                                                      "mistakes": [{"question": str, "expected": str, "answer":
                                                      str}]}]}},
      "choice": {PATH: {SUBJECT: {"raw": FIGURE, "per_byte": FIGURE, "chance": float, "cut": int}}},
      "images": {SOURCE: {"accuracy": FIGURE, "commonest": float, "classes": [str], "counts": [[int]], "recall": {CLASS:
      FIGURE},
                          "worst": [{"image": URI, "size": [int, int], "looked": URI, "truth": str, "said": str,
                          "probability": float}]}},
      "questions": {SOURCE: {"average": FIGURE, "rows": [as in "tasks", and "boxes": MATCHES | null]}},
      "boxes": {SOURCE: {"ap": FIGURE, "ap50": FIGURE, "ar": FIGURE, "kinds": {KIND: FIGURE}, "score": float, **MATCHES,
                         "pictures": [{"image": URI, "size": [int, int], "truth": [THING], "found": [THING]}]}},
      "probe": {SOURCE: FIGURE},
      "orders": {SOURCE: [rows as in "tasks", the family being "heldout" or "novel", a match being of what the line
      does]},
      "prompts": [{"prompt": str, "answer": str}],
      "notes": [str]
    }

FIGURE is {"value": float, "low": float | null, "high": float | null, "n": int}: the ends of the 95 % interval, null
where there is none, and the number of cases. SUBJECT "" is the whole file. MATCHES is {"precision": FIGURE | null,
"recall": FIGURE | null, "f1": FIGURE | null} of boxes at an overlap of 0.5, THING {"kind": str, "box": [left, top,
right, bottom in shares of the image], "score": float}; rows of "counts" are true classes, its columns what was said. A
URI holds a small picture, `looked` where the model looked. What was not asked for is an empty table; `notes` says why
something asked for is missing.
"""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from groundup.apps.sorter import orders_source as sentences
from groundup.apps.sorter.understood import understood
from groundup.codecs import chat
from groundup.config.evaluation import EvaluatePart
from groundup.config.recipe import Recipe
from groundup.config.source import (
    BoxesSource,
    ImagesSource,
    MessagesSource,
    OrdersSource,
    ScenesSource,
    SimulatorSource,
    SourceBase,
    TasksSource,
)
from groundup.data.document import Document, read
from groundup.data.sources import scenes
from groundup.data.tasks import heldout
from groundup.device import Device
from groundup.evaluate.baselines import TRAINING_BYTES, baselines
from groundup.evaluate.bits import bits_per_byte
from groundup.evaluate.choice import choices
from groundup.evaluate.detection import detect
from groundup.evaluate.images import ask, classify
from groundup.evaluate.probe import IMAGES as PROBED
from groundup.evaluate.probe import probe
from groundup.evaluate.tasks import average, exact_match
from groundup.evaluate.texts import answers, conversations, sample
from groundup.generate.engine import Engine
from groundup.kernels.cpu.matrix import Weights

ANSWER_TOKENS = 256  # longest answer to a recipe's prompt
QUESTIONS = 500  # held-out conversations about images that are asked of a source

Table = dict[str, Any]
Advance = Callable[[int], None]


def evaluate(
    model: Path,
    recipe: Recipe,
    home: Path,
    documents: dict[str, Path],
    device: Device,
    advance: Advance,
    weights: Weights = "full",
) -> Table:
    """Measure the model in a folder by the recipe's `evaluate` part; the result's shape is above.

    `documents` names the folder of each source that the run used, with its `documents.parquet`; paths of the recipe
    start at `home`. `weights` are those of `Engine.load`; `advance` is told of texts, methods, tasks, choices, images
    and prompts done. Raises InputError for a model, documents or questions that cannot be used.
    """
    part = recipe.evaluate or EvaluatePart()
    engine = Engine.load(model, device, recipe.model.precision, weights)
    notes: list[str] = []
    table: Table = {
        name: {} for name in ("bits_per_byte", "tasks", "choice", "images", "questions", "boxes", "probe", "orders")
    }
    for suite in part.suites:
        match suite:
            case "bits-per-byte":
                table["bits_per_byte"] = _bits(engine, recipe, part, documents, notes, advance)
            case "tasks":
                table["tasks"] = _tasks(engine, recipe, part, notes, advance)
            case "choice":
                table["choice"] = _choice(engine, part, home, notes, advance)
            case "images":
                table["images"] = _classes(engine, recipe, documents, advance)
                table["questions"] = _questions(engine, recipe, part, documents, advance)
                if not table["images"] and not table["questions"]:
                    notes.append(
                        "the suite 'images' has nothing to ask: no source has held-out images with a class or a"
                        " question"
                    )
            case "boxes":
                table["boxes"] = _boxes(engine, recipe, part, documents, notes, advance)
            case "probe":
                table["probe"] = _probe(engine, recipe, documents, notes, advance)
            case "orders":
                table["orders"] = _orders(engine, recipe, part, notes, advance)
    return table | {"prompts": _prompts(engine, part, advance), "notes": notes}


def _bits(
    engine: Engine, recipe: Recipe, part: EvaluatePart, documents: dict[str, Path], notes: list[str], advance: Advance
) -> Table:
    table = {}
    for source in recipe.source:
        if source.holds != "text" or source.name not in documents:
            continue
        file = documents[source.name] / "documents.parquet"
        if texts := sample(file, heldout=True, limit=part.validation_megabytes * 1e6) if file.is_file() else []:
            training = sample(file, heldout=False, limit=TRAINING_BYTES) if part.baselines else []
            table[source.name] = _bits_of(engine, texts, training, advance)
        else:
            notes.append(
                f"source {source.name!r} has no held-out text, so no bits per byte; raise its heldout_share, or name it"
                " in a stage's mix"
            )
    return table


def _bits_of(engine: Engine, texts: list[str], training: list[str], advance: Advance) -> Table:
    """One source; no training texts, no baselines."""
    return {
        "model": bits_per_byte(engine, texts, advance).as_dict(),
        "baselines": (
            {name: figure.as_dict() for name, figure in baselines(training, texts, advance).items()} if training else {}
        ),
        "bytes": _size(texts),
        "training_bytes": _size(training),
    }


def _size(texts: list[str]) -> int:
    return sum(len(text.encode()) for text in texts)


def _tasks(engine: Engine, recipe: Recipe, part: EvaluatePart, notes: list[str], advance: Advance) -> Table:
    table = {}
    for source in recipe.source:
        if isinstance(source, TasksSource):
            rows = exact_match(engine, heldout(source, part.per_family), advance)
            table[source.name] = {"average": average(rows).as_dict(), "rows": [row.as_dict() for row in rows]}
    if not table:
        notes.append("the suite 'tasks' has nothing to ask: the recipe has no source of kind 'tasks'")
    return table


def _orders(engine: Engine, recipe: Recipe, part: EvaluatePart, notes: list[str], advance: Advance) -> Table:
    asked = {
        source.name: sentences.measured(source, part.per_family)
        for source in recipe.source
        if isinstance(source, OrdersSource)
    }
    if not asked:
        notes.append("the suite 'orders' has nothing to ask: the recipe has no source of kind 'orders'")
    return {
        name: [row.as_dict() for row in understood(engine, documents, advance)] for name, documents in asked.items()
    }


def _choice(engine: Engine, part: EvaluatePart, home: Path, notes: list[str], advance: Advance) -> Table:
    if not part.choice:
        notes.append("the suite 'choice' has nothing to ask: evaluate.choice names no file")
    return {
        path: {subject: accuracy.as_dict() for subject, accuracy in choices(engine, (home / path).expanduser(),
        advance).items()}
        for path in part.choice
    }  # fmt: skip


def _files(recipe: Recipe, documents: dict[str, Path], *kinds: type[SourceBase]) -> Iterator[tuple[SourceBase, Path]]:
    """The sources of some kinds whose documents are there."""
    for source in recipe.source:
        if (
            isinstance(source, kinds)
            and source.name in documents
            and (file := documents[source.name] / "documents.parquet").is_file()
        ):
            yield source, file


def _classed(recipe: Recipe, documents: dict[str, Path]) -> Iterator[tuple[str, Path, list[str]]]:
    """Name, documents and classes of each source of images by class."""
    for source, file in _files(recipe, documents, ImagesSource):
        if isinstance(source, ImagesSource) and source.classes != "none":
            yield source.name, file, answers(file)


def _classes(engine: Engine, recipe: Recipe, documents: dict[str, Path], advance: Advance) -> Table:
    table = {}
    for name, file, classes in _classed(recipe, documents):
        if found := classify(engine, read(file, heldout=True), classes, advance):
            table[name] = found.as_dict()
    return table


def _questions(
    engine: Engine, recipe: Recipe, part: EvaluatePart, documents: dict[str, Path], advance: Advance
) -> Table:
    asked = {
        source.name: scenes.heldout(source, part.per_family)
        for source in recipe.source
        if isinstance(source, ScenesSource)
    }
    for source, file in _files(recipe, documents, MessagesSource):
        asked[source.name] = list(conversations(file, heldout=True, limit=QUESTIONS))
    table = {}
    for name, chosen in asked.items():
        if found := ask(engine, chosen, name, advance):
            table[name] = {
                "average": average([each.row for each in found]).as_dict(),
                "rows": [each.as_dict() for each in found],
            }
    return table


def _boxes(
    engine: Engine, recipe: Recipe, part: EvaluatePart, documents: dict[str, Path], notes: list[str], advance: Advance
) -> Table:
    if not engine.config.classes:
        notes.append("the suite 'boxes' has nothing to look for: the model knows no kinds of things")
        return {}
    files = _files(recipe, documents, BoxesSource, SimulatorSource)
    looked: dict[str, Iterable[Document]] = {source.name: read(file, heldout=True) for source, file in files}
    looked |= {
        source.name: scenes.heldout(source, part.per_family)
        for source in recipe.source
        if isinstance(source, ScenesSource)
    }
    table = {}
    for name, chosen in looked.items():
        if found := detect(engine, chosen, advance):
            table[name] = found.as_dict()
    if not table:
        notes.append("the suite 'boxes' has nothing to look at: no source has held-out images with boxes")
    return table


def _probe(engine: Engine, recipe: Recipe, documents: dict[str, Path], notes: list[str], advance: Advance) -> Table:
    table = {}
    for name, file, classes in _classed(recipe, documents):
        if found := probe(
            engine, conversations(file, False, PROBED), conversations(file, True, PROBED), classes, advance
        ):
            table[name] = found.as_dict()
    if not table:
        notes.append("the suite 'probe' has nothing to learn: no source has training and held-out images with classes")
    return table


def _prompts(engine: Engine, part: EvaluatePart, advance: Advance) -> list[dict[str, str]]:
    prompts = [chat.prompt(engine.tokenizer, [{"role": "user", "content": prompt}]) for prompt in part.prompts]
    completed = engine.complete(prompts, ANSWER_TOKENS, advance=advance)
    return [
        {"prompt": prompt, "answer": engine.tokenizer.decode(answer)}
        for prompt, answer in zip(part.prompts, completed, strict=True)
    ]
