"""A robot small enough to predict: a cart on a rail, in a simulated time of whole milliseconds."""

from collections.abc import Callable

import numpy as np

from groundup.apps.robotics.robot import Camera, Description, Field, Numbers, Observation

PERIOD = 50  # ms

ABOUT = Description(
    name="cart",
    period=PERIOD / 1000,
    observes=(Field("place", "m", (-100.0,), (100.0,)), Field("wind", "m/s", (-1.0, -1.0), (1.0, 1.0))),
    acts=(Field("speed", "m/s", (-1.0,), (1.0,)), Field("lamp", "1", (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))),
    cameras=(Camera("top", 48, 64),),
)


def action(speed: float = 1.0) -> Numbers:
    return {"speed": np.float32([speed]), "lamp": np.float32([0, 0.5, 1])}


class Cart:
    """Moves at the speed it was last told; every call, and every millisecond, can be made to go wrong by `on`."""

    def __init__(self, on: Callable[[str], None] = lambda what: None):
        self.on, self.ms, self.place, self.speed = on, 0, 0.0, 0.0
        self.frozen: int | None = None  # the camera has shown the picture of this millisecond ever since
        self.stops = 0
        self.told: list[Numbers] = []
        self.moved: list[int] = []  # the milliseconds in which it moved

    def describe(self) -> Description:
        return ABOUT

    def connect(self) -> None:
        self.on("connect")

    def now(self) -> float:
        return self.ms / 1000

    def observe(self) -> Observation:
        self.on("observe")
        for _ in range(PERIOD):
            self.tick()
        taken = self.ms if self.frozen is None else self.frozen
        wind = np.float32([np.sin(self.ms), np.cos(self.ms)])
        return Observation(taken / 1000, {"top": picture(taken)}, {"place": np.float32([self.place]), "wind": wind})

    def act(self, action: Numbers) -> None:
        self.told.append(action)
        self.on("act")
        self.speed = float(action["speed"][0])
        self.on("acted")

    def stop(self) -> None:
        self.stops += 1
        self.on("stop")
        self.speed = 0.0
        self.on("stopped")

    def tick(self) -> None:
        self.ms += 1
        self.place += self.speed / 1000
        if self.speed:
            self.moved.append(self.ms)
        self.on("tick")


def picture(ms: int) -> np.ndarray:
    """Soft colours that move, as lossy video keeps them: [48, 64, 3]."""
    down, across = np.mgrid[0:48, 0:64]
    waves = [np.sin((across + ms / 50 * speed) / 9) * np.cos(down / 11) for speed in (1, 2, 3)]
    return np.stack([127 + 100 * wave for wave in waves], axis=-1).astype(np.uint8)
