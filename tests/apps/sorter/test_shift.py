"""A shift on the simulated line: its accounts, what people see and order meanwhile, and what goes wrong on a real
line.
"""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import get_args

import numpy as np
import pytest

pytest.importorskip("mujoco")
pytest.importorskip("scipy")

from groundup.apps.sorter.config import LinePart, SimulatorConfig
from groundup.apps.sorter.faults import FaultInjection, StalledModel
from groundup.apps.sorter.figures import Tally, reliability
from groundup.apps.sorter.interpretation import CERTAIN, Interpretation
from groundup.apps.sorter.model_client import RemoteModel
from groundup.apps.sorter.policy import standard_policy
from groundup.apps.sorter.robot import STANDARD, Oracle, SimulatedLine, setting
from groundup.apps.sorter.shift import WorkShift
from groundup.apps.sorter.simulator.environment import PERIOD, SHIFTS
from groundup.apps.sorter.simulator.line import MANUAL, Event
from groundup.codecs.detections import Detection
from groundup.core.errors import InputError

PART = SimulatorConfig(pixels=64)  # twice as fast as at full size


def shift_of(
    config: SimulatorConfig = PART, seed: int = 7, score: float = 0.99
) -> tuple[WorkShift, SimulatedLine, StalledModel]:
    robot = SimulatedLine(config, seed)
    client = StalledModel(Oracle(robot, score))
    return WorkShift(robot, client), robot, client


def balanced(shift: WorkShift, robot: SimulatedLine) -> bool:
    """Whether the accounts of the events are those of the line, item by item."""
    line, tally = robot.line.line, shift.tally
    lying = {number for lot in line.bins.values() for number, _ in lot}
    assert set(tally.on) == {each.number for each in line.on.values()}
    assert set(tally.on) | lying | {number for number, _ in line.passed} == set(range(tally.arrived))
    return tally.arrived == tally.sorted + tally.manual + tally.passed + len(tally.on)


def events(robot: SimulatedLine, what: str, since: float = 0.0) -> list[Event]:
    return [event for event in robot.events if event.what == what and event.time >= since]


# --- accounts ---------------------------------------------------------------------------------------------------


def test_items_are_judged_by_the_policy_they_were_picked_under():
    tally, now, later = Tally(), {"can": 2, "film": 2}, {"can": "leave", "film": 2}
    for number, kind in enumerate(("can", "film", "film", "unknown", "can")):
        tally.add(Event(0.0, "spawned", number, kind), now)
    tally.add(Event(1.0, "picked", 0, "can"), now)
    for event in (
        Event(2.0, "binned", 0, "can", 2),
        Event(2.0, "binned", 1, "film", 3),
        Event(2.0, "passed", 2, "film"),
    ):
        tally.add(event, later)
    tally.add(Event(3.0, "binned", 3, "unknown", MANUAL), later)
    tally.add(Event(3.0, "passed", 4, "can"), later)
    assert (tally.sorted, tally.right, tally.manual, tally.passed, tally.sortable, len(tally.on)) == (2, 1, 1, 2, 3, 0)
    assert (tally.purity().value, tally.recovery().value) == (1 / 2, 1 / 3)
    with pytest.raises(KeyError):
        tally.add(Event(4.0, "passed", 4, "can"), later)


def test_reliability_counts_a_thing_once_and_only_by_its_kind():
    shift, robot, _ = shift_of()
    shift.run(seconds=5)
    [first, *_] = truth = [each for each in robot.line.seen if each.visible > 0.5]
    box = tuple(np.array(first.box) / PART.pixels)

    class Twice:
        def detect(self, picture):
            return [
                Detection(first.kind, box, 0.9),
                Detection(first.kind, box, 0.9),
                Detection("film" if first.kind != "film" else "can", box, 0.3),
            ]

    found = reliability(Twice(), [(robot.line.image, truth)])
    assert [(round(each.probability, 3), each.right.value, each.right.n) for each in found.bins] == [
        (0.3, 0.0, 1),
        (0.9, 0.5, 2),
    ]


# --- people -----------------------------------------------------------------------------------------------------


def test_what_people_see_is_json_and_agrees_with_the_line():
    shift, robot, _ = shift_of()
    shift.run(items=12)
    state = json.loads(json.dumps(shift.state()))
    assert state["arrived"] == state["sorted"] + state["manual"] + state["passed"] + state["on"]
    held = {each["number"]: sum(each["kinds"].values()) for each in state["bins"]}
    assert held == {
        number: len(lying)
        for number, lying in robot.line.line.bins.items()
        if lying or number in (*range(1, 6), MANUAL)
    }
    assert (
        state["policy"]["en"].startswith("Bin 1 (blue)")
        and state["stopped"] is None
        and shift.picture().shape == (64, 64, 3)
    )
    places = [(track["x"], track["y"]) for track in state["tracks"]]
    true = np.array([each.place[:2] for each in robot.line.line.posed()])
    assert sum(np.hypot(*(true - place).T).min() < 0.04 for place in places) >= 0.8 * len(places)


def test_boxes_that_are_shown_lie_on_the_things_of_the_newest_picture():
    shift, robot, _ = shift_of()
    shift.run(seconds=8)
    shown = {tuple(np.round(each["box"], 2)): each["kind"] for each in shift.state()["boxes"]}
    truth = {
        each.kind: np.array(each.box) / PART.pixels
        for each in robot.line.seen
        if each.visible > 0.5 and each.box[0] > 8
    }
    assert truth
    for kind, box in truth.items():
        assert min(np.abs(np.array(other) - box).max() for other, name in shown.items() if name == kind) < 0.06


def test_an_order_takes_effect_within_a_second_wholly_or_not_at_all():
    shift, robot, _ = shift_of()
    shift.run(seconds=6)
    assert shift.order("route hazard 1", "en")["refusal"].startswith("Hazards go alone")
    said = shift.order("ask bottle", "en")
    assert said == {"question": "Which bottles: glass, or plastic?", "line": "ask bottle", "model": ""}
    assert shift.order("no line of the language", "zh")["refusal"] == "这不是分拣指令。"
    assert shift.sorter.policy == standard_policy()
    said = shift.order("only glass", "en")
    assert "Left on the belt: plastic bottles" in said["policy"]
    shift.run(seconds=20)
    assert {event.kind.split("-")[0] for event in events(robot, "binned", 7.0)} <= {"glass", "hazard"}
    assert (
        "order: policy" in [event["what"] for event in shift.state()["events"]]
        or len(events(robot, "spawned", 6.0)) > 10
    )


def test_what_interpret_raises_changes_nothing():
    shift, _, _ = shift_of()

    def broken(text: str) -> str:
        raise ConnectionError("gone")

    shift.interpret = broken
    with pytest.raises(ConnectionError):
        shift.order("leave paper", "en")
    assert shift.sorter.policy == standard_policy()


def doubtful(probability: float = 0.5, threshold: float = 0.9):
    """A shift whose model is not certain of what it says, which is the sentence."""
    shift, _, _ = shift_of()
    shift.interpret, shift.threshold = (lambda text: Interpretation(text, probability, "parrot")), threshold
    return shift


def left(shift) -> bool:
    return shift.sorter.policy.destinations["paper"] == "leave"


def test_an_improbable_order_changes_nothing_before_a_yes():
    shift = doubtful()
    said = shift.order("leave paper; route can 3", "en")
    assert said == {
        "confirm": "leave paper on the belt; cans into bin 3",
        "line": "leave paper; route can 3",
        "model": "parrot",
        "order": 1,
    }
    shift.run(seconds=2)
    assert shift.sorter.policy == standard_policy()
    assert shift.state()["waiting"] == {"order": 1, "text": said["line"], "words": said["confirm"]}
    assert "Left on the belt: paper" in shift.confirm(1, yes=True)["policy"]
    assert left(shift) and shift.state()["waiting"] is None
    assert [event["what"] for event in shift._events if "text" in event] == ["order: confirm", "order: policy"]


def test_a_probable_order_is_carried_out_at_once():
    shift = doubtful(0.9)
    assert "policy" in shift.order("leave paper", "zh") and left(shift)


@pytest.mark.parametrize("threshold", [1.0, 0.51])
def test_a_model_that_was_not_calibrated_asks_about_all(threshold):
    shift = doubtful(CERTAIN if threshold == 1.0 else 0.5, threshold)
    assert shift.order("leave paper", "zh")["confirm"] == "纸张留在带上"


def answered(shift) -> None:
    shift.confirm(1, yes=True)


def refused(shift) -> None:
    shift.confirm(1, yes=False)


def stopped(shift) -> None:
    shift.stop()
    assert shift.state()["waiting"] is None
    assert shift.resume()


def another(shift) -> None:
    shift.order("sure more", "en")


def asked_back(shift) -> None:
    shift.order("ask bin", "en")


def failed(shift) -> None:
    shift.interpret = lambda text: 1 / 0
    with pytest.raises(ZeroDivisionError):
        shift.order("leave can", "en")


def late(shift) -> None:
    shift._waiting = shift._waiting._replace(until=time.monotonic() - 0.1)


@pytest.mark.parametrize("after", [answered, refused, stopped, another, asked_back, failed, late])
def test_a_yes_that_comes_late_or_twice_is_refused(after):
    shift = doubtful()
    shift.order("leave paper", "en")
    after(shift)
    before = shift.sorter.policy
    for yes in (True, False):
        with pytest.raises(InputError, match="order 1 does not wait for an answer any more"):
            shift.confirm(1, yes)
    assert shift.sorter.policy is before and left(shift) == (after is answered)


@pytest.mark.parametrize("certain", [False, True])
def test_of_two_orders_at_once_the_newer_one_may_wait(monkeypatch, certain):
    shift, begun, go_on = doubtful(), threading.Event(), threading.Event()
    quick = shift.interpret

    def slow(text: str) -> Interpretation:
        begun.set()
        assert go_on.wait(60)
        return quick(text)

    shift.interpret = slow
    older = threading.Thread(target=shift.order, args=("leave paper", "en"))
    older.start()
    assert begun.wait(60)
    shift.interpret = quick
    newer = shift.order("leave can", "en")
    if certain:
        monkeypatch.setattr(shift, "threshold", 0.5)
    go_on.set()
    older.join()
    assert newer["order"] == 2
    if certain:  # the policy that the newer one would have come to is no more
        assert left(shift) and shift.state()["waiting"] is None
        return
    assert shift.state()["waiting"]["order"] == 2
    with pytest.raises(InputError):
        shift.confirm(1, yes=True)


def test_a_watched_line_keeps_the_walls_time_and_takes_orders_from_other_threads():
    shift, _, _ = shift_of()
    shift.pace = 4.0
    start = time.perf_counter()
    worker = threading.Thread(target=shift.run)
    worker.start()
    while shift.state()["time"] < 2:
        time.sleep(0.01)
    assert time.perf_counter() - start >= 0.45
    shift.order("leave can", "en")
    shift.stop()
    stood = shift.state()
    assert stood["stopped"] == "an operator pressed stop" and "Left on the belt: cans" in stood["policy"]["en"]
    shift.end()
    worker.join(60)
    assert not worker.is_alive()


def test_a_setting_that_is_none_is_refused():
    with pytest.raises(InputError, match="rainy: no setting of the line; there are standard, dark"):
        setting("rainy")


def test_a_recipe_may_name_every_setting():
    [names, _] = get_args(LinePart.model_fields["settings"].annotation)
    assert set(get_args(names)) == {STANDARD, *SHIFTS}


# --- what goes wrong --------------------------------------------------------------------------------------------


def test_the_oracle_keeps_the_figures_of_the_standard_setting():
    shift, robot, _ = shift_of(seed=1)
    shift.run(items=40)
    tally = shift.tally
    assert balanced(shift, robot)
    assert tally.right >= 0.98 * tally.sorted and tally.right >= 0.9 * tally.sortable
    assert shift.figures()["picks_a_minute"] >= 65  # the first items take four seconds to come


@pytest.mark.parametrize(
    ("fault", "value", "least"),
    [("seal", 0.5, 0.6), ("drop", 0.4, 0.6), ("belt", 1.4, 0.85), ("belt", 0.6, 0.85), ("cling", 0.1, 0.85)],
)
def test_a_faulty_arm_or_belt_costs_recovery_and_not_purity(fault, value, least):
    shift, robot, _ = shift_of()
    setattr(robot.line.faults, fault, value)
    shift.run(items=16)
    assert balanced(shift, robot)
    assert shift.tally.right >= 0.9 * shift.tally.sorted
    assert shift.tally.right >= least * shift.tally.sortable


def test_an_item_that_sticks_does_not_hold_up_the_others():
    shift, robot, _ = shift_of()
    shift.run(seconds=3)
    robot.line.faults.jammed = {0}
    shift.run(items=20)
    assert balanced(shift, robot)
    assert shift.tally.right >= 0.8 * shift.tally.sortable


def test_what_overlaps_is_sorted_too():
    shift, robot, _ = shift_of(SimulatorConfig(pixels=64, overlap=0.5))
    shift.run(items=20)
    assert balanced(shift, robot)
    assert shift.tally.right >= 0.95 * shift.tally.sorted and shift.tally.right >= 0.6 * shift.tally.sortable


def test_out_of_class_objects_go_to_manual_sorting_where_the_score_is_low():
    robot = SimulatedLine(SimulatorConfig(pixels=64, unknown=0.3), 7)

    class Doubtful(Oracle):
        def detect(self, picture):
            seen = super().detect(picture)
            either = [
                Detection(kind, each.box, score)
                for each in seen
                if each.class_name == "unknown"
                for kind, score in (("can", 0.45), ("paper", 0.35))
            ]
            return [each for each in seen if each.class_name != "unknown"] + either

    shift = WorkShift(robot, Doubtful(robot))
    shift.run(items=15)
    assert {event.bin for event in events(robot, "binned") if event.kind == "unknown"} == {MANUAL}
    assert shift.tally.right == shift.tally.sorted


def test_a_full_bin_is_closed_while_the_others_go_on():
    shift, robot, _ = shift_of()
    shift.run(seconds=6)
    shift.sorter.full.add(3)
    shift.run(seconds=15)
    assert 3 not in {event.bin for event in events(robot, "binned", 8.0)}
    assert [each["number"] for each in shift.state()["bins"] if each["full"]] == [3]


def test_a_stalled_model_stops_the_line_until_it_answers_again():
    shift, robot, client = shift_of()
    shift.run(seconds=6)
    client.stalled = True
    shift.run(seconds=3)
    assert shift.state()["belt"] == pytest.approx(0, abs=1e-3)
    client.stalled = False
    shift.run(seconds=10)
    assert balanced(shift, robot) and events(robot, "binned", 10.0)
    assert shift.tally.right == shift.tally.sorted


def test_a_model_server_that_restarts_is_found_again():
    robot = SimulatedLine(PART, 7)
    oracle = Oracle(robot)

    class Answer(BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            things = [
                {"kind": each.class_name, "box": each.box, "score": each.score}
                for each in oracle.detect(np.zeros((64, 64, 3), np.uint8))
            ]
            body = json.dumps({"data": [{"things": things}]}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    def begin(port: int) -> ThreadingHTTPServer:
        server = ThreadingHTTPServer(("127.0.0.1", port), Answer)
        threading.Thread(target=server.serve_forever, args=(0.01,)).start()
        return server

    def kill(server: ThreadingHTTPServer) -> None:
        server.shutdown()
        server.server_close()

    server = begin(0)
    port = server.server_port
    shift = WorkShift(robot, RemoteModel(f"http://127.0.0.1:{port}", "oracle"))
    shift.run(seconds=7)
    assert (before := len(events(robot, "binned"))) > 0
    kill(server)
    shift.run(seconds=3)
    assert shift.state()["belt"] == pytest.approx(0, abs=1e-3)
    server = begin(port)
    shift.run(seconds=6)
    kill(server)
    assert len(events(robot, "binned")) > before
    assert balanced(shift, robot) and shift.tally.right == shift.tally.sorted


def test_what_is_held_at_a_stop_goes_to_its_bin_when_the_line_goes_on():
    shift, robot, _ = shift_of(SimulatorConfig(pixels=64, drop=0, seal=0))
    while not shift.state()["holding"]:
        shift.step()
    number = events(robot, "picked")[-1].number
    shift.stop()
    shift.run(seconds=4)
    assert shift.state()["holding"] and shift.state()["stopped"]
    shift.resume()
    shift.run(seconds=2)
    [event] = [event for event in events(robot, "binned") if event.number == number]
    assert standard_policy().destinations[event.kind] == event.bin


def test_a_resume_answers_the_stop_that_its_operator_saw():
    shift, _, _ = shift_of()
    shift.stop()
    seen = shift.state()["stop"]
    shift.stop("another operator")
    assert not shift.resume(seen)
    assert shift.state()["stopped"]
    assert shift.resume(shift.state()["stop"])
    assert not shift.resume(seen)  # once more, late
    assert shift.state()["stopped"] is None


@pytest.mark.parametrize("seed", [0, 1])
def test_the_emergency_stop_halts_all_within_50_ms_whatever_else_happens(seed):
    shift, robot, client = shift_of(seed=seed)
    rng = np.random.default_rng(seed)
    trouble = FaultInjection(robot, client, rng)
    for _ in range(4):
        for _ in range(int(rng.integers(10, 80))):
            trouble.step()
            shift.step()
        shift.stop()
        shift.step()
        line = robot.line.line
        assert (
            np.abs(np.add(line.pace, (line.speed, 0, 0))).max() < 1e-2 and abs(line.speed) < 1e-9
        )  # after one period of 50 ms
        place = line.arm
        shift.run(seconds=0.5)
        assert np.abs(robot.line.line.arm - place).max() < 1e-3
        shift.resume()
    assert balanced(shift, robot) and PERIOD <= 0.05


def test_a_shift_with_random_faults_loses_no_item():
    shift, robot, client = shift_of(SimulatorConfig(pixels=64, unknown=0.05), seed=3)
    trouble = FaultInjection(robot, client, np.random.default_rng(3))
    while robot.now() < 50:
        trouble.step()
        shift.step()
    assert trouble.count >= 4
    assert balanced(shift, robot)
    assert shift.tally.right >= 0.85 * shift.tally.sorted and shift.tally.right > 15


def test_a_failure_of_the_sorter_stops_the_line():
    shift, _, _ = shift_of()
    shift.run(seconds=3)
    shift.sorter.client = None
    with pytest.raises(AttributeError):
        shift.run(seconds=1)
    assert shift.guard.stopped.startswith("the sorter failed: AttributeError")
