"""The sorter on the simulated line with a ground-truth oracle: what it picks, where it puts it, and what it does
when it sees nothing.
"""

import math
from collections import Counter

import numpy as np
import pytest

pytest.importorskip("mujoco")
pytest.importorskip("scipy")

from groundup.apps.robotics.guard import Guarded, Stopped
from groundup.apps.sorter.config import SimulatorConfig
from groundup.apps.sorter.model_client import InferenceTimeout
from groundup.apps.sorter.plan import FIRST, SLACK, PickWindow, choose, max_belt_speed
from groundup.apps.sorter.policy import apply, parse, standard_policy
from groundup.apps.sorter.robot import LAYOUT, Oracle, SimulatedLine
from groundup.apps.sorter.simulator.line import MANUAL
from groundup.apps.sorter.sorter import BRAKE, GAIN, Sorter, is_usable
from groundup.apps.sorter.tracker import FieldOfView, Measurement, Track, Tracker
from groundup.codecs.detections import Detection

PART = SimulatorConfig(rate=84.0)


class Sleeper(Oracle):
    """Sees what is there; `stalled`: it gives no answers."""

    stalled = False

    def detect(self, picture: np.ndarray) -> list[Detection]:
        if self.stalled:
            raise InferenceTimeout("asleep")
        return super().detect(picture)


def work(guard: Guarded, sorter: Sorter, until: float) -> None:
    while guard.now() < until:
        try:
            guard.act(sorter.step(guard.observe()))
        except Stopped:
            continue


@pytest.fixture
def line() -> tuple[Guarded, SimulatedLine, Sleeper, Sorter]:
    robot = SimulatedLine(PART, 7)
    guard, oracle = Guarded(robot), Sleeper(robot)
    guard.connect()
    return guard, robot, oracle, Sorter(oracle, standard_policy(), LAYOUT, PART.belt)


def where(robot: SimulatedLine) -> Counter:
    return Counter((event.kind, event.bin) for event in robot.events if event.what == "binned")


def test_detected_items_are_sorted_by_the_policy(line):
    guard, robot, _, sorter = line
    work(guard, sorter, 30)
    places = standard_policy().destinations
    found = where(robot)
    assert found.total() > 25
    assert sum(count for (kind, bin), count in found.items() if places[kind] == bin) >= 0.95 * found.total()


def test_items_below_the_confidence_threshold_go_to_manual_sorting(line):
    guard, robot, oracle, sorter = line
    oracle.score = 0.35
    work(guard, sorter, 12)
    assert {bin for _, bin in where(robot)} == {MANUAL}


def test_what_is_to_stay_stays_on_the_belt_from_the_order_on(line):
    guard, robot, _, sorter = line
    sorter.policy = apply(parse("leave paper cardboard"), standard_policy())
    work(guard, sorter, 20)
    assert not {kind for kind, _ in where(robot)} & {"paper", "cardboard"}
    assert {"paper", "cardboard"} & {event.kind for event in robot.events if event.what == "passed"}


def test_items_for_a_full_bin_go_to_manual_sorting(line):
    guard, robot, _, sorter = line
    sorter.full = {2}
    work(guard, sorter, 15)
    assert 2 not in {bin for _, bin in where(robot)}
    assert MANUAL in {bin for _, bin in where(robot)}


@pytest.mark.parametrize("fault", ["stalled", "lost", "frozen", "dark"])
def test_nothing_is_picked_blindly_and_the_line_goes_on_when_it_sees_again(line, fault):
    guard, robot, oracle, sorter = line
    work(guard, sorter, 6)
    if fault == "stalled":
        oracle.stalled = True
    elif fault == "dark":
        robot.line.faults.light = 0.01
    else:
        setattr(robot.line.faults, fault, True)
    work(guard, sorter, 9)
    standing, picked = robot.line.line.travel, sum(event.what == "picked" for event in robot.events)
    work(guard, sorter, 12)
    assert robot.line.line.travel == pytest.approx(standing, abs=1e-3)
    assert sum(event.what == "picked" for event in robot.events) == picked
    oracle.stalled, robot.line.faults.light, robot.line.faults.lost, robot.line.faults.frozen = False, 1.0, False, False
    work(guard, sorter, 20)
    assert sum(event.what == "picked" for event in robot.events) > picked


def test_every_item_is_accounted_for(line):
    guard, robot, _, sorter = line
    work(guard, sorter, 20)
    assert sum(event.what == "spawned" for event in robot.events) == (
        sum(map(len, robot.line.line.bins.values())) + len(robot.line.line.passed) + len(robot.line.line.on)
    )


# --- tracks and plans -------------------------------------------------------------------------------------------


def likeliest(track: Track) -> tuple[str, float]:
    return max(track.probabilities.items(), key=lambda each: each[1])


def test_overlapping_detections_of_two_classes_are_one_item():
    tracker = Tracker(FieldOfView(0.0, 1.0, 1e9))
    box = (0.4, 0.4, 0.5, 0.5)
    tracker.update([Detection("can", box, 0.6), Detection("film", box, 0.3)], 0.0, 0.0)
    tracker.update([Detection("can", box, 0.2), Detection("film", box, 0.7)], 0.0, 0.1)
    [track] = tracker.tracks.values()
    assert likeliest(track) == ("film", pytest.approx(0.59, abs=0.01))


def seen_as(*scores: dict[str, float]) -> tuple[str, float]:
    made = Track(0, 0.0, 0.0, 0.0, 0.05)
    made.add_evidence(scores[0])
    for number, each in enumerate(scores[1:], 1):
        made.update(Measurement(0.0, 0.0, 0.05, each), 0.1 * number)
    return likeliest(made)


@pytest.mark.parametrize(
    ("probabilities", "decision"),
    [
        ({"plastic": 0.5, "can": 0.4, "glass-clear": 0.1}, ("plastic", 0.9, 2)),  # both belong in the second bin
        ({"plastic": 0.3, "can": 0.2, "paper": 0.4}, ("plastic", 0.5, 9)),  # unsure
        ({"unknown": 0.5, "plastic": 0.4}, ("unknown", 0.5, 9)),
        ({"hazard": 0.9}, ("hazard", 0.9, 5)),
    ],
)
def test_the_decision_adds_the_probabilities_of_classes_with_one_destination(line, probabilities, decision):
    assert line[3].decide(probabilities) == (decision[0], pytest.approx(decision[1]), decision[2])


def test_agreeing_images_raise_the_probability_and_one_image_keeps_its_score():
    assert seen_as({"can": 0.7, "film": 0.2}) == (
        "can",
        pytest.approx(0.7 / 0.95),
    )  # half of what is missing: there is nothing
    sure = [seen_as(*[{"can": 0.7, "film": 0.2}] * many)[1] for many in (1, 2, 4, 16)]
    assert sure == sorted(sure) and 0.9 < sure[-1] < 0.97  # they are alike: no number of them makes certain
    assert seen_as(*[{"can": 0.2}] * 16)[1] < 0.2  # it is something else, as each of them says
    assert seen_as({"can": 0.9}, {"film": 0.9})[1] < 0.6


def test_a_thing_keeps_its_number_while_the_belt_runs():
    tracker = Tracker(FieldOfView(0.0, 1.0, 1e9))
    for step in range(5):
        x = 0.1 * step
        tracker.update([Detection("can", (0.3 + x, 0.4, 0.4 + x, 0.5), 0.9)], x, 0.3 * step)
    [track] = tracker.tracks.values()
    assert track.hits == 5
    assert track.u == pytest.approx(-0.15, abs=1e-6)


def test_a_long_thing_that_leaves_the_picture_slowly_is_not_forgotten():
    tracker = Tracker(FieldOfView(0.0, 1.0, 1e9))
    for step in range(20):
        x = 0.5 + 0.03 * step
        tracker.update([Detection("can", (x, 0.4, min(x + 0.3, 1.0), 0.5), 0.9)], 0.03 * step, 0.15 * step)
    assert [track.number for track in tracker.tracks.values()] == [0]


def test_what_rolls_is_expected_where_it_has_rolled_to_and_what_lies_where_it_lay():
    rolling, lying = (Track(number, 0.0, 0.0, 0.0, 0.05) for number in range(2))
    for step in range(1, 9):
        rolling.update(Measurement(0.0, 0.01 * step, 0.05, {}), 0.15 * step)
        lying.update(Measurement(0.0, 0.0005 * (-1) ** step, 0.05, {}), 0.15 * step)
    assert rolling.predict(1.2)[1] == pytest.approx(0.08, abs=0.005)
    assert 0.09 < rolling.predict(1.7)[1] < rolling.predict(3.2)[1] < 0.16  # it slows down
    assert lying.predict(3.2) == pytest.approx((0, 0), abs=1e-3)


def test_positions_are_corrected_for_the_height_of_items():
    x, y = FieldOfView(0.0, 1.0, 1.0).position((0.9, 0.1, 1.0, 0.2))
    assert (x, y) == pytest.approx((0.45 * 0.97, 0.35 * 0.97))


def test_the_first_come_is_picked_first():
    window = PickWindow(-0.5, 0.5, 0.2, 0.6)
    first, second = track(0, -0.2), track(1, -0.3)
    assert choose([second, first], lambda each: 1.0, [-0.3, -0.2], 0.35, window) is first


def test_a_single_false_detection_ends_its_track():
    tracker = Tracker(FieldOfView(0.0, 1.0, 1e9))
    tracker.update([Detection("can", (0.4, 0.4, 0.5, 0.5), 0.9)], 0.0, 0.0)
    tracker.update([], 0.0, 0.1)
    assert not tracker.tracks


def track(number: int, u: float) -> Track:
    made = Track(number, 0.0, u, 0.0, 0.05)
    made.update(Measurement(u, 0.0, 0.05, {"can": 1.0}), 0.1)
    return made


def test_the_one_that_would_be_lost_is_picked_first():
    window = PickWindow(-0.5, 0.5, 0.2, 0.6)
    last, early = track(0, 0.3), track(1, -0.4)
    assert choose([early, last], lambda each: 1.0, [-0.4, 0.3], 0.35, window) is last


def test_the_more_valuable_item_is_picked_where_only_one_can_be_reached():
    window = PickWindow(-0.5, 0.5, 0.2, 0.6)
    one, other = track(0, 0.38), track(1, 0.37)
    assert choose([one, other], lambda each: 2.0 if each is other else 1.0, [0.38, 0.37], 0.35, window) is other
    assert choose([track(2, 0.6)], lambda each: 1.0, [0.6], 0.35, window) is None


def test_dark_flat_and_repeated_images_are_unusable():
    picture = np.random.default_rng(0).integers(60, 200, (8, 8, 3), dtype=np.uint8)
    assert is_usable(picture, np.zeros_like(picture))
    assert not is_usable(picture, picture.copy())
    assert not is_usable(picture // 20, np.zeros_like(picture))
    assert not is_usable(np.full_like(picture, 90), np.zeros_like(picture))


def test_after_a_failed_pick_the_other_motion_is_assumed():
    rolling = Track(0, 0.0, 0.0, 0.0, 0.05, velocity=(0.0, 0.1))
    there = rolling.predict(1.0)[1]
    rolling.tries = 1
    assert rolling.predict(1.0)[1] == 0 < there


def test_the_belt_is_as_fast_as_lets_the_foremost_items_be_picked_in_time():
    assert max_belt_speed([], 0.5, 0.5) == math.inf
    alone = max_belt_speed([0.0], 0.5, 0.5)
    assert alone == pytest.approx(0.5 / (FIRST + SLACK * 0.5))
    assert max_belt_speed([0.0, -9.0], 0.5, 0.5) == alone  # what is far away has time
    assert max_belt_speed([0.0, 0.0], 0.5, 0.5) == pytest.approx(0.5 / (FIRST + SLACK * 1.0))


def test_a_crowded_belt_slows_gently_and_goes_on_as_fast_as_before(line):
    guard, _, _, sorter = line
    work(guard, sorter, 1.0)
    told = [float(sorter.step(guard.observe())["belt"][0])]
    sorter.tracker.tracks |= {-n: Track(-n, 0.0, -0.3, 0.0, 0.03, hits=5, evidence={"can": 9.0}) for n in range(1, 12)}
    told += [float(sorter.step(guard.observe())["belt"][0]) for _ in range(20)]
    assert told[0] == pytest.approx(sorter.belt)
    assert told[-1] == pytest.approx(sorter.belt - 20 * BRAKE)
    for number in range(-11, 0):
        sorter.tracker.tracks.pop(number, None)
    told += [float(sorter.step(guard.observe())["belt"][0]) for _ in range(20)]
    assert told[-1] == pytest.approx(sorter.belt - 20 * BRAKE + 20 * GAIN)
