"""A quadrotor that flies over the bins and reports how full they are: the sorter's client on another robot.

A rigid body with four rotors that lag behind what they are told, gravity and drag. What is left out: taking off and
landing (it hovers from the start), wind, the bins' walls, and errors of its own sense of place. Metres, seconds,
newtons, in the axes of the line.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress

import numpy as np
import numpy.typing as npt

from groundup.apps.robotics.guard import Stopped
from groundup.apps.robotics.robot import Camera, Description, Field, Numbers, Observation, Robot
from groundup.apps.sorter.config import SimulatorConfig
from groundup.apps.sorter.model_client import InferenceTimeout, ModelClient
from groundup.apps.sorter.simulator import camera, items
from groundup.apps.sorter.simulator.camera import AT, HEIGHT, VIEW, PosedItem, VisibleItem
from groundup.apps.sorter.simulator.items import f32
from groundup.apps.sorter.simulator.line import BINS
from groundup.codecs.detections import Detection

Floats = npt.NDArray[np.float64]
PERIOD, STEP = 0.1, 0.005  # seconds from one picture to the next, and of one step of the mechanics
LOW, HIGH = (-0.7, -0.6, 0.45), (0.7, 0.6, 1.2)  # metres: where it may be sent; the arm stays below
SIDE, FLOOR = 0.24, -0.4  # metres: of a bin; where its floor is
OVER = FLOOR + HEIGHT  # metres: as far above a bin's floor as the line's camera is above the belt
MASS, ARM, WEIGHT = 0.25, 0.08, 9.81  # kg; metres from its middle to a rotor; m/s^2
INERTIA = np.array((4e-4, 4e-4, 7e-4))  # kg m^2
MOST, LAG, TWIST, DRAG = (
    1.5,
    0.02,
    0.015,
    0.1,
)  # newtons of a rotor; seconds until it follows; metres: its torque of its thrust; N s/m
SPEED, PUSH, BRAKE = 0.8, 3.0, 6.0  # m/s; m/s^2 that it may ask of itself; to stop
STILL, NEAR = 0.05, 0.02  # m/s, and metres off its place, at which it hovers
FULL = 0.9  # covered share of a bin's floor from which it takes no more
LEG, IMAGES = 8.0, 3  # seconds that one bin may take; pictures of it
_ROTORS = np.array(
    [[1, 1, 1, 1], *(ARM * 0.5**0.5 * np.array([[1, -1, -1, 1], [-1, -1, 1, 1]])), [TWIST, -TWIST, TWIST, -TWIST]]
)
_GRAVITY = np.array((0, 0, WEIGHT))
_MIX = np.linalg.inv(_ROTORS)  # from thrust and torques to the rotors' newtons


class Quadrotor:
    """A `Robot`. `bins` holds numbers and kinds of what lies in each, as `Line.bins` does, and may grow meanwhile.

    `stop` lets the rotors run, as all else would be a fall, and what flies brakes by its tilt alone, which takes longer
    than a belt's brake: the next step, 5 ms later, begins to turn it against its motion, within `HALT` seconds it
    hovers, and it stays within `ROOM` metres of where it was then.
    """

    HALT, ROOM = 0.5, 0.15  # from full speed; what there is to keep free around it

    def __init__(self, config: SimulatorConfig, bins: Mapping[int, Sequence[tuple[int, str]]], seed: int):
        self.config, self.bins, self.seed = config, bins, seed
        self.seen: list[VisibleItem] = []  # the truth about the last picture, which no client sees
        self._camera = camera.Camera(config, np.random.default_rng(seed))
        self._items: dict[tuple[int, int], PosedItem] = {}
        self.time, self.place, self.velocity = 0.0, np.array((0.0, 0.0, OVER)), np.zeros(3)
        self._turn, self._spin, self._thrust = np.eye(3), np.zeros(3), np.full(4, MASS * WEIGHT / 4)
        self._goal: Floats | None = None
        self._rest: Floats | None = self.place.copy()

    def describe(self) -> Description:
        """What this is."""
        senses = (
            Field("place", "m", (-np.inf,) * 3, (np.inf,) * 3),
            Field("velocity", "m/s", (-np.inf,) * 3, (np.inf,) * 3),
        )
        return Description(
            "quadrotor",
            PERIOD,
            senses,
            (Field("target", "m", LOW, HIGH),),
            (Camera("down", self.config.pixels, self.config.pixels),),
        )

    def connect(self) -> None:
        """It hovers already."""

    def now(self) -> float:
        """Seconds of simulated time."""
        return self.time

    def observe(self) -> Observation:
        """Fly on for a period, then look down; the camera hangs plumb."""
        for _ in range(round(PERIOD / STEP)):
            self.step()
        picture, self.seen = self._camera.render(self._below())
        return Observation(self.time, {"down": picture}, {"place": f32(self.place), "velocity": f32(self.velocity)})

    def act(self, action: Numbers) -> None:
        """Fly to a place."""
        self._goal = action["target"].astype(float)

    def stop(self) -> None:
        """Brake, then hover."""
        self._goal = None

    def step(self) -> None:
        """`STEP` of the mechanics under the control of place, speed, tilt and rotors, each by the next."""
        turn, spin = self._turn, self._spin
        force = MASS * (self._push() + _GRAVITY)
        up = force / np.linalg.norm(force)
        right = _cross(up) @ (1, 0, 0)
        right /= np.linalg.norm(right)
        error = (
            np.stack([_cross(right) @ up, right, up]) @ turn
        )  # from the attitude that is wanted, on SO(3) as by Lee, Leok and McClamroch
        torque = INERTIA * (
            -240 * np.array((error[2, 1] - error[1, 2], error[0, 2] - error[2, 0], error[1, 0] - error[0, 1]))
            - 34 * spin
        )
        told = np.clip(_MIX @ (force @ turn[:, 2], *torque), 0, MOST)
        self._thrust += (told - self._thrust) * (STEP / LAG)
        lift, *torques = _ROTORS @ self._thrust
        self.velocity += STEP * ((turn[:, 2] * lift - DRAG * self.velocity) / MASS - _GRAVITY)
        self._spin = spin + STEP * (torques - _cross(spin) @ (INERTIA * spin)) / INERTIA
        self.place += STEP * self.velocity
        self._turn = turn @ _turned(STEP * self._spin)
        self.time += STEP

    def _push(self) -> Floats:
        """The acceleration that brings it to its goal, or to rest."""
        goal, away = self._goal, np.zeros(3)
        if goal is not None:
            self._rest = None
        elif self._rest is None and np.linalg.norm(self.velocity) < STILL:
            self._rest = self.place.copy()
        if (hold := self._rest if goal is None else goal) is not None:
            away = 2 * (hold - self.place)
        wanted = away * min(1.0, SPEED / max(float(np.linalg.norm(away)), 1e-9))
        push: Floats = 6 * (wanted - self.velocity)
        return push * min(1.0, (BRAKE if goal is None else PUSH) / max(float(np.linalg.norm(push)), 1e-9))

    def _below(self) -> list[PosedItem]:
        """What lies in the bins in view, placed as the line's camera would have it: that one stands still, and the
        world moves under it.
        """
        shift = f32((AT, 0, HEIGHT) - self.place)
        near = [number for number, (x, y) in BINS.items() if np.abs(self.place[:2] - (x, y)).max() < (VIEW + SIDE) / 2]
        lying = [self._laid(number, each, kind) for number in near for each, kind in self.bins.get(number, ())]
        return [PosedItem(each.number, each.item, each.place + shift, each.turn) for each in lying]

    def _laid(self, number: int, each: int, kind: str) -> PosedItem:
        if (number, each) not in self._items:
            rng = np.random.default_rng((self.seed, number, each))
            item, height, angle = (
                items.draw(rng, kind, self.config),
                FLOOR + rng.uniform(0.03, 0.1),
                rng.uniform(0, 2 * np.pi),
            )
            x, y = BINS[number] + rng.uniform(-0.4, 0.4, 2) * SIDE
            self._items[number, each] = PosedItem(
                each, item, f32((x, y, height)), f32(_turned(np.array((0, 0, angle))))
            )
        return self._items[number, each]


def survey(robot: Robot, client: ModelClient) -> dict[int, float]:
    """Fly over every bin, hover, look: which share of each bin's floor is covered, from 0 to 1; `FULL` and more is
    full.

    A bin that was not seen is missing: the model timed out, or the bin was not reached in time. A robot that is stopped
    ends the flight.
    """
    fractions: dict[int, float] = {}
    with suppress(Stopped):
        for number in sorted(
            BINS, key=lambda each: (each % 2, BINS[each][0] * (-1) ** each)
        ):  # along one side and back along the other
            target, measured, began = f32((*BINS[number], OVER)), list[float](), robot.now()
            while len(measured) < IMAGES and robot.now() - began < LEG:
                seen = robot.observe()
                robot.act({"target": target})
                if (
                    np.abs(seen.numbers["place"] - target).max() < NEAR
                    and np.linalg.norm(seen.numbers["velocity"]) < STILL
                ):
                    with suppress(InferenceTimeout):
                        measured.append(covered(client.detect(seen.images["down"])))
            if measured:
                fractions[number] = float(np.median(measured))
    return fractions


def covered(things: Sequence[Detection]) -> float:
    """The share of a bin's floor, the middle of the picture, that the boxes of things cover."""
    at = 0.5 + (np.arange(32) - 15.5) / 32 * SIDE / VIEW
    floor = np.zeros((32, 32), bool)
    for left, top, right, bottom in (thing.box for thing in things):
        floor |= ((top <= at) & (at < bottom))[:, None] & ((left <= at) & (at < right))
    return float(floor.mean())


def _turned(angles: Floats) -> Floats:
    """The rotation about an axis, by its length in radians (Rodrigues)."""
    angle = float(np.linalg.norm(angles))
    cross = _cross(angles / max(angle, 1e-12))
    turn: Floats = np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
    return turn


def _cross(vector: Floats) -> Floats:
    """The matrix that makes the cross product with a vector."""
    x, y, z = vector.tolist()
    return np.array(((0.0, -z, y), (z, 0.0, -x), (-y, x, 0.0)))
