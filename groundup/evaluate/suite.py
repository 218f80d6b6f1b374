"""All that a recipe asks to be measured of a model, as one JSON-able table.

    {
      "bits_per_byte": {SOURCE: {"model": FIGURE, "baselines": {METHOD: FIGURE}, "bytes": int, "training_bytes": int}},
      "tasks": {SOURCE: {"average": FIGURE, "rows": [{"family": str, "language": str, "level": int, "exact_match": FIGURE,
                                                      "mistakes": [{"question": str, "expected": str, "answer": str}]}]}},
      "choice": {PATH: {SUBJECT: {"raw": FIGURE, "per_byte": FIGURE, "chance": float, "cut": int}}},
      "prompts": [{"prompt": str, "answer": str}],
      "notes": [str]
    }

FIGURE is {"value": float, "low": float | null, "high": float | null, "n": int}: the ends of the 95 % interval, null where there
is none, and the number of cases. SUBJECT "" is the whole file. What was not asked for is an empty table; `notes` says why
something asked for is missing.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from groundup.codecs import chat
from groundup.data.tasks import heldout
from groundup.device import Device
from groundup.evaluate.baselines import TRAINING_BYTES, baselines
from groundup.evaluate.bits import bits_per_byte
from groundup.evaluate.choice import choices
from groundup.evaluate.tasks import average, exact_match
from groundup.evaluate.texts import sample
from groundup.generate.engine import Engine
from groundup.generate.native.matrix import Weights
from groundup.recipe import EvaluatePart, Recipe, TasksSource

ANSWER_TOKENS = 256  # longest answer to a recipe's prompt

Table = dict[str, Any]
Advance = Callable[[int], None]


def evaluate(
    model: Path, recipe: Recipe, home: Path, documents: dict[str, Path], device: Device, advance: Advance, weights: Weights = "full"
) -> Table:
    """Measure the model in a folder by the recipe's `evaluate` part; the result's shape is above.

    `documents` names the folder of each source that the run used, with its `documents.parquet`; paths of the recipe start
    at `home`. `weights` are those of `Engine.load`; `advance` is told of texts, methods, tasks, choices and prompts done. Raises
    InputError for a model, documents or questions that cannot be used.
    """
    part = recipe.evaluate or EvaluatePart()
    engine = Engine.load(model, device, recipe.model.precision, weights)
    notes: list[str] = []
    table: Table = {"bits_per_byte": {}, "tasks": {}, "choice": {}}
    for suite in part.suites:
        match suite:
            case "bits-per-byte":
                table["bits_per_byte"] = _bits(engine, recipe, part, documents, notes, advance)
            case "tasks":
                table["tasks"] = _tasks(engine, recipe, part, notes, advance)
            case "choice":
                table["choice"] = _choice(engine, part, home, notes, advance)
    return table | {"prompts": _prompts(engine, part, advance), "notes": notes}


def _bits(engine: Engine, recipe: Recipe, part: EvaluatePart, documents: dict[str, Path], notes: list[str], advance: Advance) -> Table:
    table = {}
    for source in recipe.source:
        if source.holds != "text" or source.name not in documents:
            continue
        file = documents[source.name] / "documents.parquet"
        if texts := sample(file, heldout=True, limit=part.validation_megabytes * 1e6) if file.is_file() else []:
            training = sample(file, heldout=False, limit=TRAINING_BYTES) if part.baselines else []
            table[source.name] = _bits_of(engine, texts, training, advance)
        else:
            notes.append(f"source {source.name!r} has no held-out text, so no bits per byte; raise its heldout_share, or name it in a stage's mix")
    return table


def _bits_of(engine: Engine, texts: list[str], training: list[str], advance: Advance) -> Table:
    """One source; no training texts, no baselines."""
    return {
        "model": bits_per_byte(engine.trunk, engine.tokenizer, texts, advance).as_dict(),
        "baselines": {name: figure.as_dict() for name, figure in baselines(training, texts, advance).items()} if training else {},
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


def _choice(engine: Engine, part: EvaluatePart, home: Path, notes: list[str], advance: Advance) -> Table:
    if not part.choice:
        notes.append("the suite 'choice' has nothing to ask: evaluate.choice names no file")
    return {
        path: {subject: accuracy.as_dict() for subject, accuracy in choices(engine, (home / path).expanduser(), advance).items()}
        for path in part.choice
    }  # fmt: skip


def _prompts(engine: Engine, part: EvaluatePart, advance: Advance) -> list[dict[str, str]]:
    prompts = [chat.prompt(engine.tokenizer, [{"role": "user", "content": prompt}]) for prompt in part.prompts]
    answers = engine.complete(prompts, ANSWER_TOKENS, advance=advance)
    return [{"prompt": prompt, "answer": engine.tokenizer.decode(answer)} for prompt, answer in zip(part.prompts, answers, strict=True)]
