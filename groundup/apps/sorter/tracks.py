"""What lies on the belt, put together from what single pictures show: places, kinds and how sure they are.

Places ride on the belt: `u` is a place along it less the belt's travel, so what lies still keeps its u. Metres
throughout.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment

from groundup.codecs.boxes import Detection, overlaps

SAME = 0.05  # metres: farther apart are two things
EDGE = 0.02  # share of the picture: what touches its first or last columns is not seen whole
LEAST = 0.15  # probability: fainter things are noise
FAINT, ALIKE = (
    0.05,
    0.35,
)  # probability of a kind that a look does not name; share of what a look says that another one says again
NEITHER = ""  # that it is none of the kinds that were seen in it
OTHER = 0.5  # share of what is missing to one that says so, and not that nothing is there
MISSES = 3  # pictures in a row that may not show a thing which they should
MEMORY = 6  # last pictures that a thing's place and motion come from
FADE = 1.0  # seconds in which what rolls loses most of its speed
STILL, PARALLAX = (
    0.012,
    0.03,
)  # m/s across and along the belt: what seems to move more slowly lies still; what is tall seems to move along
TALL = 0.03  # metres over the belt at which things are seen, on the whole


class Window(NamedTuple):
    """The square of the belt that a picture shows, columns along the belt (x), rows across it (towards -y)."""

    x: float  # of its middle
    side: float
    height: float  # of the camera over the belt

    def place(self, box: tuple[float, float, float, float]) -> tuple[float, float]:
        """x and y of the middle of a thing in a box, which is nearer to the camera than the belt is; the box in shares
        of the picture.
        """
        left, top, right, bottom = box
        side = self.side * (1 - TALL / self.height)
        return self.x + ((left + right) / 2 - 0.5) * side, (0.5 - (top + bottom) / 2) * side


class Found(NamedTuple):
    """One thing of one picture: where, how far it reaches along the belt from its middle, and the probability of each
    kind that it may be.
    """

    u: float
    y: float
    half: float
    shares: dict[str, float]


@dataclass
class Track:
    """One thing on the belt, as it lay at a `time` (seconds)."""

    number: int
    time: float
    u: float
    y: float
    half: float  # metres that it reaches along the belt from its middle
    pace: tuple[float, float] = (0.0, 0.0)  # m/s on the belt, where it rolls
    looks: int = 1
    missed: int = 0
    tries: int = 0  # picks that did not hold
    evidence: dict[str, float] = field(
        default_factory=dict
    )  # of each kind, and of `NEITHER`: logarithms of probabilities over `FAINT`, summed

    @property
    def chances(self) -> dict[str, float]:
        """The probability of each kind after all pictures that showed the thing; what is missing to one is that it is
        none of them.

        Looks at one thing are alike: n of them weigh as much as n / (1 + (n - 1) `ALIKE`) that are independent.
        """
        weight = 1 / (1 + (self.looks - 1) * ALIKE)
        chances = {kind: math.exp(weight * each) for kind, each in self.evidence.items()}
        return {kind: each / sum(chances.values()) for kind, each in chances.items() if kind != NEITHER}

    def weigh(self, shares: dict[str, float]) -> None:
        """Take in the probabilities of one look."""
        rest = OTHER * max(1 - sum(shares.values()), 0.0)
        for kind, share in (*shares.items(), (NEITHER, rest)):
            self.evidence[kind] = self.evidence.get(kind, 0.0) + math.log(max(share, FAINT) / FAINT)

    def at(self, time: float) -> tuple[float, float]:
        """u and y at a later time: what lies stays, what rolls slows down. After a try that did not hold the other of
        the two is assumed.
        """
        rolls = abs(self.pace[0]) > PARALLAX or abs(self.pace[1]) > STILL
        return self._rolled(time) if rolls != (self.tries % 2 == 1) else (self.u, self.y)

    def take(self, found: Found, time: float) -> None:
        """One more look at it: place and pace by an alpha-beta filter, with the weights of least squares over the last
        `MEMORY` looks.
        """
        self.looks, self.missed, self.half = self.looks + 1, 0, found.half
        many, passed, (u, y) = min(self.looks, MEMORY), time - self.time, self._rolled(time)
        alpha, beta = 2 * (2 * many - 1) / (many * (many + 1)), 6 / (many * (many + 1))
        fade, off = math.exp(-passed / FADE), (found.u - u, found.y - y)
        self.pace = fade * self.pace[0] + beta * off[0] / passed, fade * self.pace[1] + beta * off[1] / passed
        self.time, self.u, self.y = time, u + alpha * off[0], y + alpha * off[1]
        self.weigh(found.shares)

    def _rolled(self, time: float) -> tuple[float, float]:
        seconds = FADE * (1 - math.exp((self.time - time) / FADE))
        return self.u + seconds * self.pace[0], self.y + seconds * self.pace[1]


class Tracks:
    """All that is known to lie on the belt, by number."""

    def __init__(self, window: Window):
        self.window, self.known = window, dict[int, Track]()
        self._count = 0

    def see(self, things: Sequence[Detection], travel: float, time: float) -> None:
        """Take in what a picture showed that was made at a time, when the belt had run `travel`."""
        found, tracks = self._found(things, travel), list(self.known.values())
        places = [track.at(time) for track in tracks]
        away = np.array([[math.dist(place, each[:2]) for each in found] for place in places]).reshape(
            len(tracks), len(found)
        )
        matches = zip(*linear_sum_assignment(np.minimum(away, SAME)), strict=True)
        pairs = {row: column for row, column in matches if away[row, column] < SAME}
        for row, (track, (u, _)) in enumerate(zip(tracks, places, strict=True)):
            if row in pairs:
                track.take(found[pairs[row]], time)
            elif self._inside(u + travel, track.half):
                track.missed += 1
                if track.missed >= MISSES or track.looks <= track.missed:
                    self.forget(track)
        for column in set(range(len(found))) - set(pairs.values()):
            u, y, half, shares = found[column]
            new = self.known[self._count] = Track(self._count, time, u, y, half)
            new.weigh(shares)
            self._count += 1

    def forget(self, track: Track) -> None:
        """It is no longer on the belt, or never was."""
        self.known.pop(track.number, None)

    def leave(self, x: float, travel: float, time: float) -> None:
        """Forget what has gone beyond x."""
        for track in [track for track in self.known.values() if track.at(time)[0] + travel > x]:
            self.forget(track)

    def _inside(self, x: float, half: float) -> bool:
        return abs(x - self.window.x) + half < self.window.side * (0.5 - 2 * EDGE)

    def _found(self, things: Sequence[Detection], travel: float) -> list[Found]:
        """Things that are seen whole; those of several kinds in one place are one thing that may be either."""
        groups: list[tuple[Detection, dict[str, float]]] = []
        for thing in sorted(things, key=lambda each: -each.score):
            if thing.box[0] < EDGE or thing.box[2] > 1 - EDGE:
                continue
            boxes = np.array([first.box for first, _ in groups], np.float32).reshape(-1, 4)
            same = np.flatnonzero(overlaps(np.array(thing.box, np.float32), boxes) > 0.5)
            if len(same):
                groups[same[0]][1].setdefault(thing.kind, thing.score)
            elif thing.score >= LEAST:
                groups.append((thing, {thing.kind: thing.score}))
        places = [
            (self.window.place(first.box), (first.box[2] - first.box[0]) / 2 * self.window.side, shares)
            for first, shares in groups
        ]
        return [Found(x - travel, y, half, shares) for (x, y), half, shares in places]
