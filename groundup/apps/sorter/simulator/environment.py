"""The line as a Gymnasium environment: image and sensor values are observed, arm and belt are actuated, at 20 Hz."""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from groundup.apps.sorter.config import SimulatorConfig
from groundup.apps.sorter.simulator.camera import Camera
from groundup.apps.sorter.simulator.items import KINDS
from groundup.apps.sorter.simulator.line import EXTRA, REACH, Faults, Line
from groundup.core.errors import InputError

try:
    from gymnasium import Env, spaces
except ImportError:
    raise InputError(EXTRA) from None

PERIOD = 0.05  # simulated seconds: the control period
MOST = 1.0  # m/s: fastest setpoint of the belt
_LONG = 1e9  # seconds or metres: upper limit of observations
SHIFTS: dict[str, dict[str, Any]] = {  # domain shifts: conditions that training does not show
    "dark": {"light": (0.25, 0.4)},
    "bright": {"light": (1.9, 2.6)},
    "noise": {"noise": (14.0, 20.0)},
    "blur": {"blur": (1.3, 1.8)},
    "dirt": {"dirt": (0.5, 0.8)},
    "fast": {"belt": 0.6, "rate": 150.0},
    "crowded": {"rate": 150.0, "overlap": 0.5},
    "unknown": {"unknown": 0.2},
}


def shifted(config: SimulatorConfig, name: str) -> SimulatorConfig:
    """The same line under one of the domain `SHIFTS`."""
    return config.model_copy(update=SHIFTS[name])


class SortingLine(Env[dict[str, Any], dict[str, Any]]):
    """One `step` is one control period; the camera takes an image in every `every`th.

    `info` is the ground truth, which no model may see: `items` (number, kind: class, place in metres; in the image also
    box in pixels and visible fraction), `events` since the last step, counts of `bins` and `passed`. The reward counts
    the items binned.
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["rgb_array"], "render_fps": round(1 / PERIOD)}  # type: ignore[misc] # theirs

    def __init__(
        self,
        config: SimulatorConfig | None = None,
        render_mode: str | None = None,
        kinds: Sequence[str] = KINDS,
        every: int = 1,
    ):
        self.config, self.render_mode, self.kinds, self.every = config or SimulatorConfig(), render_mode, kinds, every
        side = self.config.pixels
        self.action_space = spaces.Dict(
            target=_box(*REACH),  # metres: x, y, z that the suction cup goes to
            suction=spaces.Discrete(2),
            ride=spaces.Discrete(2),  # 1: the target moves on with the belt
            belt=_box([0], [MOST]),  # m/s
            stop=spaces.Discrete(2),  # 1 halts arm and belt within a period; a held item stays held
        )
        self.observation_space = spaces.Dict(
            image=spaces.Box(0, 255, (side, side, 3), np.uint8),
            taken=_box([0], [_LONG]),  # seconds: the time of the picture
            time=_box([0], [_LONG]),  # seconds: now
            arm=_box([-1, -1, -1], [1, 1, 1]),  # metres
            holding=spaces.Discrete(2),
            belt=_box([0], [_LONG]),  # metres that it has run
            speed=_box([-10], [10]),  # m/s of the belt
        )

    @property
    def faults(self) -> Faults:
        """The faults from now on; none after a reset."""
        return self.line.faults

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """An empty belt, other items, other light; the same after the same seed."""
        super().reset(seed=seed)
        feed, optics = self.np_random.spawn(2)
        self.line, self.camera, self.reported = Line(self.config, feed, self.kinds), Camera(self.config, optics), 0
        self._steps = 0
        self._look()
        return self._observation(), self._info()

    def step(self, action: dict[str, Any]) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        """Simulate one control period under an action, then observe. Never ends by itself."""
        orders = (bool(action[name]) for name in ("ride", "stop"))
        self.line.advance(PERIOD, action["target"], bool(action["suction"]), float(action["belt"][0]), *orders)
        self._steps += 1
        if self._steps % self.every == 0 and not self.faults.lost:
            self._look()
        info = self._info()
        return self._observation(), float(sum(event.what == "binned" for event in info["events"])), False, False, info

    def render(self) -> npt.NDArray[np.uint8]:
        """The camera's last image."""
        return self.image.copy()

    def _look(self) -> None:
        self.taken = self.line.time
        if not self.faults.frozen:
            self.image, self.seen = self.camera.render(self.line.posed(), self.line.travel, self.faults.light)

    def _observation(self) -> dict[str, Any]:
        line = self.line
        numbers = {"taken": self.taken, "time": line.time, "belt": line.travel, "speed": line.speed}
        return {"image": self.image.copy(), "arm": np.float32(line.arm), "holding": int(line.held is not None)} | {
            name: np.array([value], np.float32) for name, value in numbers.items()
        }

    def _info(self) -> dict[str, Any]:
        events, self.reported = self.line.events[self.reported :], len(self.line.events)
        seen = {one.number: {"box": one.box, "visible": one.visible} for one in self.seen}
        lying = [
            {"number": p.number, "kind": p.item.kind, "place": p.place, **seen.get(p.number, {})}
            for p in self.line.posed()
        ]
        return {
            "items": lying,
            "events": events,
            "bins": {number: len(lying) for number, lying in self.line.bins.items()},
            "passed": len(self.line.passed),
        }


def _box(low: Any, high: Any) -> spaces.Box:
    return spaces.Box(np.float32(low), np.float32(high), dtype=np.float32)
