"""The tables of a report and of a model card: the same rows for the page and for Markdown, all from the manifests."""

from collections.abc import Iterable

from groundup.config.source import SourceConfig
from groundup.core import units
from groundup.core.ledger import Manifest
from groundup.core.tables import SOURCES
from groundup.data.results import DocumentsResult
from groundup.evaluate.display import Cell, Row, Table
from groundup.release.lineage import UNSTATED, Lineage
from groundup.train.result import TrainingResult

# --- data ----------------------------------------------------------------------------------------------------


def sources(found: Lineage) -> Table:
    """The sources, a row each."""
    rows: list[Row] = []
    totals = [0] * 5
    for stage in found.sources:
        result, licence = stage.result(DocumentsResult), ", ".join(stage.licences)
        counts = [
            len(stage.inputs),
            result.documents,
            result.heldout,
            result.characters,
            sum(result.dropped.values()),
        ]
        totals = [total + count for total, count in zip(totals, counts, strict=True)]
        rows.append(
            [stage.part["name"], stage.part["kind"], Cell(licence, UNSTATED in licence), *map(units.number, counts)]
        )
    columns = ("source", "kind", "licence", ">files", ">documents", ">held out", ">characters", ">filtered")
    return Table(
        "Sources, with documents kept and filtered",
        columns,
        rows,
        ["total", "", "", *map(units.number, totals)],
    )


def licences(found: Lineage) -> Table:
    """Documents by licence."""
    rows: list[Row] = [[Cell(name, UNSTATED in name), f"{count:,}"] for name, count in found.licences.items()]
    return Table("Documents by licence", ("licence", ">documents"), rows)


def drops(found: Lineage) -> Table:
    """Filtered documents, a row a source and reason."""
    rows = [
        [stage.part["name"], reason, f"{count:,}"]
        for stage in found.sources
        for reason, count in stage.result(DocumentsResult).dropped.items()
    ]
    return Table("Filtered documents, by reason", ("source", "reason", ">documents"), rows)


# --- training ------------------------------------------------------------------------------------------------


def model(found: Lineage) -> Table:
    """Parameters by group."""
    groups = found.trainings[-1].result(TrainingResult).parameters
    rows = [[name, f"{count:,}"] for name, count in groups.items() if count]
    return Table("Parameters by group", ("group", ">parameters"), rows, ["total", f"{sum(groups.values()):,}"])


def kind(found: Lineage) -> str:
    """The kind of model by its input: a language model, a vision model, or a multimodal model."""
    if not found.trainings[-1].part["model"].get("patch"):
        return "language model"
    kinds = [SOURCES[name] for stage in found.sources if (name := stage.part["kind"]) in SOURCES]
    others = any(issubclass(kind, SourceConfig) and kind.holds != "images" for kind in kinds)
    return "multimodal model" if others else "vision model"


def training(found: Lineage) -> Table:
    """How the model was trained, a row a stage."""
    rows = []
    for stage in found.trainings:
        part, schedule, result = stage.part["stage"], stage.part["schedule"], stage.result(TrainingResult)
        mix = ", ".join(f"{source} {weight:g}" for source, weight in part["mix"].items())
        rates = [f"{schedule[key]:.2g}" for key in ("muon_lr", "adamw_lr")]
        counts = [f"{result.tokens:,}", f"{result.steps:,}", f"{schedule['batch_tokens']:,}"]
        rows.append(
            [
                stage.stage,
                part["do"],
                mix,
                *counts,
                *rates,
                units.number(result.loss, 3),
                _heldout(result),
            ]
        )
    columns = (
        "stage",
        "objective",
        "mix",
        ">tokens",
        ">steps",
        ">tokens a step",
        ">Muon rate",
        ">AdamW rate",
        ">last loss",
        "held-out loss",
    )
    return Table("Training, losses in nats a token, or a pair of answers", columns, rows)


def _heldout(result: TrainingResult) -> str:
    """The held-out loss of each source, and the figures beside it."""
    figures = {
        source: "".join(f", {name} {value:.3f}" for name, value in of_source.items())
        for source, of_source in result.heldout_figures.items()
    }
    return ", ".join(f"{name} {loss:.3f}{figures.get(name, '')}" for name, loss in result.heldout.items()) or units.NONE


# --- cost and environment --------------------------------------------------------------------------------------


def cost(stages: Iterable[Manifest]) -> Table:
    """The cost of each stage. Memory is the peak of training without the program itself."""
    stages = list(stages)
    rows = [[stage.stage, *_effort(stage), *_work(stage), units.energy(stage.joules)] for stage in stages]
    energy = [stage.joules for stage in stages]
    trainings = [stage.result(TrainingResult) for stage in stages if stage.flops]
    tokens = sum(training.tokens for training in trainings)
    memory = [
        max((training.predicted_memory for training in trainings), default=0),
        max((training.peak_memory for training in trainings), default=0),
    ]
    foot = [
        "total",
        units.duration(sum(stage.seconds for stage in stages)),
        units.flops(sum(stage.flops for stage in stages)),
        units.short(tokens) if tokens else units.NONE,
        "",
        *(units.size(amount) if amount else units.NONE for amount in memory),
        units.energy(None if None in energy else sum(amount for amount in energy if amount is not None)),
    ]
    columns = (
        "stage",
        ">time",
        ">operations",
        ">tokens",
        ">tokens a second",
        ">memory predicted",
        ">memory used",
        ">energy",
    )
    return Table("Cost of each stage; memory at its peak, not summed", columns, rows, foot)


def _effort(stage: Manifest) -> list[str]:
    return [units.duration(stage.seconds), units.flops(stage.flops)]


def _work(stage: Manifest) -> list[str]:
    if not stage.flops:
        return [units.NONE] * 4
    training = stage.result(TrainingResult)
    speed = f"{units.number(training.tokens_per_second)} ({units.percent(training.share_of_peak, 0)} of peak)"
    return [
        units.short(training.tokens),
        speed,
        units.size(training.predicted_memory),
        units.size(training.peak_memory),
    ]


def environment(stages: Iterable[Manifest]) -> Table:
    """Devices and versions; if stages differ, all of them."""
    seen: dict[str, list[str]] = {}
    for stage in stages:
        described = {
            "device": stage.device.get("name"),
            "kind of device": stage.device.get("kind"),
            "processes": stage.device.get("processes"),
        }
        for name, value in (described | stage.libraries | {"seed": stage.seed}).items():
            if value is not None and str(value) not in seen.setdefault(name, []):
                seen[name].append(str(value))
    return Table(
        "Device, versions and seed",
        ("what", "value"),
        [[name, ", ".join(values)] for name, values in seen.items() if values],
    )


def digests(stages: Iterable[Manifest]) -> Table:
    """The chain: the digest of each stage, and its parents."""
    rows = [
        [
            stage.stage,
            stage.digest[:16],
            stage.record[:16],
            ", ".join(stage.parents) or units.NONE,
            stage.code[:8],
            stage.finished,
        ]
        for stage in stages
    ]
    return Table("The chain of manifests", ("stage", "digest", "record", "made from", "code", ">finished"), rows)
