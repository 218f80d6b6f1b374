"""The quadrotor: it finds the full bins with a ground-truth oracle, and hovers when it is told to stop."""

from dataclasses import dataclass, field

import numpy as np
import pytest

pytest.importorskip("scipy")

from groundup.apps.robotics.guard import Guarded, Stopped
from groundup.apps.sorter.config import SimulatorConfig
from groundup.apps.sorter.model_client import InferenceTimeout
from groundup.apps.sorter.simulator.items import KINDS
from groundup.apps.sorter.simulator.line import BINS
from groundup.codecs.detections import Detection
from tests.apps.robotics import quadrotor
from tests.apps.robotics.quadrotor import (
    FULL,
    HIGH,
    LOW,
    OVER,
    PERIOD,
    SPEED,
    STEP,
    STILL,
    Quadrotor,
    covered,
    survey,
)

PART = SimulatorConfig(pixels=48)
START = np.array((0.0, 0.0, OVER))


@dataclass
class Oracle:
    """Sees what is there; `on` is called at each look."""

    robot: Quadrotor
    on: object = lambda: None
    times: list[float] = field(default_factory=list)

    def detect(self, picture: np.ndarray) -> list[Detection]:
        self.times.append(self.robot.now())
        self.on()
        return [
            Detection(each.kind, tuple(np.array(each.box) / PART.pixels), 0.9)
            for each in self.robot.seen
            if each.visible > 0.2
        ]


def flying(counts: dict[int, int] | None = None) -> tuple[Quadrotor, Guarded]:
    rng = np.random.default_rng(3)
    bins = {
        number: [(each, str(rng.choice(KINDS))) for each in range(count)] for number, count in (counts or {}).items()
    }
    robot = Quadrotor(PART, bins, 1)
    guard = Guarded(robot)
    guard.connect()
    return robot, guard


def speed(robot: Quadrotor) -> float:
    return float(np.linalg.norm(robot.velocity))


def steps(seconds: float) -> range:
    return range(round(seconds / STEP))


def test_exactly_the_full_bins_are_found():
    robot, guard = flying({0: 2, 2: 24, 3: 1, 6: 3, 9: 24})
    shares = survey(guard, Oracle(robot))
    assert set(shares) == set(BINS)
    assert {number for number, share in shares.items() if share >= FULL} == {2, 9}
    assert shares[4] < 0.2  # an empty one, beside a full one


def test_a_bin_that_no_answer_came_for_is_missing(monkeypatch):
    robot, guard = flying()

    def silent():
        raise InferenceTimeout("asleep")

    monkeypatch.setattr(quadrotor, "BINS", {number: BINS[number] for number in (0, 1, 3)})
    monkeypatch.setattr(quadrotor, "LEG", 2.0)
    oracle = Oracle(robot, silent)
    assert survey(guard, oracle) == {}
    assert oracle.times


def test_a_flight_that_is_stopped_ends_and_tells_what_it_saw():
    robot, guard = flying()
    oracle = Oracle(robot)
    oracle.on = lambda: guard.stop() if len(oracle.times) == 4 else None
    shares = survey(guard, oracle)
    assert len(shares) == 1
    for _ in steps(2 * Quadrotor.HALT):
        robot.step()
    assert speed(robot) < STILL


@pytest.mark.parametrize("seed", range(12))
def test_the_stop_halts_it_in_time_and_in_place_whenever_it_comes(seed):
    rng, (robot, _) = np.random.default_rng(seed), flying()
    for _ in range(2):
        robot.act({"target": np.float32(rng.uniform(LOW, HIGH))})
        for _ in range(rng.integers(5, 250)):
            robot.step()
    where = robot.place.copy()
    robot.stop()
    for step in steps(1.5):
        robot.step()
        assert np.linalg.norm(robot.place - where) < Quadrotor.ROOM
        if step * STEP > Quadrotor.HALT:
            assert speed(robot) < STILL


def test_at_full_speed_it_brakes_within_50_ms():
    robot, _ = flying()
    robot.act({"target": np.float32((0.7, 0, OVER))})
    for _ in steps(0.7):
        robot.step()
    robot.stop()
    before = speed(robot)
    assert before > 0.8 * SPEED
    for _ in steps(0.05):
        robot.step()
    after = speed(robot)
    robot.step()
    assert speed(robot) < after < before


def test_a_stop_comes_first_until_the_next_action():
    robot, guard = flying()
    guard.observe()
    guard.act({"target": np.float32((0.7, 0, OVER))})
    guard.stop()
    with pytest.raises(Stopped):
        guard.act({"target": np.float32((0.7, 0, OVER))})
    for _ in steps(2.0):
        robot.step()
    assert np.linalg.norm(robot.place - START) < Quadrotor.ROOM


def test_without_orders_the_guard_holds_it():
    robot, guard = flying()
    guard.observe()
    guard.act({"target": np.float32((0.7, 0, OVER))})
    for _ in range(round((4 * PERIOD + Quadrotor.HALT) / PERIOD) + 2):
        guard.observe()
    assert guard.held
    assert speed(robot) < STILL
    assert robot.place[0] < 0.7 - 0.1


def test_it_is_sent_no_lower_than_the_arm_reaches():
    robot, guard = flying()
    for _ in range(25):
        guard.observe()
        guard.act({"target": np.float32((0, 0, -5))})
    assert robot.place[2] > 0.3


def test_it_hovers_where_it_was_sent():
    robot, _ = flying()
    target = np.array((-0.48, 0.36, OVER))
    robot.act({"target": target})
    for _ in steps(3.0):
        robot.step()
    for _ in steps(1.0):
        robot.step()
        assert np.abs(robot.place - target).max() < 0.01


def test_only_what_lies_in_the_middle_of_the_picture_counts():
    everywhere = [Detection("can", (0.25, 0.25, 0.75, 0.75))]
    assert covered(everywhere) == covered([Detection("can", (0, 0, 1, 1))]) == 1
    assert covered([Detection("can", (0, 0, 0.24, 1)), Detection("can", (0.76, 0, 1, 1))]) == 0
    assert covered([Detection("can", (0, 0, 0.5, 1))] * 2) == 0.5
