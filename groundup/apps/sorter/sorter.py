"""The controller of the sorting arm: an observation in, one action a control period out.

It detects items (`_perceive`), tracks them (`tracker.py`), plans the next pick (`plan.py`), decides on a bin (`decide`)
and moves the arm (`_control`). It knows the line only through the robot interface, and items only through the model's
detections.
"""

from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from groundup.apps.robotics.robot import Numbers, Observation, Pixels
from groundup.apps.sorter.model_client import ModelClient
from groundup.apps.sorter.plan import PickWindow, choose, max_belt_speed
from groundup.apps.sorter.policy import SortingPolicy
from groundup.apps.sorter.tracker import FieldOfView, Track, Tracker
from groundup.codecs.detections import Detection
from groundup.serve.client import InferenceTimeout

HIGH, LOW = 0.15, 0.0  # metres: travel height, above all items; lowest point of the suction cup
NEAR = 0.03  # metres: horizontal distance from the item at which the cup goes down
RELEASE = 0.05  # metres: distance from a bin's middle, and motion in the last period, at which an item is released
DOWN, WAY = 8, 18  # most periods for the way down to an item, and across the line; none pass while it is stopped
MAX_TRIES = 3  # failed picks of one item
INFERENCE_PERIOD = 0.15  # seconds from one image that the model sees to the next, at least
LEAD = 0.25  # seconds until the arm can meet the next item
MIN_SPEED = 0.4  # fraction of its speed that a crowded belt keeps
BRAKE, GAIN = 0.001, 0.0005  # m/s a period: a jerk would set items rolling
SLOW, BLIND = 0.6, 1.2  # seconds without detections after which the belt runs at half speed, and stops
DARK, BRIGHT, FLAT = 12, 248, 3  # grey levels: mean and standard deviation outside which an image shows nothing
SMOOTHING, LONGEST = 0.2, 1.0  # of the mean pick time: weight of the newest; seconds that count at most

Motion = tuple[tuple[float, float, float], float, float]
"""Target (x, y, z in metres), suction (0 or 1), ride (1: the target moves with the belt)."""


@dataclass(frozen=True)
class LineLayout:
    """Geometry of the line, in metres: field of view, limits of the picking zone, positions of the bins by number, and
    the bin for manual sorting.
    """

    view: FieldOfView
    low: float
    high: float
    home: tuple[float, float]
    bins: Mapping[int, tuple[float, float]]
    manual: int


class Pick(NamedTuple):
    """An item released over a bin: time (seconds), class, probability and bin."""

    time: float
    kind: str
    probability: float
    bin: int


class Decision(NamedTuple):
    """The decision on an item: class, probability of the destination, and bin (None: it stays on the belt)."""

    kind: str
    probability: float
    bin: int | None


class _DelayedDetections(NamedTuple):
    ready: float  # seconds: when they count
    taken: float  # seconds: when the image was taken
    travel: float
    detections: list[Detection]


class Sorter:
    """`step` turns an observation into an action.

    Detections are used `latency` seconds after their image was taken, since a simulator's clock stands still during
    inference.
    `policy`, `belt` (m/s) and `full` (closed bins) may be changed at any time.
    """

    def __init__(
        self, client: ModelClient, policy: SortingPolicy, layout: LineLayout, belt: float, latency: float = 0.1
    ):
        self.client, self.policy, self.layout, self.belt = client, policy, layout, belt
        self.latency, self.full = latency, set[int]()
        self.tracker, self.done = Tracker(layout.view), list[Pick]()
        self.detections: list[Detection] = []  # of the last image, for display
        self.detected_at = 0.0  # metres that the belt had run then
        self.target: Track | None = None
        self.cycle = 0.7  # seconds: mean time of a pick
        self._pending: deque[_DelayedDetections] = deque()
        self._belt = belt  # m/s: the last setpoint, before a blind line slows down
        self._taken, self._perceived, self._last = -np.inf, -np.inf, np.zeros(0, np.uint8)
        self._arm = self._control()

    def step(self, seen: Observation) -> Numbers:
        """The action for the control period that begins."""
        numbers = {name: value.astype(float) for name, value in seen.numbers.items()}
        self.now, self.place, self.holding = float(numbers["time"][0]), numbers["arm"], bool(numbers["holding"][0])
        self.travel, self.speed = float(numbers["belt"][0]), float(numbers["speed"][0])
        self._perceive(seen)
        self.tracker.remove_beyond(self.layout.high, self.travel, self.now)
        age = self.now - self._perceived
        self._belt = self._belt_speed()
        belt = min(self._belt, self.belt * (1.0 if age < SLOW else 0.5 if age < BLIND else 0.0))
        target, suction, ride = next(self._arm)
        values = {"target": target, "suction": [suction], "ride": [ride], "belt": [belt]}
        return {name: np.asarray(value, np.float32) for name, value in values.items()}

    # --- perception -------------------------------------------------------------------------------------------------

    def _perceive(self, seen: Observation) -> None:
        """Detect items in the new image if one is due, and track those whose latency is over."""
        picture = seen.images["belt"]
        fresh = self.now - seen.time < self.latency + 1e-6 or self.latency == 0
        if seen.time > self._taken + INFERENCE_PERIOD - 1e-3 and fresh and is_usable(picture, self._last):
            self._taken, self._last, travel = seen.time, picture, self.travel - self.speed * (self.now - seen.time)
            with suppress(InferenceTimeout):  # the belt slows down and stops where no detections come
                self._pending.append(
                    _DelayedDetections(seen.time + self.latency, seen.time, travel, self.client.detect(picture))
                )
        while self._pending and self._pending[0].ready <= self.now + 1e-6:
            new = self._pending.popleft()
            self.detections, self.detected_at, self._perceived = new.detections, new.travel, new.taken
            self.tracker.update(new.detections, new.travel, new.taken)

    # --- decision ---------------------------------------------------------------------------------------------------

    def decide(self, probabilities: Mapping[str, float]) -> Decision:
        """Decide on a bin for an item, from its class probabilities.

        The probabilities of all classes with one destination are added, and the most probable destination is taken. If
        that is below the policy's confidence threshold, or its bin is full, the item goes to manual sorting.
        """
        destinations = {kind: self.policy.destinations.get(kind, "manual") for kind in probabilities}
        sums = {
            each: sum(probabilities[kind] for kind in probabilities if destinations[kind] == each)
            for each in destinations.values()
        }
        destination, probability = max(sums.items(), key=lambda each: each[1])
        kind = max(
            (kind for kind in probabilities if destinations[kind] == destination), key=lambda kind: probabilities[kind]
        )
        if destination == "leave":
            return Decision(kind, probability, None)
        unsure = 100 * probability < self.policy.min_confidence
        manual = destination == "manual" or unsure or destination in self.full
        return Decision(kind, probability, self.layout.manual if manual else int(destination))

    def _value(self, track: Track) -> float:
        """The value of picking an item: 0 for none, less for manual sorting and after failed tries."""
        decision = self.decide(track.probabilities)
        if decision.bin is None or track.hits < 2:
            return 0.0
        value = 0.4 if decision.bin == self.layout.manual else 2.0 if decision.kind in self.policy.priority else 1.0
        return value / (1 + track.tries)

    def _belt_speed(self) -> float:
        """The belt's setpoint (m/s): lower where more items wait than the arm can pick in time."""
        waiting = [self._position(track)[0] for track in self.tracker.tracks.values() if self._value(track) > 0]
        wanted = max(MIN_SPEED * self.belt, min(self.belt, max_belt_speed(waiting, self.layout.high, self.cycle)))
        return self._belt + min(max(wanted - self._belt, -BRAKE), GAIN)

    # --- control ----------------------------------------------------------------------------------------------------

    def _control(self) -> Iterator[Motion]:
        """Generate the arm's actions, one each period: home, or pick after pick."""
        home = (*self.layout.home, HIGH)
        while True:
            window = PickWindow(self.layout.low, self.layout.high, LEAD, self.cycle)
            blind = self.now - self._perceived >= BLIND
            tracks = list(self.tracker.tracks.values())
            positions = [self._position(track)[0] for track in tracks]
            self.target = None if blind else choose(tracks, self._value, positions, self.speed, window)
            if self.target is None:
                yield home, 0.0, 0.0
                continue
            began = self.now
            yield from self._pick(self.target)
            self.cycle += SMOOTHING * (min(self.now - began, LONGEST) - self.cycle)

    def _pick(self, track: Track) -> Iterator[Motion]:
        """Move over the item, go down with suction on, and carry it to its bin if it is held."""
        spent = 0
        while np.hypot(*(self.place[:2] - self._position(track))) > NEAR:
            if spent > WAY or track.number not in self.tracker.tracks:
                return
            spent += 1
            yield (*self._position(track), HIGH), 0.0, 1.0
        for _ in range(DOWN):
            if self.holding or self.place[2] <= LOW + 0.005:
                break
            yield (*self._position(track), LOW), 1.0, 1.0
        if not self.holding:
            track.tries += 1
            if track.tries >= MAX_TRIES:
                self.tracker.remove(track)
            yield (*self._position(track), HIGH), 0.0, 1.0
            return
        self.tracker.remove(track)
        decision = self.decide(track.probabilities)
        if decision.bin is not None:
            yield from self._carry(decision.kind, decision.probability, decision.bin)

    def _carry(self, kind: str, probability: float, where: int) -> Iterator[Motion]:
        """Move the held item over a bin and release it there once the arm has slowed down: else it would be thrown."""
        x, y = self.layout.bins[where]
        before = self.place
        for _ in range(WAY):
            off, moved = np.hypot(*(self.place[:2] - (x, y))), np.hypot(*(self.place - before)[:2])
            if not self.holding or max(off, moved) < RELEASE:
                break
            before = self.place
            yield (x, y, HIGH), 1.0, 0.0
        if self.holding:
            self.done.append(Pick(self.now, kind, probability, where))
        for _ in range(WAY):  # the item may cling to the cup
            yield (x, y, HIGH), 0.0, 0.0
            if not self.holding:
                break

    def _position(self, track: Track) -> tuple[float, float]:
        """Where a track's item is now, in metres on the line."""
        u, y = track.predict(self.now)
        return u + self.travel, y


def is_usable(picture: Pixels, last: Pixels) -> bool:
    """Whether an image is usable: not dark, overexposed or flat, and not equal to the last one (sensor noise never
    repeats).
    """
    return bool(DARK < picture.mean() < BRIGHT and picture.std() > FLAT) and not np.array_equal(picture, last)
