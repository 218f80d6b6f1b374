"""What a shift came to, counted from what truly happened to each item, and how far a brain's probabilities can be
believed.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from groundup.apps.robotics.robot import Pixels
from groundup.apps.sorter.model_client import ModelClient
from groundup.apps.sorter.policy import Place
from groundup.apps.sorter.simulator.camera import Seen
from groundup.apps.sorter.simulator.line import MANUAL, Event
from groundup.codecs.boxes import Detection, overlaps
from groundup.evaluate.figure import Figure, proportion

STEPS = 10  # of probability, in a table of reliability
SAME = 0.5  # intersection over union from which a box is that of a thing


@dataclass
class Tally:
    """What became of the items. At all times arrived = sorted + manual + passed + those in `on`, and each is in one of
    them.
    """

    arrived: int = 0
    picked: int = 0
    slipped: int = 0  # picks at which suction did not hold
    dropped: int = 0  # items that fell on the way
    sorted: int = 0  # items in bins, but for that for people
    right: int = 0  # of these, in the bin that the policy says
    manual: int = 0
    passed: int = 0
    sortable: int = 0  # items that left the line and that the policy has a bin for
    on: dict[int, Place | None] = field(default_factory=dict)  # by number: where it belonged when it was last picked

    def take(self, event: Event, places: Mapping[str, Place]) -> None:
        """One event more, under the policy's `places`. An item belongs where the policy said when it was picked, else
        when it passed.

        Raises KeyError where an item leaves that never came, or twice.
        """
        wanted = places.get(event.kind, "manual")
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
        """Share of what lies in bins that lies in the right one; None while they are empty."""
        return proportion(self.right, self.sorted) if self.sorted else None

    def recovery(self) -> Figure | None:
        """Share of what the policy has a bin for that reached it; None before the first."""
        return proportion(self.right, self.sortable) if self.sortable else None

    def as_dict(self, seconds: float) -> dict[str, Any]:
        """Counts and figures after so much of the line's time. A pick is one that ended in a bin."""
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
    """Median and 95th percentile of the time for a picture in ms, and pictures a second; nothing for none."""
    if not seconds:
        return {}
    middle, slow = (1000 * float(np.percentile(seconds, share)) for share in (50, 95))
    return {"p50": middle, "p95": slow, "frames_a_second": len(seconds) / sum(seconds)}


class Reliability(NamedTuple):
    """How often the brain is right beside how sure it was: mean probability, share that is right and cases of each step
    of probability that has any; and the expected calibration error (Naeini et al. 2015), the mean distance between the
    two over all cases.
    """

    steps: list[tuple[float, float, int]]
    error: float
    cases: int


def reliability(brain: ModelClient, pictures: Iterable[tuple[Pixels, list[Seen]]]) -> Reliability:
    """Ask a brain about pictures whose truth is known. A thing is right where one of its kind lies, found only once."""
    pairs = [pair for picture, truth in pictures for pair in _judged(brain.look(picture), truth, len(picture))]
    return calibration(np.array(pairs, float).reshape(-1, 2))


def calibration(pairs: "np.ndarray[Any, np.dtype[np.float64]]") -> Reliability:
    """From probabilities and whether each was right, [N, 2]."""
    places = np.minimum((pairs[:, 0] * STEPS).astype(int), STEPS - 1)
    groups = [pairs[places == step] for step in range(STEPS)]
    steps = [(float(each[:, 0].mean()), float(each[:, 1].mean()), len(each)) for each in groups if len(each)]
    error = sum(abs(sure - right) * count for sure, right, count in steps) / max(len(pairs), 1)
    return Reliability(steps, error, len(pairs))


def _judged(things: Iterable[Detection], truth: Sequence[Seen], side: int) -> list[tuple[float, bool]]:
    open_, pairs = [each for each in truth if each.visible > 0], []
    for thing in things:
        boxes = np.array([each.box for each in open_], np.float32).reshape(-1, 4) / np.float32(side)
        near = overlaps(np.array(thing.box, np.float32), boxes)
        hits = [place for place in np.argsort(-near) if near[place] >= SAME and open_[place].kind == thing.kind]
        if hits:
            open_.pop(int(hits[0]))
        pairs.append((thing.score, bool(hits)))
    return pairs


def lines(figures: Mapping[str, Any]) -> list[str]:
    """A shift's figures for people to read, a line each."""
    count = "in {arrived} = sorted {sorted} + by hand {manual} + passed {passed} + on the line {on}".format(**figures)
    rows = {
        "picks a minute": f"{figures['picks_a_minute']:.1f} over {figures['seconds']:.0f} s",
        "purity": _share(figures["purity"]),
        "recovery": _share(figures["recovery"]),
        "items": count,
        "picks": "{picked}, {slipped} slipped, {dropped} dropped".format(**figures),
        "simulator": f"{figures['steps_a_second']:.0f} periods a second",
    }
    if brain := figures["brain"]:
        rows["brain"] = "{p50:.0f} ms a picture, p95 {p95:.0f} ms, {frames_a_second:.1f} pictures/s; ".format(**brain)
        rows["brain"] += f"{brain['budget']:.0%} of the time it has, at p95"
    return [f"{name:<16} {text}" for name, text in rows.items()]


def _share(figure: Mapping[str, Any] | None) -> str:
    return "{value:.1%} [{low:.1%}, {high:.1%}] of {n}".format(**figure) if figure else "nothing yet"
