"""FaultInjection at random: what goes wrong on a real line, one thing after another, each for a while."""

from collections.abc import Callable
from functools import partial

from groundup.apps.robotics.robot import Pixels
from groundup.apps.sorter.model_client import InferenceTimeout, ModelClient
from groundup.apps.sorter.robot import Robot
from groundup.apps.sorter.simulator.items import Rng
from groundup.codecs.boxes import Detection

QUIET, LASTS = (3.0, 12.0), (0.2, 4.0)  # seconds between two troubles, and that one lasts


class StalledModel:
    """A brain that gives no answers while it is `silent`."""

    def __init__(self, brain: ModelClient):
        self._brain, self.silent = brain, False

    def look(self, picture: Pixels) -> list[Detection]:
        """What the brain says. Raises Late while it is silent."""
        if self.silent:
            raise InferenceTimeout("it gives no answers")
        return self._brain.look(picture)


class FaultInjection:
    """`step`, once a period, begins and ends faults of a robot and its brain, one at a time; the same `rng` makes the
    same trouble.
    """

    def __init__(self, robot: Robot, brain: StalledModel, rng: Rng):
        self._robot, self._rng, self.count = robot, rng, 0
        put = partial(setattr, robot.line.faults)
        self._kinds: tuple[tuple[Callable[[], object], Callable[[], object]], ...] = (
            (partial(put, "lost", True), partial(put, "lost", False)),
            (partial(put, "frozen", True), partial(put, "frozen", False)),
            (partial(put, "light", 0.01), partial(put, "light", 1.0)),
            (partial(put, "light", 9.0), partial(put, "light", 1.0)),
            (partial(put, "seal", 0.9), partial(put, "seal", None)),
            (partial(put, "drop", 0.9), partial(put, "drop", None)),
            (partial(put, "cling", 0.2), partial(put, "cling", 0.0)),
            (partial(put, "belt", 1.5), partial(put, "belt", 1.0)),
            (partial(put, "belt", 0.2), partial(put, "belt", 1.0)),
            (self._jam, robot.line.faults.jammed.clear),
            (partial(setattr, brain, "silent", True), partial(setattr, brain, "silent", False)),
        )
        self._end: Callable[[], object] | None = None
        self._due = rng.uniform(*QUIET)

    def step(self) -> None:
        """Begin or end what is due."""
        if self._robot.now() < self._due:
            return
        if self._end:
            self._end()
            self._end = None
        else:
            begin, self._end = self._kinds[int(self._rng.integers(len(self._kinds)))]
            begin()
            self.count += 1
        self._due = self._robot.now() + self._rng.uniform(*(LASTS if self._end else QUIET))

    def _jam(self) -> None:
        lying = [known.number for known in self._robot.line.line.on.values()]
        self._robot.line.faults.jammed.update(lying[:1])
