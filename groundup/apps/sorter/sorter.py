"""What sorts: pictures in, one action a period out. It knows the line only by what a limb tells, and things only by
what the brain says.
"""

from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from groundup.apps.robotics.robot import Numbers, Observation, Pixels
from groundup.apps.sorter.model_client import InferenceTimeout, ModelClient
from groundup.apps.sorter.plan import Reach, choose, unhurried
from groundup.apps.sorter.policy import Policy
from groundup.apps.sorter.tracks import Track, Tracks, Window
from groundup.codecs.boxes import Detection

HIGH, LOW = 0.15, 0.0  # metres: over everything on the belt; as deep as the cup goes for a thing
NEAR = 0.03  # metres off its place at which the cup goes down
# metres off a bin's middle at which a thing is let go, and that it has moved no farther in the last period: else it is
# thrown
OVER = 0.05
DOWN, WAY = 8, 18  # periods that the cup may take down to a thing, and over the line; while it is stopped none pass
TRIES = 3  # picks of one thing that may fail
PAUSE = 0.15  # seconds from a picture that is looked at to the next one, at least
SLOWEST, BRAKE, GAIN = (
    0.4,
    0.001,
    0.0005,
)  # share of its speed that a crowded belt keeps; m/s a period lost and gained: a jerk sets things rolling
SLOW, BLIND = 0.6, 1.2  # seconds without a look at the belt after which it goes at half its speed, and stands
DARK, BRIGHT, FLAT = 12, 248, 3  # mean grey levels beyond which, and deviation under which, a picture shows nothing
SMOOTH, LONG = (
    0.2,
    1.0,
)  # weight of the newest pick in the mean time that one takes; seconds that count at most: a stop is no pick


@dataclass(frozen=True)
class Layout:
    """Where things are, in metres: what the camera sees, from where to where the arm picks, bins by number, and that
    for people to look at.
    """

    window: Window
    low: float
    high: float
    home: tuple[float, float]
    bins: Mapping[int, tuple[float, float]]
    manual: int


class Sorted(NamedTuple):
    """One thing that was let go over a bin: when (seconds), what it was taken for, how surely, and where it went."""

    time: float
    kind: str
    probability: float
    bin: int


class Aim(NamedTuple):
    """What a thing is taken for, how surely it belongs where that belongs, and the bin it goes to; None: it stays on
    the belt.
    """

    kind: str
    probability: float
    bin: int | None


class _Looked(NamedTuple):
    ready: float  # seconds: when the answer is there
    taken: float  # seconds: when the picture was made
    travel: float
    things: list[Detection]


class Sorter:
    """`step` turns an observation into an action.

    What the brain says of a picture counts from `latency` seconds after it was made, which is how a simulator, whose
    clock stands while the brain thinks, is told how long it does. `policy`, `belt` (m/s) and `full` (bins that take no
    more) may be changed at any time.
    """

    def __init__(self, brain: ModelClient, policy: Policy, layout: Layout, belt: float, latency: float = 0.1):
        self.brain, self.policy, self.layout, self.belt = brain, policy, layout, belt
        self.latency, self.full = latency, set[int]()
        self.tracks, self.done = Tracks(layout.window), list[Sorted]()
        self.found: list[Detection] = []  # in the last picture that was understood, for people to look at
        self.found_at = 0.0  # metres that the belt had run then
        self.target: Track | None = None
        self.cycle = 0.7
        self._looks: deque[_Looked] = deque()
        self._belt = belt  # m/s: what it was told last, but for a line that does not see
        self._taken, self._looked, self._last = -np.inf, -np.inf, np.zeros(0, np.uint8)
        self._arm = self._work()

    def step(self, seen: Observation) -> Numbers:
        """What to do in the period that begins."""
        numbers = {name: value.astype(float) for name, value in seen.numbers.items()}
        self.now, self.place, self.holding = float(numbers["time"][0]), numbers["arm"], bool(numbers["holding"][0])
        self.travel, self.speed = float(numbers["belt"][0]), float(numbers["speed"][0])
        self._look(seen)
        self.tracks.leave(self.layout.high, self.travel, self.now)
        age = self.now - self._looked
        self._belt = self._unhurried()
        belt = min(self._belt, self.belt * (1.0 if age < SLOW else 0.5 if age < BLIND else 0.0))
        target, suction, ride = next(self._arm)
        values = {"target": target, "suction": [suction], "ride": [ride], "belt": [belt]}
        return {name: np.asarray(value, np.float32) for name, value in values.items()}

    # --- looking --------------------------------------------------------------------------------------------------

    def _look(self, seen: Observation) -> None:
        picture = seen.images["belt"]
        fresh = self.now - seen.time < self.latency + 1e-6 or self.latency == 0
        if seen.time > self._taken + PAUSE - 1e-3 and fresh and shows(picture, self._last):
            self._taken, self._last, travel = seen.time, picture, self.travel - self.speed * (self.now - seen.time)
            with suppress(InferenceTimeout):  # the belt slows and stands by itself where no look comes
                self._looks.append(_Looked(seen.time + self.latency, seen.time, travel, self.brain.look(picture)))
        while self._looks and self._looks[0].ready <= self.now + 1e-6:
            look = self._looks.popleft()
            self.found, self.found_at, self._looked = look.things, look.travel, look.taken
            self.tracks.see(look.things, look.travel, look.taken)

    # --- picking --------------------------------------------------------------------------------------------------

    def aim(self, chances: Mapping[str, float]) -> Aim:
        """Where a thing goes that is of these kinds with these probabilities: to the place that the policy has for most
        of them together.

        To people when that is not sure, unknown or its bin is full; to no bin where it stays on the belt.
        """
        places = {kind: self.policy.places.get(kind, "manual") for kind in chances}
        sums = {place: sum(chances[kind] for kind in chances if places[kind] == place) for place in places.values()}
        place, probability = max(sums.items(), key=lambda each: each[1])
        kind = max((kind for kind in chances if places[kind] == place), key=lambda kind: chances[kind])
        if place == "leave":
            return Aim(kind, probability, None)
        unsure = place == "manual" or 100 * probability < self.policy.sure or place in self.full
        return Aim(kind, probability, self.layout.manual if unsure else int(place))

    def _worth(self, track: Track) -> float:
        aim = self.aim(track.chances)
        if aim.bin is None or track.looks < 2:
            return 0.0
        worth = 0.4 if aim.bin == self.layout.manual else 2.0 if aim.kind in self.policy.first else 1.0
        return worth / (1 + track.tries)

    def _unhurried(self) -> float:
        """The belt's speed (m/s): less where more waits than the arm can pick in time."""
        waiting = [self._over(track)[0] for track in self.tracks.known.values() if self._worth(track) > 0]
        wanted = max(SLOWEST * self.belt, min(self.belt, unhurried(waiting, self.layout.high, self.cycle)))
        return self._belt + min(max(wanted - self._belt, -BRAKE), GAIN)

    def _work(self) -> Iterator[tuple[tuple[float, float, float], float, float]]:
        home = (*self.layout.home, HIGH)
        while True:
            reach = Reach(self.layout.low, self.layout.high, 0.25, self.cycle)
            blind = self.now - self._looked >= BLIND
            tracks = list(self.tracks.known.values())
            places = [self._over(track)[0] for track in tracks]
            self.target = None if blind else choose(tracks, self._worth, places, self.speed, reach)
            if self.target is None:
                yield home, 0.0, 0.0
                continue
            began = self.now
            yield from self._pick(self.target)
            self.cycle += SMOOTH * (min(self.now - began, LONG) - self.cycle)

    def _pick(self, track: Track) -> Iterator[tuple[tuple[float, float, float], float, float]]:
        spent = 0
        while np.hypot(*(self.place[:2] - self._over(track))) > NEAR:
            if spent > WAY or track.number not in self.tracks.known:
                return
            spent += 1
            yield (*self._over(track), HIGH), 0.0, 1.0
        for _ in range(DOWN):
            if self.holding or self.place[2] <= LOW + 0.005:
                break
            yield (*self._over(track), LOW), 1.0, 1.0
        if not self.holding:
            track.tries += 1
            if track.tries >= TRIES:
                self.tracks.forget(track)
            yield (*self._over(track), HIGH), 0.0, 1.0
            return
        self.tracks.forget(track)
        aim = self.aim(track.chances)
        if aim.bin is not None:
            yield from self._carry(aim.kind, aim.probability, aim.bin)

    def _carry(
        self, kind: str, probability: float, where: int
    ) -> Iterator[tuple[tuple[float, float, float], float, float]]:
        x, y = self.layout.bins[where]
        before = self.place
        for _ in range(WAY):
            if (
                not self.holding
                or max(np.hypot(*(self.place[:2] - (x, y))), np.hypot(*(self.place - before)[:2])) < OVER
            ):
                break
            before = self.place
            yield (x, y, HIGH), 1.0, 0.0
        if self.holding:
            self.done.append(Sorted(self.now, kind, probability, where))
        for _ in range(WAY):  # a cup may cling
            yield (x, y, HIGH), 0.0, 0.0
            if not self.holding:
                break

    def _over(self, track: Track) -> tuple[float, float]:
        u, y = track.at(self.now)
        return u + self.travel, y


def shows(picture: Pixels, last: Pixels) -> bool:
    """Whether a picture shows the belt: neither dark nor washed out nor flat, and not the last one once more, which
    noise never repeats.
    """
    return bool(DARK < picture.mean() < BRIGHT and picture.std() > FLAT) and not np.array_equal(picture, last)
