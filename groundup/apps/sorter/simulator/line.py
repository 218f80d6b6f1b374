"""The line: MuJoCo moves what lies on the belt, the arm that picks, and what falls into the bins.

The simulation uses the belt's frame of reference: its x is the world's x minus the belt's travel. There the belt is a
plane at rest, and an acceleration of the belt is a backward tilt of gravity. This is exact: friction alone moves items.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from groundup.apps.sorter.config import SimulatorConfig
from groundup.apps.sorter.simulator import items
from groundup.apps.sorter.simulator.camera import RAIL, PosedItem
from groundup.apps.sorter.simulator.items import BALL, BOX, KINDS, ROD, Item, Rng, f32
from groundup.core.errors import InputError

EXTRA = "the sorting line: MuJoCo or Gymnasium is not installed; pip install 'groundup[sorter]'"
STEP = 0.005  # seconds of one step of the mechanics
START, END = (
    -1.32,
    0.8,
)  # metres along the belt where items arrive and where it ends; 0 is the middle of the arm's reach
HOME, REACH = (
    (0.0, 0.0, 0.2),
    ((-0.6, -0.46, 0.0), (0.6, 0.46, 0.3)),
)  # metres: first, lowest and highest place of the suction cup
SPEED, PUSH, BRAKE, BELT_PUSH = (
    4.0,
    60.0,
    120.0,
    20.0,
)  # m/s and m/s^2 of the arm's axes; in an emergency stop; of the belt
GRIP, CENTRED = 0.01, 0.7  # largest distance of the sealing cup: over an item (metres), from its middle (half widths)
BINS = {
    number: (0.24 * (number // 2) - 0.48, 0.36 * (-1) ** number) for number in range(10)
}  # middles, metres; even ones on the left
MOUTH = 0.04  # metres: height of the bins' openings over the belt, so that released items hardly move on
MANUAL = 9  # the bin for manual sorting
POOL, FIRST_BODY, FIRST_GEOM = (
    24,
    2,
    4,
)  # most items on the line at once, and which bodies and geoms of the model they are
Floats = npt.NDArray[np.float64]


class Event(NamedTuple):
    """An event of an item: spawned, picked, slipped (no seal), dropped, released, binned (`bin` is the number) or
    passed.
    """

    time: float
    what: str
    number: int
    kind: str
    bin: int | None = None


@dataclass
class Faults:
    """The injected faults; fields may be set at any time."""

    seal: float | None = None  # fraction of picks at which suction fails, instead of the config's
    drop: float | None = None  # fraction of held items that fall, likewise
    cling: float = 0  # seconds for which the cup holds on after suction went off
    jammed: set[int] = field(
        default_factory=set
    )  # numbers of items that stay where they are while the belt runs under them
    belt: float = 1  # factor on the setpoint of the belt
    light: float = 1  # factor on the camera's image
    frozen: bool = False  # the camera repeats its last image as if it were new
    lost: bool = False  # the camera sends nothing: the last image stays, with its time


@dataclass
class Carried:
    """An item on the line; `falling` when it was released beyond the rails."""

    number: int
    item: Item
    falling: bool = False


class Line:
    """Belt, arm and bins; the same random generators and actions give the same motion. Raises InputError without the
    extra `sorter`.

    In = in `bins` + `passed` + `on`, at all times; the item in the cup, `held`, is one of those that are `on`.
    """

    def __init__(self, config: SimulatorConfig, rng: Rng, kinds: Sequence[str] = KINDS):
        try:
            import mujoco
        except ImportError:
            raise InputError(EXTRA) from None
        self.mj: Any = mujoco
        self.config, self.kinds, self.faults = config, kinds, Faults()
        self.feed, self.luck = rng.spawn(2)  # arrivals do not depend on the arm
        self.forms = {
            BALL: mujoco.mjtGeom.mjGEOM_ELLIPSOID,
            ROD: mujoco.mjtGeom.mjGEOM_CYLINDER,
            BOX: mujoco.mjtGeom.mjGEOM_BOX,
        }
        self.model = mujoco.MjModel.from_xml_string(_MODEL)
        self.data = mujoco.MjData(self.model)
        # views, which are slow to make: of the cup, and of each item's place with its quaternion, and of their speeds
        self.cup, self.places = self.data.qpos[:3], self.data.qpos[3:].reshape(POOL, 7)
        self.pace, self.speeds = self.data.qvel[:3], self.data.qvel[3:].reshape(POOL, 6)
        self.ctrl, self.gravity = self.data.ctrl, self.model.opt.gravity
        self.model.dof_damping[3:].reshape(POOL, 6)[:, 3:] = 1e-4  # N m s: rolling dies down
        self.on: dict[int, Carried] = {}  # by place in the pool
        self.bins: dict[int, list[tuple[int, str]]] = {
            number: [] for number in BINS
        }  # numbers and kinds of what lies in each
        self.passed: list[tuple[int, str]] = []
        self.events: list[Event] = []
        self.clear()

    def clear(self) -> None:
        """Clear the belt, and reset time and travel."""
        self.mj.mj_resetData(self.model, self.data)
        self.on.clear()
        self.count, self.time, self.travel, self.speed, self.due = 0, 0.0, 0.0, self.config.belt, 0.0
        self.held: int | None = None
        self.tried, self.hold_until, self.fall_at = False, 0.0, math.inf
        self.cup[:] = HOME
        for place in range(POOL):
            self._park(place)

    @property
    def arm(self) -> Floats:
        """Position of the suction cup: x, y, z in metres."""
        x, y, z = self.cup
        return np.array([x + self.travel, y, z])

    def posed(self) -> list[PosedItem]:
        """The pose of every item on the line."""
        return [
            PosedItem(a.number, a.item, f32(self.places[k, :3] + (self.travel, 0, 0)), f32(self._turn(k)))
            for k, a in self.on.items()
        ]

    def advance(
        self,
        seconds: float,
        target: Sequence[float],
        suction: bool,
        belt: float,
        ride: bool = False,
        stop: bool = False,
    ) -> None:
        """Run for a time towards a target (metres) and a belt speed (m/s).

        A target that rides moves on with the belt. `stop` brakes arm and belt at once and keeps hold of what is held.
        """
        goal = [float(np.clip(*values)) for values in zip(target, *REACH, strict=True)]
        wanted, most = 0.0 if stop else belt * self.faults.belt, BELT_PUSH * STEP
        for _ in range(round(seconds / STEP)):
            gain = min(most, max(-most, wanted - self.speed))
            self.gravity[0] = -gain / STEP
            self._steer(goal, gain, ride * self.speed, stop)
            self.speed += gain
            for place in self._jammed():
                self.speeds[place, :2] = (-self.speed, 0)
            self.mj.mj_step(self.model, self.data)
            goal[0] += ride * self.speed * STEP
            self.time += STEP
            self.travel += self.speed * STEP
            self.due -= self.speed * STEP
            self._suck(suction or (stop and self.held is not None))
        self._leave()
        if self.due <= 0:
            self._arrive()

    def _jammed(self) -> list[int]:
        return (
            [place for place, known in self.on.items() if known.number in self.faults.jammed and place != self.held]
            if self.faults.jammed
            else []
        )

    def _steer(self, goal: Sequence[float], gain: float, along: float, stop: bool) -> None:
        """One step of the axes' servos: as fast, over the goal's own speed `along` the belt, as still lets them brake
        at the goal.
        """
        most, (x, y, z), (dx, dy, dz) = (BRAKE if stop else PUSH) * STEP, self.cup.tolist(), self.pace.tolist()
        axes = ((x + self.travel, dx + self.speed, along), (y, dy, 0.0), (z, dz, 0.0))
        for axis, ((at, moving, base), end) in enumerate(zip(axes, goal, strict=True)):
            pace = min(SPEED, math.sqrt(1.6 * PUSH * abs(end - at)), abs(end - at) / (2 * STEP))
            wanted = 0.0 if stop else base + math.copysign(pace, end - at)
            self.ctrl[axis] = moving + min(most, max(-most, wanted - moving))
        self.ctrl[0] -= self.speed + gain

    def _suck(self, suction: bool) -> None:
        if self.held is not None:
            if suction:
                self.hold_until = self.time + self.faults.cling
            if self.time >= self.fall_at or self.time > self.hold_until:
                self._let_go("dropped" if self.time >= self.fall_at else "released")
        elif not suction:
            self.tried = False
        elif not self.tried:
            self._seal()

    def _seal(self) -> None:
        """Seal on the topmost item under the cup, if its position and the seal probability allow; one try each time
        that suction goes on.
        """
        near = np.flatnonzero(np.abs(self.places[:, :2] - self.cup[:2]).max(1) < 0.15)
        for place in near[np.argsort(-self.places[near, 2])].tolist():
            known, turn, away = self.on[place], self._turn(place), self.cup - self.places[place, :3]
            reach = np.abs(turn) @ known.item.extent
            if known.falling or away[2] > reach[2] + GRIP or np.any(np.abs(away[:2]) > reach[:2]):
                continue
            self.tried = True
            lying = np.argsort(np.abs(turn[2]))[:2]  # the two of its axes that lie along the belt
            along = turn[:2, lying] / np.linalg.norm(
                turn[:2, lying], axis=0
            )  # the roll angle of a round item does not matter
            centred = np.all(np.abs(away[:2] @ along) < CENTRED * known.item.extent[lying])
            if centred and self.luck.random() >= (self.config.seal if self.faults.seal is None else self.faults.seal):
                self._hold(place)
            else:
                self._note("slipped", known)
            return

    def _hold(self, place: int) -> None:
        falls = self.luck.random() < (self.config.drop if self.faults.drop is None else self.faults.drop)
        self.held, self.hold_until, self.fall_at = (
            place,
            self.time,
            self.time + self.luck.uniform(0.05, 0.3) if falls else math.inf,
        )
        self.model.eq_obj2id[0] = FIRST_BODY + place
        self.model.eq_data[0, 3:10] = (*(self.places[place, :3] - self.cup), *self.places[place, 3:])
        self.data.eq_active[0] = 1
        self._touch(place, False)  # a lifted item does not collide with others
        self._note("picked", self.on[place])

    def _let_go(self, what: str) -> None:
        place, self.held, self.fall_at, self.tried = self.held, None, math.inf, True
        assert place is not None
        self.data.eq_active[0] = 0
        self.speeds[place] = (*self.pace, 0, 0, 0)  # a cup is stiffer than the weld that stands for it
        self.on[place].falling = bool(abs(self.places[place, 1]) > RAIL)
        self._touch(place, not self.on[place].falling)
        self._note(what, self.on[place])

    def _leave(self) -> None:
        """Remove the items that fell into a bin, or passed the end of the belt."""
        for place, known in list(self.on.items()):
            x, y, z = self.places[place, :3] + (self.travel, 0, 0)
            if known.falling and z < MOUTH:
                where = min(BINS, key=lambda number: float(np.hypot(BINS[number][0] - x, BINS[number][1] - y)))
                self.bins[where].append((known.number, known.item.kind))
                self._note("binned", known, where)
            elif x > END and place != self.held:
                self.passed.append((known.number, known.item.kind))
                self._note("passed", known)
            else:
                continue
            del self.on[place]
            self._park(place)

    def _arrive(self) -> None:
        """Put the next item on the start of the belt; it waits while the pool is empty."""
        if len(self.on) < POOL:
            kind = items.choose(self.feed, self.config, self.kinds)
            over = self.feed.random() < self.config.overlap
            self.due = (
                0.05 if over else self.config.belt * 60 / self.config.rate * (0.5 + 0.5 * self.feed.exponential())
            )
            self.put(items.draw(self.feed, kind, self.config), START, self.feed.uniform(-0.13, 0.13), 0.02)

    def put(self, item: Item, x: float, y: float, gap: float) -> None:
        """Drop an item on the belt from `gap` metres, turned at random."""
        place = next(place for place in range(POOL) if place not in self.on)
        known = self.on[place] = Carried(self.count, item)
        self.count += 1
        geom, size, rod = FIRST_GEOM + place, item.extent, item.hull == ROD
        self.model.geom_type[geom] = self.forms[item.hull]
        self.model.geom_size[geom] = (size[1:].mean(), size[0], 0) if rod else size
        self.model.geom_quat[geom] = (0.5**0.5, 0, 0.5**0.5, 0) if rod else (1, 0, 0, 0)  # MuJoCo's cylinders stand
        self.model.geom_rbound[geom] = radius = np.linalg.norm(size)
        self.model.geom_aabb[geom, 3:] = radius
        yaw, roll = self.feed.uniform(0, np.pi, 2) * (1, rod)  # half angles
        turn = np.outer((np.cos(yaw), np.sin(yaw)), (np.cos(roll), np.sin(roll))).ravel()[[0, 1, 3, 2]]
        self.places[place] = (x - self.travel, y, size[1 if rod else 2] * 1.1 + gap, *turn)
        self.model.body_gravcomp[FIRST_BODY + place] = 0
        self._touch(place, True)
        self._note("spawned", known)

    def _park(self, place: int) -> None:
        """Move a body of the pool out of the way, without weight and collisions."""
        self.places[place] = (place, 50, -50, 1, 0, 0, 0)
        self.speeds[place] = 0
        self.model.body_gravcomp[FIRST_BODY + place] = 1
        self._touch(place, False)

    def _touch(self, place: int, on: bool) -> None:
        self.model.geom_contype[FIRST_GEOM + place] = self.model.geom_conaffinity[FIRST_GEOM + place] = on

    def _turn(self, place: int) -> Floats:
        turn = np.empty(9)
        self.mj.mju_quat2Mat(turn, self.places[place, 3:])
        return turn.reshape(3, 3)

    def _note(self, what: str, known: Carried, where: int | None = None) -> None:
        self.events.append(Event(round(self.time, 3), what, known.number, known.item.kind, where))


_BOX = '<geom type="box" size=".04 .04 .04" mass=".1" friction="0.8"/>'
_MODEL = f"""<mujoco>
<option timestep="{STEP}" integrator="implicitfast"><flag midphase="disable" island="disable"/></option>
<worldbody>
<geom type="plane" size="0 0 1" friction="0.8"/>
<geom type="plane" size="0 0 1" pos="0 {-RAIL} 0" zaxis="0 1 0" friction="0"/>
<geom type="plane" size="0 0 1" pos="0 {RAIL} 0" zaxis="0 -1 0" friction="0"/>
<body name="cup" gravcomp="1">
<joint name="x" type="slide" axis="1 0 0"/>
<joint name="y" type="slide" axis="0 1 0"/>
<joint name="z" type="slide" axis="0 0 1"/>
<geom size="0.01" mass="1" contype="0" conaffinity="0"/>
</body>
{"".join(f'<body name="{k}" gravcomp="1"><freejoint/>{_BOX}</body>' for k in range(POOL))}
</worldbody>
<equality><weld body1="cup" body2="0" active="false" solref="0.01 1"/></equality>
<actuator>{"".join(f'<velocity joint="{axis}" kv="1000"/>' for axis in "xyz")}</actuator>
</mujoco>"""
