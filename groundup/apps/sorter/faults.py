"""Fault injection: random faults of camera, gripper, belt and model, one after another, each for a while."""

from collections.abc import Callable
from functools import partial

from groundup.apps.robotics.robot import Pixels
from groundup.apps.sorter.model_client import ModelClient
from groundup.apps.sorter.robot import SimulatedLine
from groundup.apps.sorter.simulator.items import Rng
from groundup.codecs.detections import Detection
from groundup.serve.client import InferenceTimeout

BETWEEN, DURATION = (3.0, 12.0), (0.2, 4.0)  # seconds from one fault to the next, and of one fault


class StalledModel:
    """A model client that times out while it is `stalled`."""

    def __init__(self, client: ModelClient):
        self._client, self.stalled = client, False

    def detect(self, picture: Pixels) -> list[Detection]:
        """The client's detections. Raises InferenceTimeout while stalled."""
        if self.stalled:
            raise InferenceTimeout("the model is stalled")
        return self._client.detect(picture)


class FaultInjection:
    """`step`, once a control period, begins and ends faults, one at a time; the same `rng` gives the same faults."""

    def __init__(self, robot: SimulatedLine, client: StalledModel, rng: Rng):
        self._robot, self._rng, self.count = robot, rng, 0
        put = partial(setattr, robot.line.faults)
        self._faults: tuple[tuple[Callable[[], object], Callable[[], object]], ...] = (
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
            (partial(setattr, client, "stalled", True), partial(setattr, client, "stalled", False)),
        )
        self._end: Callable[[], object] | None = None
        self._due = rng.uniform(*BETWEEN)

    def step(self) -> None:
        """Begin or end the fault that is due."""
        if self._robot.now() < self._due:
            return
        if self._end:
            self._end()
            self._end = None
        else:
            begin, self._end = self._faults[int(self._rng.integers(len(self._faults)))]
            begin()
            self.count += 1
        self._due = self._robot.now() + self._rng.uniform(*(DURATION if self._end else BETWEEN))

    def _jam(self) -> None:
        """Let the first item on the belt stick."""
        lying = [item.number for item in self._robot.line.line.on.values()]
        self._robot.line.faults.jammed.update(lying[:1])
