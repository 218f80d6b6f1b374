"""What lies on the belt, put together from what single pictures show: places, kinds and how sure they are.

Places ride on the belt: `u` is a place along it less the belt's travel, so what lies still keeps its u. Metres throughout.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment

from groundup.codecs.boxes import Thing, overlaps

SAME = 0.05  # metres: farther apart are two things
EDGE = 0.02  # share of the picture: what touches its first or last columns is not seen whole
LEAST = 0.15  # probability: fainter things are noise
MISSES = 3  # pictures in a row that may not show a thing which they should
SETTLING = 0.3  # least weight of the newest picture in a thing's place: what rolls is followed


class Window(NamedTuple):
    """The square of the belt that a picture shows, columns along the belt (x), rows across it (towards -y)."""

    x: float  # of its middle
    side: float

    def place(self, box: tuple[float, float, float, float]) -> tuple[float, float]:
        """x and y of a box's middle; the box in shares of the picture."""
        left, top, right, bottom = box
        return self.x + ((left + right) / 2 - 0.5) * self.side, (0.5 - (top + bottom) / 2) * self.side


class Found(NamedTuple):
    """One thing of one picture: where, and the probability of each kind that it may be."""

    u: float
    y: float
    shares: dict[str, float]


@dataclass
class Track:
    """One thing on the belt."""

    number: int
    u: float
    y: float
    looks: int = 1
    missed: int = 0
    tries: int = 0  # picks that did not hold
    shares: dict[str, float] = field(default_factory=dict)  # summed over the looks

    @property
    def kind(self) -> tuple[str, float]:
        """The likeliest kind, and its mean probability over the pictures that showed the thing."""
        name = max(self.shares, key=lambda each: self.shares[each])
        return name, self.shares[name] / self.looks

    def take(self, found: Found) -> None:
        """One more look at it."""
        self.looks, self.missed = self.looks + 1, 0
        weight = max(1 / self.looks, SETTLING)
        self.u += weight * (found.u - self.u)
        self.y += weight * (found.y - self.y)
        for kind, share in found.shares.items():
            self.shares[kind] = self.shares.get(kind, 0.0) + share


class Tracks:
    """All that is known to lie on the belt, by number."""

    def __init__(self, window: Window):
        self.window, self.known = window, dict[int, Track]()
        self._count = 0

    def see(self, things: Sequence[Thing], travel: float) -> None:
        """Take in what a picture showed that was made when the belt had run `travel`."""
        found = self._found(things, travel)
        shown = [track for track in self.known.values() if self._inside(track.u + travel)]
        away = np.array([[np.hypot(track.u - each.u, track.y - each.y) for each in found] for track in shown]).reshape(len(shown), len(found))
        matches = zip(*linear_sum_assignment(np.minimum(away, SAME)), strict=True)
        pairs = [(shown[row], found[column]) for row, column in matches if away[row, column] < SAME]
        for track, each in pairs:
            track.take(each)
        known, new = {track.number for track, _ in pairs}, {id(each) for _, each in pairs}
        for track in shown:
            if track.number not in known:
                track.missed += 1
                if track.missed >= MISSES or track.looks <= track.missed:
                    self.forget(track)
        for each in found:
            if id(each) not in new and self._inside(each.u + travel):
                self.known[self._count] = Track(self._count, each.u, each.y, shares=each.shares)
                self._count += 1

    def forget(self, track: Track) -> None:
        """It is no longer on the belt, or never was."""
        self.known.pop(track.number, None)

    def leave(self, x: float, travel: float) -> None:
        """Forget what has gone beyond x."""
        for track in [track for track in self.known.values() if track.u + travel > x]:
            self.forget(track)

    def _inside(self, x: float) -> bool:
        return abs(x - self.window.x) < self.window.side * (0.5 - 2 * EDGE)

    def _found(self, things: Sequence[Thing], travel: float) -> list[Found]:
        """Things that are seen whole; those of several kinds in one place are one thing that may be either."""
        groups: list[tuple[Thing, dict[str, float]]] = []
        for thing in sorted(things, key=lambda each: -each.score):
            if thing.score < LEAST or thing.box[0] < EDGE or thing.box[2] > 1 - EDGE:
                continue
            boxes = np.array([first.box for first, _ in groups], np.float32).reshape(-1, 4)
            same = np.flatnonzero(overlaps(np.array(thing.box, np.float32), boxes) > 0.5)
            if len(same):
                groups[same[0]][1].setdefault(thing.kind, thing.score)
            else:
                groups.append((thing, {thing.kind: thing.score}))
        places = [(self.window.place(first.box), shares) for first, shares in groups]
        return [Found(x - travel, y, shares) for (x, y), shares in places]
