"""What moves, seen by a brain: a simulator, a recording or a machine behind one interface. `guard.Guarded` is how one
is driven.
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
"""A picture: RGB, [height, width, 3]."""


@dataclass(frozen=True)
class Field:
    """Numbers that belong together, as a point: each in `unit` and, where it is to be done, within [low, high] of its
    place.
    """

    name: str
    unit: str  # "m", "m/s", "s", or "1" for none
    low: tuple[float, ...]
    high: tuple[float, ...]


@dataclass(frozen=True)
class Camera:
    """A camera and the size of its pictures in pixels."""

    name: str
    height: int
    width: int


@dataclass(frozen=True)
class Description:
    """What a limb is; known before it is connected and constant from then on."""

    name: str
    period: float  # seconds from one picture to the next
    observes: tuple[Field, ...]
    acts: tuple[Field, ...]
    cameras: tuple[Camera, ...]

    def checked(self, action: Numbers) -> Numbers:
        """The action with every number within its limits: one outside is moved to the nearest limit.

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
    """What was seen and felt at one moment."""

    time: float  # of the oldest part of it, in seconds on the limb's clock
    images: Mapping[str, Pixels]  # one a camera
    numbers: Numbers  # one a field of `observes`


class Robot(Protocol):
    """One thread calls `connect`, `observe` and `act`; `now` and `stop` are called from any, also while another call
    hangs, and wait for none.
    """

    def describe(self) -> Description:
        """What this is; works before `connect`."""

    def connect(self) -> None:
        """Get ready to observe. Nothing moves."""

    def now(self) -> float:
        """Seconds on the limb's own clock: the wall's for a machine, the world's in a simulator. It never goes back."""

    def observe(self) -> Observation:
        """Wait for the next period and tell what is seen. In a simulator no time passes elsewhere: the last action goes
        on meanwhile.
        """

    def act(self, action: Numbers) -> None:
        """Begin an action that is within its limits; it goes on until the next, or until `stop`. Returns at once."""

    def stop(self) -> None:
        """Halt all motion within 50 ms of the limb's clock and stay so until the next `act`. Any number of times.

        What flies brakes within those 50 ms, and says within which time and room it then hovers."""
