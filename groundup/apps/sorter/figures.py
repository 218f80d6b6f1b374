"""Figures of a work shift, counted from what happened to each item in the simulator (the ground truth), and the
calibration of a model's scores.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from groundup.apps.robotics.robot import Pixels
from groundup.apps.sorter.model_client import ModelClient
from groundup.apps.sorter.policy import Destination
from groundup.apps.sorter.simulator.camera import VisibleItem
from groundup.apps.sorter.simulator.line import MANUAL, Event
from groundup.codecs.detections import Detection, box_iou
from groundup.evaluate import calibration
from groundup.evaluate.calibration import Reliability
from groundup.evaluate.figure import Figure, proportion

MIN_IOU = 0.5  # of a detection that matches an item


@dataclass
class Tally:
    """Counts of items by outcome. At all times arrived = sorted + manual + passed + items in `on`; each item counts
    once.
    """

    arrived: int = 0
    picked: int = 0
    slipped: int = 0  # picks at which suction did not hold
    dropped: int = 0  # items that fell on the way
    sorted: int = 0  # items in bins, without the one for manual sorting
    right: int = 0  # of these, in the bin of the policy
    manual: int = 0
    passed: int = 0
    sortable: int = 0  # items that left the line and for which the policy has a bin
    on: dict[int, Destination | None] = field(
        default_factory=dict
    )  # by number: its destination when it was last picked

    def add(self, event: Event, destinations: Mapping[str, Destination]) -> None:
        """Count an event under the policy's `destinations`. The right destination of an item is that at the time when
        it was picked, or passed.

        Raises KeyError if an item leaves that never arrived, or leaves twice.
        """
        wanted = destinations.get(event.kind, "manual")
        match event.what:
            case "spawned":
                self.arrived += 1
                self.on[event.number] = None
            case "picked":
                self.picked += 1
                self.on[event.number] = wanted
            case "slipped":
                self.slipped += 1
            case "dropped":
                self.dropped += 1
            case "binned" | "passed":
                wanted = self.on.pop(event.number) or wanted
                self.sortable += isinstance(wanted, int)
                self.passed += event.what == "passed"
                self.manual += event.bin == MANUAL
                self.sorted += event.what == "binned" and event.bin != MANUAL
                self.right += event.what == "binned" and event.bin == wanted

    @property
    def left(self) -> int:
        """Items that are no longer on the line."""
        return self.sorted + self.manual + self.passed

    def purity(self) -> Figure | None:
        """Fraction of the sorted items that lie in the right bin; None before the first."""
        return proportion(self.right, self.sorted) if self.sorted else None

    def recovery(self) -> Figure | None:
        """Fraction of the sortable items that reached their bin; None before the first."""
        return proportion(self.right, self.sortable) if self.sortable else None

    def as_dict(self, seconds: float) -> dict[str, Any]:
        """Counts and figures after so many simulated seconds. Only picks that ended in a bin count as picks."""
        counts = {name: value for name, value in vars(self).items() if name != "on"}
        rates = {
            name: made and made.as_dict() for name, made in (("purity", self.purity()), ("recovery", self.recovery()))
        }
        return {
            "seconds": seconds,
            "picks_a_minute": 60 * (self.sorted + self.manual) / max(seconds, 1e-9),
            **rates,
            **counts,
            "on": len(self.on),
        }


def latency(seconds: Sequence[float]) -> dict[str, float]:
    """Median and 95th percentile of the time for an image in ms, and images a second; empty for none."""
    if not seconds:
        return {}
    middle, slow = (1000 * float(np.percentile(seconds, rank)) for rank in (50, 95))
    return {"p50": middle, "p95": slow, "frames_a_second": len(seconds) / sum(seconds)}


def reliability(client: ModelClient, pictures: Iterable[tuple[Pixels, list[VisibleItem]]]) -> Reliability:
    """The calibration of a model on images with ground truth. A detection is right if it matches an item of its class
    that no other detection matches.
    """
    return calibration.reliability(
        [pair for picture, truth in pictures for pair in _judged(client.detect(picture), truth, len(picture))]
    )


def _judged(detections: Iterable[Detection], truth: Sequence[VisibleItem], side: int) -> list[tuple[float, bool]]:
    open_, pairs = [each for each in truth if each.visible > 0], []
    for detection in detections:
        boxes = np.array([each.box for each in open_], np.float32).reshape(-1, 4) / np.float32(side)
        near = box_iou(np.array(detection.box, np.float32), boxes)
        hits = [
            place for place in np.argsort(-near) if near[place] >= MIN_IOU and open_[place].kind == detection.class_name
        ]
        if hits:
            open_.pop(int(hits[0]))
        pairs.append((detection.score, bool(hits)))
    return pairs


def lines(figures: Mapping[str, Any]) -> list[str]:
    """The figures of a shift as text, a line each."""
    count = "in {arrived} = sorted {sorted} + by hand {manual} + passed {passed} + on the line {on}".format(**figures)
    rows = {
        "line": "simulated",
        "picks a minute": f"{figures['picks_a_minute']:.1f} over {figures['seconds']:.0f} s",
        "purity": _interval(figures["purity"]),
        "recovery": _interval(figures["recovery"]),
        "items": count,
        "picks": "{picked}, {slipped} slipped, {dropped} dropped".format(**figures),
        "simulator": f"{figures['steps_a_second']:.0f} periods a second",
    }
    if "orders" in figures:
        rows["orders"] = f"understood by {figures['orders']}"
    if model := figures["brain"]:
        rows["model"] = "{p50:.0f} ms an image, p95 {p95:.0f} ms, {frames_a_second:.1f} images/s; ".format(**model)
        rows["model"] += f"{model['budget']:.0%} of its latency budget, at p95"
    return [f"{name:<16} {text}" for name, text in rows.items()]


def _interval(figure: Mapping[str, Any] | None) -> str:
    return "{value:.1%} [{low:.1%}, {high:.1%}] of {n}".format(**figure) if figure else "nothing yet"
