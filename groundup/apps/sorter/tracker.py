"""Multi-object tracking: detections of single images become tracks on the belt, each with a position, a velocity and a
class distribution.

Tracks use belt coordinates: `u` is the position along the belt minus the distance that the belt has run, so an item at
rest keeps its u. All lengths are in metres.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment

from groundup.codecs.detections import Detection, box_iou

GATE = 0.05  # metres: a measurement farther from a track than this is not assigned to it
EDGE = 0.02  # fraction of the image: an item that touches its first or last columns is cut off
MIN_SCORE = 0.15  # detections below it are noise
FLOOR = 0.05  # probability of a class that a detection does not name
CORRELATION = 0.35  # between the evidence of two images of one item
BACKGROUND = ""  # the class "none of those detected here"
OTHER = 0.5  # fraction of the missing probability that counts for `BACKGROUND`, the rest for an empty place
MAX_MISSES = 3  # consecutive images without a track's item that end the track
MEMORY = 6  # last measurements that position and velocity are estimated from
FADE = 1.0  # seconds in which a rolling item loses most of its speed
STILL, PARALLAX = (
    0.012,
    0.03,
)  # m/s across and along the belt: slower items lie still; tall items seem to move along it (parallax)
MEAN_HEIGHT = 0.03  # metres over the belt: of the visible surface of an item


class FieldOfView(NamedTuple):
    """The square of the belt that an image shows: columns along the belt (x), rows across it (towards -y)."""

    x: float  # of its middle
    side: float
    height: float  # of the camera over the belt

    def position(self, box: tuple[float, float, float, float]) -> tuple[float, float]:
        """x and y of the middle of an item in a box (fractions of the image), corrected for the item's height."""
        left, top, right, bottom = box
        side = self.side * (1 - MEAN_HEIGHT / self.height)
        return self.x + ((left + right) / 2 - 0.5) * side, (0.5 - (top + bottom) / 2) * side


class Measurement(NamedTuple):
    """One item in one image: its position, its half length along the belt, and the score of each class detected
    there.
    """

    u: float
    y: float
    half: float
    scores: dict[str, float]


@dataclass
class Track:
    """One item on the belt: its state at a `time` in seconds."""

    number: int
    time: float
    u: float
    y: float
    half: float  # metres: half its length along the belt
    velocity: tuple[float, float] = (0.0, 0.0)  # m/s relative to the belt, of an item that rolls
    hits: int = 1
    misses: int = 0
    tries: int = 0  # failed picks
    evidence: dict[str, float] = field(default_factory=dict)  # by class: sum of log(probability / FLOOR)

    @property
    def probabilities(self) -> dict[str, float]:
        """The probability of each class after all images of the item; the rest to 1 is `BACKGROUND`.

        Images of one item are correlated: n of them weigh as much as n / (1 + (n - 1) `CORRELATION`) independent ones.
        """
        weight = 1 / (1 + (self.hits - 1) * CORRELATION)
        odds = {kind: math.exp(weight * each) for kind, each in self.evidence.items()}
        return {kind: each / sum(odds.values()) for kind, each in odds.items() if kind != BACKGROUND}

    def add_evidence(self, scores: dict[str, float]) -> None:
        """Add the class scores of one image."""
        rest = OTHER * max(1 - sum(scores.values()), 0.0)
        for kind, score in (*scores.items(), (BACKGROUND, rest)):
            self.evidence[kind] = self.evidence.get(kind, 0.0) + math.log(max(score, FLOOR) / FLOOR)

    def predict(self, time: float) -> tuple[float, float]:
        """Predict u and y at a later time: a still item stays, a rolling one slows down. After a failed pick the
        opposite is assumed.
        """
        rolls = abs(self.velocity[0]) > PARALLAX or abs(self.velocity[1]) > STILL
        return self._rolled(time) if rolls != (self.tries % 2 == 1) else (self.u, self.y)

    def update(self, measurement: Measurement, time: float) -> None:
        """Update position and velocity by an alpha-beta filter, whose gains are those of least squares over the last
        `MEMORY` measurements, and add the class evidence.
        """
        self.hits, self.misses, self.half = self.hits + 1, 0, measurement.half
        many, passed, (u, y) = min(self.hits, MEMORY), time - self.time, self._rolled(time)
        alpha, beta = 2 * (2 * many - 1) / (many * (many + 1)), 6 / (many * (many + 1))
        fade, residual = math.exp(-passed / FADE), (measurement.u - u, measurement.y - y)
        self.velocity = (
            fade * self.velocity[0] + beta * residual[0] / passed,
            fade * self.velocity[1] + beta * residual[1] / passed,
        )
        self.time, self.u, self.y = time, u + alpha * residual[0], y + alpha * residual[1]
        self.add_evidence(measurement.scores)

    def _rolled(self, time: float) -> tuple[float, float]:
        seconds = FADE * (1 - math.exp((self.time - time) / FADE))
        return self.u + seconds * self.velocity[0], self.y + seconds * self.velocity[1]


class Tracker:
    """The tracks of all items on the belt, by number."""

    def __init__(self, view: FieldOfView):
        self.view, self.tracks = view, dict[int, Track]()
        self._count = 0

    def update(self, detections: Sequence[Detection], travel: float, time: float) -> None:
        """Assign the detections of an image, taken at a time when the belt had run `travel`, to tracks; begin and end
        tracks.
        """
        measured, tracks = self._measurements(detections, travel), list(self.tracks.values())
        predicted = [track.predict(time) for track in tracks]
        away = np.array([[math.dist(place, each[:2]) for each in measured] for place in predicted]).reshape(
            len(tracks), len(measured)
        )
        matches = zip(*linear_sum_assignment(np.minimum(away, GATE)), strict=True)
        pairs = {row: column for row, column in matches if away[row, column] < GATE}
        for row, (track, (u, _)) in enumerate(zip(tracks, predicted, strict=True)):
            if row in pairs:
                track.update(measured[pairs[row]], time)
            elif self._inside(u + travel, track.half):
                track.misses += 1
                if track.misses >= MAX_MISSES or track.hits <= track.misses:
                    self.remove(track)
        for column in set(range(len(measured))) - set(pairs.values()):
            u, y, half, scores = measured[column]
            new = self.tracks[self._count] = Track(self._count, time, u, y, half)
            new.add_evidence(scores)
            self._count += 1

    def remove(self, track: Track) -> None:
        """End a track: its item is not on the belt, or never was."""
        self.tracks.pop(track.number, None)

    def remove_beyond(self, x: float, travel: float, time: float) -> None:
        """End the tracks of items beyond x."""
        for track in [track for track in self.tracks.values() if track.predict(time)[0] + travel > x]:
            self.remove(track)

    def _inside(self, x: float, half: float) -> bool:
        return abs(x - self.view.x) + half < self.view.side * (0.5 - 2 * EDGE)

    def _measurements(self, detections: Sequence[Detection], travel: float) -> list[Measurement]:
        """One measurement an item that is not cut off; overlapping detections of several classes are one item."""
        groups: list[tuple[Detection, dict[str, float]]] = []
        for detection in sorted(detections, key=lambda each: -each.score):
            if detection.box[0] < EDGE or detection.box[2] > 1 - EDGE:
                continue
            boxes = np.array([first.box for first, _ in groups], np.float32).reshape(-1, 4)
            same = np.flatnonzero(box_iou(np.array(detection.box, np.float32), boxes) > 0.5)
            if len(same):
                groups[same[0]][1].setdefault(detection.class_name, detection.score)
            elif detection.score >= MIN_SCORE:
                groups.append((detection, {detection.class_name: detection.score}))
        positions = [
            (self.view.position(first.box), (first.box[2] - first.box[0]) / 2 * self.view.side, scores)
            for first, scores in groups
        ]
        return [Measurement(x - travel, y, half, scores) for (x, y), half, scores in positions]
