"""The tables of a report and of a model card: the same rows for the page and for Markdown, all from the manifests."""

from collections.abc import Iterable
from typing import Any

from groundup.core import units
from groundup.core.ledger import Manifest
from groundup.evaluate.display import Cell, Row, Table
from groundup.release.lineage import UNSTATED, Lineage

# --- data ----------------------------------------------------------------------------------------------------


def sources(found: Lineage) -> Table:
    """What went in, a row a source."""
    rows: list[Row] = []
    totals = [0] * 5
    for stage in found.sources:
        metrics, licence = stage.metrics, ", ".join(stage.licences)
        counts = [
            len(stage.inputs),
            metrics["documents"],
            metrics["heldout"],
            metrics["characters"],
            sum(metrics["dropped"].values()),
        ]
        totals = [total + count for total, count in zip(totals, counts, strict=True)]
        rows.append(
            [stage.part["name"], stage.part["kind"], Cell(licence, UNSTATED in licence), *map(units.number, counts)]
        )
    columns = ("source", "kind", "licence", ">files", ">documents", ">held out", ">characters", ">dropped")
    return Table(
        "Sources, with what was kept and what was dropped",
        columns,
        rows,
        ["together", "", "", *map(units.number, totals)],
    )


def licences(found: Lineage) -> Table:
    """Documents by licence."""
    rows: list[Row] = [[Cell(name, UNSTATED in name), f"{count:,}"] for name, count in found.licences.items()]
    return Table("Documents by licence", ("licence", ">documents"), rows)


def drops(found: Lineage) -> Table:
    """What was left out, a row a source and reason."""
    rows = [
        [stage.part["name"], reason, f"{count:,}"]
        for stage in found.sources
        for reason, count in stage.metrics["dropped"].items()
    ]
    return Table("Documents dropped", ("source", "reason", ">documents"), rows)


# --- training ------------------------------------------------------------------------------------------------


def model(found: Lineage) -> Table:
    """Parameters by group."""
    groups = found.trainings[-1].metrics["parameters"]
    rows = [[name, f"{count:,}"] for name, count in groups.items() if count]
    return Table("Parameters by group", ("group", ">parameters"), rows, ["together", f"{sum(groups.values()):,}"])


def training(found: Lineage) -> Table:
    """How the model was trained, a row a stage."""
    rows = []
    for stage in found.trainings:
        part, schedule, metrics = stage.part["stage"], stage.part["schedule"], stage.metrics
        mix = ", ".join(f"{source} {weight:g}" for source, weight in part["mix"].items())
        rates = [f"{schedule[key]:.2g}" for key in ("muon_lr", "adamw_lr")]
        counts = [f"{metrics['tokens']:,}", f"{metrics['steps']:,}", f"{schedule['batch_tokens']:,}"]
        rows.append(
            [
                stage.stage,
                part["do"],
                mix,
                *counts,
                *rates,
                units.number(metrics["loss"], 3),
                _heldout(metrics["heldout"]),
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
    return Table("Training, losses in nats a token", columns, rows)


def _heldout(losses: dict[str, float]) -> str:
    return ", ".join(f"{source} {loss:.3f}" for source, loss in losses.items()) or units.NONE


# --- cost and surroundings -------------------------------------------------------------------------------------


def cost(stages: Iterable[Manifest]) -> Table:
    """What each stage took. Memory is what training added to the program at its peak."""
    stages = list(stages)
    rows = [[stage.stage, *_effort(stage), *_work(stage.metrics), units.energy(stage.joules)] for stage in stages]
    energy = [stage.joules for stage in stages]
    tokens = sum(stage.metrics["tokens"] for stage in stages if stage.flops)
    memory = [
        max((stage.metrics.get(key, 0) for stage in stages), default=0) for key in ("predicted_memory", "peak_memory")
    ]
    foot = [
        "together",
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


def _work(metrics: dict[str, Any]) -> list[str]:
    if "tokens_per_second" not in metrics:
        return [units.NONE] * 4
    speed = f"{units.number(metrics['tokens_per_second'])} ({units.percent(metrics['share_of_peak'], 0)} of peak)"
    return [
        units.short(metrics["tokens"]),
        speed,
        units.size(metrics["predicted_memory"]),
        units.size(metrics["peak_memory"]),
    ]


def environment(stages: Iterable[Manifest]) -> Table:
    """Devices and versions; where stages differ, all that were used."""
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
    """The chain: what each stage is, and what it was made from."""
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
