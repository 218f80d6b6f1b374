"""The line: every item is accounted for, the stop stops, and faults do what they say."""

import hashlib
import subprocess
import sys
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from groundup.apps.sorter.config import SimulatorConfig
from groundup.apps.sorter.simulator import items
from groundup.apps.sorter.simulator.environment import PERIOD, SHIFTS, SortingLine, shifted
from groundup.apps.sorter.simulator.items import KINDS
from groundup.apps.sorter.simulator.line import BINS, HOME, Line

SURE = SimulatorConfig(seal=0, drop=0, pixels=32)


def order(target: Any = HOME, suction: int = 0, belt: float = 0, ride: int = 0, stop: int = 0) -> dict[str, Any]:
    return {"target": np.float32(target), "suction": suction, "ride": ride, "belt": np.float32([belt]), "stop": stop}


def quiet(config: SimulatorConfig = SURE) -> Line:
    """A line that nothing arrives on by itself."""
    line = Line(config, np.random.default_rng(0))
    line.due = 1e9
    return line


def lay(line: Line, kind: str = "cardboard", x: float = 0, y: float = 0) -> int:
    """An item at rest on a belt at rest; returns its number."""
    line.speed = 0
    line.put(items.draw(np.random.default_rng(0), kind, line.config), x, y, 0.005)
    line.advance(0.4, HOME, False, 0)
    return line.count - 1


def place(line: Line, number: int) -> np.ndarray:
    return next(posed.place for posed in line.posed() if posed.number == number)


def pick(line: Line, number: int, aside: float = 0) -> list[str]:
    """Lower the cup on an item, some share of its half length off its middle; returns what happened."""
    found = next(posed for posed in line.posed() if posed.number == number)
    x, y, _ = found.place + aside * found.turn[:, 0] * found.item.extent[0]
    line.advance(0.5, (x, y, 0.15), False, 0)
    line.advance(0.2, (x, y, 0), True, 0)
    return [event.what for event in line.events]


def test_gymnasium_finds_no_fault() -> None:
    gymnasium.register("SortingLine-v0", SortingLine, kwargs={"config": SURE})
    check_env(gymnasium.make("SortingLine-v0", render_mode="rgb_array").unwrapped)


def run(seed: int) -> str:
    env, found = SortingLine(SURE), hashlib.sha256()
    env.reset(seed=seed)
    orders = np.random.default_rng(0)
    for _ in range(30):
        seen, *_ = env.step(order(orders.uniform((-0.6, -0.4, 0), (0.6, 0.4, 0.2)), int(orders.integers(2)), 0.5))
        for name in sorted(seen):
            found.update(np.asarray(seen[name]).tobytes())
    return found.hexdigest()


def test_the_same_seed_and_orders_give_the_same_observations() -> None:
    assert run(3) == run(3) != run(4)


@pytest.mark.parametrize("seed", range(2))
def test_every_item_is_accounted_for(seed: int) -> None:
    """In = in bins + passed + on the line, each once, whatever the arm does and whatever goes wrong."""
    rng = np.random.default_rng(seed)
    line = Line(shifted(SimulatorConfig(drop=0.3), "crowded"), rng)
    for _ in range(200):
        line.faults.cling, line.faults.belt = rng.choice((0, 0.3)), rng.uniform(0, 2)
        line.faults.jammed = {int(rng.integers(line.count + 1))}
        near = (
            line.posed()[0].place if line.on and rng.random() < 0.7 else rng.uniform((-0.6, -0.46, 0), (0.6, 0.46, 0.3))
        )
        line.advance(PERIOD, near, bool(rng.random() < 0.8), 0.7, ride=True, stop=bool(rng.random() < 0.05))
        gone = [number for kept in (*line.bins.values(), line.passed) for number, _ in kept]
        assert sorted(gone + [known.number for known in line.on.values()]) == list(range(line.count))
    assert np.all(np.isfinite(line.data.qpos)) and {"picked", "passed"} <= {event.what for event in line.events}


def test_a_carried_item_lands_in_the_bin_below() -> None:
    line = quiet()
    number = lay(line)
    assert pick(line, number) == ["spawned", "picked"]
    line.advance(0.4, (*BINS[4], 0.2), True, 0)
    line.advance(0.4, (*BINS[4], 0.2), False, 0)
    assert line.bins[4] == [(number, "cardboard")] and [event.what for event in line.events][2:] == [
        "released",
        "binned",
    ]


def test_a_pick_and_place_takes_at_most_seven_tenths_of_a_second() -> None:
    line = quiet()
    lay(line)
    start, (x, y, _) = line.time, place(line, 0)
    line.advance(0.15, (x, y, 0), True, 0)
    line.advance(0.3, (*BINS[4], 0.15), True, 0)
    line.advance(0.05, (*BINS[4], 0.15), False, 0)
    line.advance(0.2, (x, y, 0.15), False, 0)
    assert line.time - start < 0.701 and np.abs(line.arm[:2] - (x, y)).max() < 0.02
    line.advance(0.2, HOME, False, 0)
    assert len(line.bins[4]) == 1


def test_the_stop_halts_arm_and_belt_within_a_period_and_keeps_hold() -> None:
    line = quiet()
    pick(line, lay(line))
    line.advance(0.1, (*BINS[9], 0.3), True, 1)
    assert np.abs(line.data.qvel[:3]).max() > 2 and line.speed > 0.5
    line.advance(PERIOD, HOME, False, 1, stop=True)
    before = line.arm.copy(), line.travel
    line.advance(0.5, HOME, False, 1, stop=True)
    assert np.abs(line.arm - before[0]).max() < 1e-3 and line.travel == before[1] and line.held is not None


def test_friction_carries_items_and_lets_them_slide_when_the_belt_brakes_hard() -> None:
    line = quiet()
    number = lay(line, x=-1)
    line.advance(1, HOME, False, 0.5)
    moved = place(line, number)[0] + 1
    assert 0.8 * line.travel < moved < line.travel
    line.advance(0.3, HOME, False, 0, stop=True)
    assert place(line, number)[0] + 1 > moved + 0.01


def test_suction_fails_when_told_or_off_the_middle() -> None:
    line = quiet()
    assert pick(line, lay(line), aside=0.85)[1:] == ["slipped"]
    line = quiet()
    line.faults.seal = 1
    assert pick(line, lay(line))[1:] == ["slipped"]
    line = quiet()
    line.faults.drop = 1
    number = lay(line)
    pick(line, number)
    line.advance(1.2, HOME, True, 0)  # what fell while it was lifted flies up first
    assert [event.what for event in line.events][1:] == ["picked", "dropped"] and place(line, number)[2] < 0.06


def test_a_clinging_cup_lets_go_late() -> None:
    line = quiet()
    pick(line, lay(line))
    line.faults.cling = 0.2
    line.advance(PERIOD, HOME, True, 0)
    line.advance(0.15, HOME, False, 0)
    assert line.held is not None
    line.advance(0.1, HOME, False, 0)
    assert line.held is None


def test_a_jammed_item_stays_while_the_belt_runs() -> None:
    line = quiet()
    number = lay(line)
    line.faults.jammed.add(number)
    line.advance(1, HOME, False, 0.4)
    assert abs(place(line, number)[0]) < 0.05 < 0.3 < line.travel  # the friction of a step moves it a little


def test_a_disturbed_belt_runs_at_another_speed() -> None:
    line = quiet()
    line.faults.belt = 0.5
    line.advance(0.3, HOME, False, 0.4)
    assert line.speed == pytest.approx(0.2)


def test_faults_of_the_camera() -> None:
    env = SortingLine(SURE)
    first, _ = env.reset(seed=0)
    env.faults.lost = True
    lost, *_ = env.step(order())
    assert lost["taken"] == first["taken"] < lost["time"] and np.array_equal(lost["image"], first["image"])
    env.faults.lost, env.faults.frozen = False, True
    frozen, *_ = env.step(order())
    assert frozen["taken"] == frozen["time"] and np.array_equal(frozen["image"], first["image"])
    env.faults.frozen, env.faults.light = False, 0
    dark, *_ = env.step(order())
    assert dark["image"].mean() < 5 < first["image"].mean()


def test_a_camera_may_take_fewer_pictures_than_the_line_has_steps() -> None:
    env = SortingLine(SURE, every=3)
    env.reset(seed=0)
    taken = [float(env.step(order(belt=0.5))[0]["taken"][0]) for _ in range(7)]
    assert taken == pytest.approx([0, 0, 3 * PERIOD, 3 * PERIOD, 3 * PERIOD, 6 * PERIOD, 6 * PERIOD])


def test_arrivals_do_not_depend_on_the_arm() -> None:
    lines = [Line(SimulatorConfig(), np.random.default_rng(1)) for _ in range(2)]
    for number, line in enumerate(lines):
        for _ in range(80):
            line.advance(PERIOD, (0, 0, 0), bool(number), 0.5)
    spawned = [[event for event in line.events if event.what == "spawned"] for line in lines]
    assert spawned[0] == spawned[1] and len(spawned[0]) > 3


@pytest.mark.parametrize("name", SHIFTS)
def test_shifts_are_lines_of_their_own(name: str) -> None:
    config = SimulatorConfig.model_validate(shifted(SimulatorConfig(), name).model_dump())
    assert config != SimulatorConfig() and set(KINDS).isdisjoint({"unknown"})


def test_without_the_extra_one_sentence_names_it() -> None:
    code = """
import sys
sys.modules["mujoco"] = sys.modules["gymnasium"] = None
import numpy
from groundup.core.errors import InputError
from groundup.apps.sorter.config import SimulatorConfig
from groundup.apps.sorter.simulator.frames import frames
environment = "groundup.apps.sorter.simulator.environment"
for act in (lambda: next(frames(0, 1, SimulatorConfig())), lambda: __import__(environment)):
    try:
        act()
    except InputError as error:
        print(error)
"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.splitlines()
    assert len(out) == 2 and all("pip install 'groundup[sorter]'" in line for line in out)
