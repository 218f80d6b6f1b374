"""The report of a run: one HTML page, no external files or scripts, from manifests and logs; all text is escaped."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from groundup.config.derived import derivations
from groundup.config.recipe import Recipe
from groundup.core import units
from groundup.core.errors import InputError
from groundup.core.files import lines, write_text
from groundup.core.ledger import Manifest
from groundup.data.results import DocumentsResult
from groundup.evaluate.display import Cell, Display, Headline, Row, Table, join
from groundup.release import plots, tables
from groundup.release.lineage import EVALUATION, Lineage, lineage
from groundup.release.part import display
from groundup.release.picture import picture
from groundup.release.plots import Chart, Record
from groundup.train.result import TrainingResult

VERSION = 2  # raised when the same manifests and logs should give a new page
HERE = Path(__file__).parent
SAMPLES = 6  # steps of training whose samples are shown


@dataclass(frozen=True)
class ReportResult:
    """The result of the report: its page alone."""


@dataclass(frozen=True)
class Training:
    """A training stage on the page."""

    name: str
    charts: list[Chart]
    samples: Table


def write_report(root: Path, recipe: Recipe, out: Path) -> None:
    """Render the run in `root` to `out`, HTML. Raises InputError for a missing training manifest or unreadable log."""
    found = lineage(root / recipe.stage[-1].title)
    logs = {stage.stage: read_log(root / stage.stage / "metrics.jsonl") for stage in found.trainings}
    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )  # fmt: skip
    displays = [display(stage, root / stage.stage) for stage in _measured(found)]
    write_text(out, environment.get_template("report.html.jinja").render(_page(found, recipe, logs, displays)))


def read_log(path: Path) -> list[Record]:
    """The lines of a training log. Raises InputError when it is gone, or that names a line which is not JSON."""
    if not path.exists():
        raise InputError(f"{path}: no such log, but the report shows it; run the recipe again")
    records: list[Record] = []
    for number, text in enumerate(lines(path), 1):
        try:
            records.append(json.loads(text))
        except ValueError as error:
            raise InputError(f"{path}:{number}: not valid JSON ({error}); run the stage again") from error
    return records


def _page(found: Lineage, recipe: Recipe, logs: dict[str, list[Record]], displays: list[Display]) -> dict[str, Any]:
    """The variables of the template."""
    return {
        "name": recipe.name,
        "style": Markup((HERE / "report.css").read_text(encoding="utf-8")),
        "purpose": recipe.purpose,
        "lead": _lead(found, recipe.name),
        "headline": [*join(displays).headline, *_size(found), *_effort(found.timed)],
        "warnings": [
            *found.breaks,
            *(sentence for stage in found.sources for sentence in stage.result(DocumentsResult).warnings),
        ],
        "contents": [*(["Figures"] if displays else []), "Training", "Data", "Lineage", "Cost", "Environment"],
        "displays": displays,
        "stages": [Training(name, _charts(name, records), _samples(name, records)) for name, records in logs.items()],
        "training": [tables.training(found), tables.model(found)],
        "settings": _settings(recipe),
        "data": [tables.sources(found), tables.licences(found), tables.drops(found)],
        "examples": [sentence for stage in found.sources for sentence in stage.result(DocumentsResult).examples],
        "picture": picture(found),
        "digests": tables.digests(found.timed),
        "cost": tables.cost(found.timed),
        "environment": tables.environment(found.timed),
    }


def _measured(found: Lineage) -> list[Manifest]:
    """The stages that measured the model: applications first, then the evaluation."""
    return sorted(found.measured, key=lambda stage: stage.stage == EVALUATION)


# --- the header ------------------------------------------------------------------------------------------------


def _lead(found: Lineage, name: str) -> str:
    model = found.trainings[-1]
    total = units.short(sum(model.result(TrainingResult).parameters.values()))
    sources = units.listed([stage.part["name"] for stage in found.sources])
    before = found.weights.origin if found.base is None and found.weights is not None else None
    before = found.base.model.stage if found.base is not None else before
    start = "" if before is None else f" and the weights of {before}"
    stages = ", then ".join(stage.stage for stage in found.trainings)
    return (
        f"{name} is a {tables.kind(found)} of {total} parameters, grown from {sources}{start} by {stages}, on"
        f" {model.device.get('name', 'an unnamed device')}."
    )


def _size(found: Lineage) -> list[Headline]:
    model = found.trainings[-1]
    tokens = [stage.result(TrainingResult).tokens for stage in found.trainings]
    shape = model.part["model"]
    total = units.short(sum(model.result(TrainingResult).parameters.values()))
    return [
        Headline("Parameters", total, f"depth {shape['depth']}, context {shape['context']}"),
        Headline("Tokens trained on", units.short(sum(tokens)), " + ".join(map(units.short, tokens))),
    ]


def _effort(stages: Sequence[Manifest]) -> list[Headline]:
    energy = [stage.joules for stage in stages]
    spent = (
        "energy not measured"
        if None in energy
        else units.energy(sum(amount for amount in energy if amount is not None))
    )
    return [Headline("Time, all stages", units.duration(sum(stage.seconds for stage in stages)), spent)]


# --- training --------------------------------------------------------------------------------------------------


def _charts(stage: str, records: list[Record]) -> list[Chart]:
    return [plots.loss(stage, records), plots.speed(stage, records)] if records else []


def _samples(stage: str, records: list[Record]) -> Table:
    """Samples of a few steps, spread evenly, grouped by prompt."""
    moments = [record for record in records if record.get("samples")]
    kept = moments[:: -(-len(moments) // SAMPLES) or 1]
    prompts = dict.fromkeys(sample["prompt"] for record in kept for sample in record["samples"])
    rows: list[Row] = [
        [Cell(prompt, verbatim=True), f"{record['step']:,}", Cell(sample["text"], verbatim=True)]
        for prompt in prompts
        for record in kept
        for sample in record["samples"]
        if sample["prompt"] == prompt
    ]
    return Table(f"Samples during {stage}", ("prompt", ">step", "text"), rows)


def _settings(recipe: Recipe) -> Table:
    rows = [[setting.key, _value(setting.value), setting.origin, setting.reason] for setting in derivations(recipe)]
    return Table("Settings of model and stages", ("setting", ">value", "origin", "reason"), rows)


def _value(value: float) -> str:
    return f"{value:,.4g}" if isinstance(value, float) else f"{value:,}"
