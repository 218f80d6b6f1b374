"""The simulated sorting line behind the robot interface, and the ground-truth oracle."""

import numpy as np

from groundup.apps.robotics.robot import Camera, Description, Field, Numbers, Observation, Pixels
from groundup.apps.sorter.config import SimulatorConfig
from groundup.apps.sorter.simulator.camera import AT, HEIGHT, VIEW
from groundup.apps.sorter.simulator.environment import MOST, PERIOD, SHIFTS, SortingLine, shifted
from groundup.apps.sorter.simulator.line import BINS, HOME, MANUAL, REACH, Event
from groundup.apps.sorter.sorter import INFERENCE_PERIOD, LineLayout
from groundup.apps.sorter.tracker import FieldOfView
from groundup.codecs.detections import Detection
from groundup.core.errors import InputError

PICTURES = round(INFERENCE_PERIOD / PERIOD)  # periods from one image to the next, as the model needs no more
STANDARD = "standard"  # the setting without a domain shift
LAYOUT = LineLayout(FieldOfView(AT, VIEW, HEIGHT), -0.5, 0.55, HOME[:2], BINS, MANUAL)


class SimulatedLine:
    """The line as a `Robot`, whose camera takes an image every `every` periods. `events` is the ground truth about the
    items, which no model sees.
    """

    def __init__(self, config: SimulatorConfig, seed: int, every: int = 1):
        self.line, self._seed = SortingLine(config, every=every), seed
        self.events: list[Event] = []
        low, high = REACH
        self._about = Description(
            "sorting line",
            PERIOD,
            (Field("time", "s", (0,), (np.inf,)), Field("arm", "m", low, high), Field("holding", "1", (0,), (1,)),
             Field("belt", "m", (0,), (np.inf,)), Field("speed", "m/s", (-MOST,), (MOST,))),
            (Field("target", "m", low, high), Field("suction", "1", (0,), (1,)), Field("ride", "1", (0,), (1,)),
            Field("belt", "m/s", (0,), (MOST,))),
            (Camera("belt", config.pixels, config.pixels),),
        )  # fmt: skip

    def describe(self) -> Description:
        """Name, period, sensors, actuators and camera of the line."""
        return self._about

    def connect(self) -> None:
        """Reset to an empty belt."""
        self._seen, _ = self.line.reset(seed=self._seed)
        self.stop()

    def now(self) -> float:
        """Seconds of simulated time."""
        return float(self.line.line.time)

    def observe(self) -> Observation:
        """Simulate one control period; the observation after it."""
        self._seen, _, _, _, info = self.line.step(self._doing)
        self.events += info["events"]
        numbers = {
            name: np.atleast_1d(np.float32(self._seen[name])) for name in ("time", "arm", "holding", "belt", "speed")
        }
        return Observation(float(self._seen["taken"][0]), {"belt": self._seen["image"]}, numbers)

    def act(self, action: Numbers) -> None:
        """Set the action of the following periods."""
        on = {name: int(action[name][0] > 0.5) for name in ("suction", "ride")}
        self._doing = {"target": action["target"], "belt": action["belt"], "stop": 0, **on}

    def stop(self) -> None:
        """Brake arm and belt; a held item stays held."""
        still = np.zeros(1, np.float32)
        self._doing = {"target": np.array(HOME, np.float32), "belt": still, "stop": 1, "suction": 0, "ride": 0}


class Oracle:
    """A model client that detects the ground truth with one `score`: the limit of the arm."""

    def __init__(self, robot: SimulatedLine, score: float = 0.99):
        self.robot, self.score = robot, score

    def detect(self, picture: Pixels) -> list[Detection]:
        """The items that are at least half visible in the robot's last image."""
        seen = [each for each in self.robot.line.seen if each.visible > 0.5]
        side = len(picture)
        return [
            Detection(
                each.kind, (each.box[0] / side, each.box[1] / side, each.box[2] / side, each.box[3] / side), self.score
            )
            for each in seen
        ]


def setting(name: str) -> SimulatorConfig:
    """The simulator config of the standard line, or of a domain shift. Raises InputError for another name."""
    if name not in (STANDARD, *SHIFTS):
        raise InputError(f"{name}: no setting of the line; there are {', '.join((STANDARD, *SHIFTS))}")
    return SimulatorConfig() if name == STANDARD else shifted(SimulatorConfig(), name)
