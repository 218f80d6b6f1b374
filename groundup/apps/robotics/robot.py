"""The robot interface: a simulator, a recording or a machine behind one protocol. Controllers drive it through
`guard.Guarded`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from groundup.core.errors import InputError

Numbers = Mapping[str, npt.NDArray[np.float32]]
"""The values of some fields, by name: one array [size] each."""
Pixels = npt.NDArray[np.uint8]
"""An RGB image, [height, width, 3]."""


@dataclass(frozen=True)
class Field:
    """A sensor's or an actuator's vector, such as a point: its unit and, element by element, its limits."""

    name: str
    unit: str  # "m", "m/s", "s", or "1" for none
    low: tuple[float, ...]
    high: tuple[float, ...]


@dataclass(frozen=True)
class Camera:
    """A camera and its image size in pixels."""

    name: str
    height: int
    width: int


@dataclass(frozen=True)
class Description:
    """A robot's specification: known before it is connected, and constant."""

    name: str
    period: float  # seconds: of control
    observes: tuple[Field, ...]  # sensors
    acts: tuple[Field, ...]  # actuators
    cameras: tuple[Camera, ...]

    def checked(self, action: Numbers) -> Numbers:
        """The action clipped to the limits of its actuators.

        Raises InputError for a field that is missing, unknown or of another size, and for a number that is not finite.
        """
        if set(action) != {field.name for field in self.acts}:
            raise InputError(
                f"{self.name}: an action of {sorted(action)}; it needs {[field.name for field in self.acts]}"
            )
        result = {}
        for field in self.acts:
            value = np.asarray(action[field.name], np.float32)
            if value.shape != (len(field.low),) or not np.isfinite(value).all():
                raise InputError(
                    f"{self.name}: {field.name} is {value.tolist()}; it needs {len(field.low)} finite numbers in"
                    f" {field.unit}"
                )
            result[field.name] = np.clip(value, *np.array([field.low, field.high], np.float32))
        return result


@dataclass(frozen=True)
class Observation:
    """Camera images and sensor values of one moment."""

    time: float  # seconds on the robot's clock: of its oldest part
    images: Mapping[str, Pixels]  # one a camera
    numbers: Numbers  # one a field of `observes`


class Robot(Protocol):
    """One thread calls `connect`, `observe` and `act`; `now` and `stop` are called from any, also while another call
    hangs, and wait for none.
    """

    def describe(self) -> Description:
        """The specification; works before `connect`."""

    def connect(self) -> None:
        """Connect, without motion."""

    def now(self) -> float:
        """Seconds on the robot's own monotonic clock: wall time for a machine, simulated time in a simulator."""

    def observe(self) -> Observation:
        """Wait for the next control period; its observation. A simulator advances only here, under the last action."""

    def act(self, action: Numbers) -> None:
        """Begin an action within its limits, until the next one or `stop`. Returns at once."""

    def stop(self) -> None:
        """Halt all motion within 50 ms of the robot's clock, until the next `act`. Idempotent.

        A flying robot begins to brake within 50 ms, and states the time and distance within which it hovers."""
