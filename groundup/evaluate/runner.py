"""Run the suites that a recipe chooses on a model; their results together are an evaluation."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from groundup.codecs import chat
from groundup.config.evaluation import EvaluatePart
from groundup.config.recipe import Recipe
from groundup.core.ledger import figures, result_of
from groundup.core.tables import SUITES
from groundup.data.source import sources
from groundup.device import Device
from groundup.evaluate.display import Display, join
from groundup.evaluate.suite import Advance, Suite, SuiteInputs
from groundup.generate.engine import Engine
from groundup.kernels.cpu.matrix import Weights

VERSION = 1  # raised when a suite of the same version gives other figures of the same model
ANSWER_TOKENS = 256  # longest answer to a recipe's prompt


@dataclass(frozen=True)
class Answer:
    """A prompt of the recipe and the model's answer."""

    prompt: str
    answer: str


@dataclass(frozen=True)
class Evaluation:
    """Suite results by name (in JSON all fields side by side), answers to prompts, notes on missing measurements."""

    results: Mapping[str, Any]
    prompts: list[Answer]
    notes: list[str]

    def as_json(self) -> dict[str, Any]:
        """The evaluation as JSON."""
        table: dict[str, Any] = {}
        for name, suite in SUITES.items():
            table |= figures(self.results.get(name, suite.result()))
        return table | {"prompts": [asdict(each) for each in self.prompts], "notes": self.notes}

    @staticmethod
    def from_json(table: Mapping[str, Any]) -> "Evaluation":
        """An evaluation from JSON. Raises InputError for fields of another type."""
        results: dict[str, Any] = {name: result_of(suite.result, table) for name, suite in SUITES.items()}
        prompts = [Answer(**each) for each in table.get("prompts", [])]
        return Evaluation(results, prompts, list(table.get("notes", [])))

    def display(self) -> Display:
        """The displays of all suites, and the answers."""
        answers = [(each.prompt, each.answer) for each in self.prompts]
        suites = (SUITES[name].display(result) for name, result in self.results.items())
        return join([*suites, Display(answers=answers, notes=self.notes)])


def evaluate(
    model: Path,
    recipe: Recipe,
    home: Path,
    documents: Mapping[str, Path],
    device: Device,
    advance: Advance,
    weights: Weights = "full",
) -> Evaluation:
    """Measure the model in a folder by the suites of the recipe's `evaluate` part.

    `documents` has the folder of each source; recipe paths start at `home`; `weights` is that of `Engine.load`. Raises
    InputError for an unusable model, documents or questions.
    """
    engine = Engine.load(model, device, recipe.model.precision, weights)
    notes: list[str] = []
    options = recipe.evaluate or EvaluatePart()
    return _evaluate(SuiteInputs(engine, sources(recipe), options, home, documents, advance, notes.append), notes)


def evaluate_files(
    model: Path, options: EvaluatePart, device: Device, advance: Advance, weights: Weights = "full"
) -> Evaluation:
    """Measure the model in a folder on the files of `options` alone; it needs no recipe. Raises as `evaluate`."""
    notes: list[str] = []
    engine = Engine.load(model, device, weights=weights)
    return _evaluate(SuiteInputs(engine, (), options, Path(), {}, advance, notes.append), notes)


def _evaluate(inputs: SuiteInputs, notes: list[str]) -> Evaluation:
    options = inputs.options
    results: dict[str, Any] = {name: _measure(name, SUITES[name], inputs, notes) for name in options.suites}
    return Evaluation(results, _answers(inputs.engine, options.prompts, inputs.advance), notes)


def _measure(name: str, suite: Suite[Any], inputs: SuiteInputs, notes: list[str]) -> Any:
    """Run a suite and return its result; adds a note if it measured nothing."""
    noted, nothing = len(notes), suite.result()
    reason = suite.missing
    if suite.image_inputs and not inputs.engine.config.patch:
        reason, result = "the model takes no images", nothing
    else:
        result = suite.measure(inputs)
    if result == nothing and len(notes) == noted:
        inputs.note(f"the suite {name!r} has nothing to measure: {reason}")
    return result


def _answers(engine: Engine, prompts: tuple[str, ...], advance: Advance) -> list[Answer]:
    ids = [chat.prompt(engine.tokenizer, [{"role": "user", "content": prompt}]) for prompt in prompts]
    completed = engine.complete(ids, ANSWER_TOKENS, advance=advance)
    return [Answer(prompt, engine.tokenizer.decode(answer)) for prompt, answer in zip(prompts, completed, strict=True)]
