"""The guard of a robot: whatever goes wrong, motion ends in time, and begins again only when it may."""

import threading
import time
from contextlib import suppress
from random import Random

import numpy as np
import pytest

from groundup.apps.robotics.guard import Guarded, Stopped
from groundup.apps.robotics.robot import Robot
from groundup.core.errors import InputError
from tests.apps.robotics.robot_helpers import PERIOD, Cart, action

LIMIT = 4 * PERIOD  # ms without an action, or a picture, until it is held


class Fault(Exception):
    pass


def driven(cart: Cart, periods: int = 3) -> Guarded:
    guard = Guarded(cart)
    guard.connect()
    for _ in range(periods):
        guard.observe()
        guard.act(action())
    return guard


def watched(cart: Cart) -> Guarded:
    """A guard whose check the simulated world itself calls each millisecond."""
    guard = driven(cart)
    cart.on = lambda what: guard.check() if what == "tick" else None
    return guard


def run(cart: Cart, ms: int) -> None:
    for _ in range(ms):
        cart.tick()


def test_a_guard_is_a_robot():
    robot: Robot = Guarded(Cart())
    assert robot.describe().name == "cart"


# --- what may be asked -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong",
    [
        {"speed": np.float32([np.nan]), "lamp": np.zeros(3)},
        {"speed": np.float32([np.inf]), "lamp": np.zeros(3)},
        {"speed": np.float32([1, 1]), "lamp": np.zeros(3)},
        {"speed": np.float32([1])},
        {**action(), "extra": np.float32([1])},
    ],
    ids=["nan", "infinite", "too many", "missing", "unknown"],
)
def test_what_is_no_action_is_refused_and_not_told(wrong):
    cart = Cart()
    guard = driven(cart)
    told = len(cart.told)
    with pytest.raises(InputError, match="cart"):
        guard.act(wrong)
    assert len(cart.told) == told


@pytest.mark.parametrize(("asked", "done"), [(5.0, 1.0), (-1e30, -1.0), (0.25, 0.25)])
def test_what_is_outside_its_limits_goes_to_the_nearest(asked, done):
    cart = Cart()
    driven(cart).act(action(asked))
    assert cart.told[-1]["speed"] == done


def test_nothing_moves_before_something_was_seen():
    cart = Cart()
    guard = Guarded(cart)
    guard.connect()
    with pytest.raises(Stopped, match="picture"):
        guard.act(action())
    assert cart.told == []


# --- held: by itself, until the next action with a fresh picture ---------------------------------------------


def test_without_an_action_it_is_held_in_time():
    cart = Cart()
    guard = watched(cart)
    last = cart.ms
    for _ in range(10):
        guard.observe()
    assert last + LIMIT <= cart.moved[-1] <= last + LIMIT + 1
    assert guard.held == "no action for 0.20 s"
    assert cart.stops == 1


def test_a_driver_that_only_observes_is_noticed_without_help_of_the_world():
    cart = Cart()
    guard = driven(cart)
    last = cart.ms
    for _ in range(10):
        guard.observe()
    assert cart.moved[-1] <= last + LIMIT + PERIOD


def test_actions_on_a_frozen_picture_are_refused_and_halt():
    cart = Cart()
    guard = watched(cart)
    cart.frozen = frozen = cart.ms
    refused = 0
    for _ in range(10):
        guard.observe()
        try:
            guard.act(action())
        except Stopped:
            refused += 1
    assert refused == 6
    assert cart.moved[-1] <= frozen + LIMIT + 1


def test_a_held_robot_goes_on_with_a_fresh_observation():
    cart = Cart()
    guard = watched(cart)
    run(cart, 2 * LIMIT)
    assert guard.held
    with pytest.raises(Stopped, match="picture"):
        guard.act(action())
    guard.observe()
    guard.act(action())
    guard.observe()
    assert cart.moved[-1] == cart.ms
    assert guard.held is None


def test_a_picture_of_the_future_is_one_of_now():
    cart = Cart()
    guard = watched(cart)
    cart.frozen = cart.ms + 10**6
    guard.observe()
    run(cart, LIMIT + 2)
    with pytest.raises(Stopped, match="picture"):
        guard.act(action())


def test_a_clock_that_is_no_number_holds():
    cart = Cart()
    guard = driven(cart)
    cart.now = lambda: np.nan
    guard.check()
    assert guard.held
    assert cart.speed == 0


# --- stopped: by anybody, until reset --------------------------------------------------------------------------


def test_stop_stays_until_reset_and_may_come_twice():
    cart = Cart()
    guard = driven(cart)
    guard.stop("a hand in the machine")
    guard.stop("again")
    for _ in range(3):
        guard.observe()
        with pytest.raises(Stopped, match="a hand in the machine"):
            guard.act(action())
    assert len(cart.told) == 3
    guard.reset()
    with pytest.raises(Stopped, match="picture"):  # what was seen before does not count
        guard.act(action())
    guard.observe()
    guard.act(action())
    assert len(cart.told) == 4


@pytest.mark.parametrize("seed", range(300))
def test_stop_halts_within_50_ms_whatever_else_happens(seed):
    """At a random call or millisecond somebody stops it, while calls to the robot fail at random, and those to its stop
    often.
    """
    rng = Random(seed)
    cart = Cart()
    guard = driven(cart)
    moments, stopped = iter(range(rng.randrange(700))), []

    def chance(what: str) -> None:
        if not stopped and next(moments, None) is None:
            stopped.append(cart.ms)
            with suppress(Fault):  # the next check tells it again
                guard.stop("test")
        if what == "tick":
            with suppress(Fault):
                guard.check()
        elif rng.random() < (0.8 if what == "stop" else 0.01):
            raise Fault(what)

    cart.on = chance
    while not stopped or cart.ms < stopped[0] + 200:
        for call in (guard.observe, lambda: guard.act(action(0.5))):
            with suppress(Fault, Stopped):
                call()
    assert [ms for ms in cart.moved if ms > stopped[0] + 50] == []
    assert guard.stopped


@pytest.mark.parametrize("what", ["connect", "observe", "act", "acted"])
@pytest.mark.parametrize("error", [Fault, KeyboardInterrupt])
def test_a_robot_that_fails_is_stopped(what, error):
    cart = Cart()
    guard = driven(cart)

    def fail(call: str) -> None:
        if call == what:
            raise error

    cart.on = fail
    with pytest.raises(error):
        getattr(guard, {"acted": "act"}.get(what, what))(*[action()] * (what.startswith("act")))
    assert cart.speed == 0
    assert "failed" in guard.stopped


def test_a_stop_that_fails_is_tried_again():
    cart = Cart()
    guard = driven(cart)
    failures = [Fault(), Fault()]

    def fail(call: str) -> None:
        if call == "stop" and failures:
            raise failures.pop()

    cart.on = fail
    with pytest.raises(Fault):
        guard.stop()
    with pytest.raises(Fault):
        guard.check()
    assert cart.speed != 0
    guard.check()
    assert cart.speed == 0


def test_an_action_that_a_stop_overtook_is_halted_when_it_returns():
    cart = Cart()
    guard = driven(cart)
    cart.on = lambda call: guard.stop("first") if call == "act" else None
    with pytest.raises(Stopped, match="first"):
        guard.act(action())
    assert cart.speed == 0


def test_a_stop_while_a_reset_is_carried_out_holds():
    """The robot is just being told to stop, by the reset, when somebody presses stop."""
    cart = Cart()
    guard = driven(cart)
    guard.stop("first")
    between = iter(["emergency"])

    def press(call: str) -> None:
        if call == "stop" and (why := next(between, None)):
            guard.stop(why)

    cart.on = press
    assert guard.reset() is False
    guard.observe()
    with pytest.raises(Stopped, match="first"):
        guard.act(action())
    assert (guard.newest, cart.speed) == (2, 0)
    assert guard.reset() is True


def test_nothing_is_reset_while_an_action_from_before_the_stop_is_under_way():
    cart = Cart()
    guard = driven(cart)
    resets = []

    def hurry(call: str) -> None:
        if call == "act":
            guard.stop("first")
            resets.append(guard.reset())

    cart.on = hurry
    with pytest.raises(Stopped, match="first"):
        guard.act(action())
    assert (resets, cart.speed) == ([False], 0)
    assert guard.reset() is True


def test_a_reset_whose_halt_fails_changes_nothing_and_may_be_tried_again():
    cart = Cart()
    guard = driven(cart)
    guard.stop("first")
    failures = [Fault()]

    def fail(call: str) -> None:
        if call == "stop" and failures:
            raise failures.pop()

    cart.on = fail
    with pytest.raises(Fault):
        guard.reset()
    assert guard.stopped == "first"
    assert guard.reset() is True


def test_a_picture_that_was_asked_for_before_a_reset_does_not_count():
    cart = Cart()
    guard = driven(cart)
    guard.stop()
    cart.on = lambda call: guard.reset() if call == "observe" else None
    guard.observe()
    cart.on = lambda call: None
    assert guard.stopped is None
    with pytest.raises(Stopped, match="picture"):
        guard.act(action())


def test_a_stop_before_connect_holds():
    cart = Cart()
    guard = Guarded(cart)
    guard.stop("not yet")
    guard.connect()
    guard.observe()
    with pytest.raises(Stopped, match="not yet"):
        guard.act(action())


def test_an_action_that_the_watchdog_overtook_is_halted_when_it_returns():
    cart = Cart()
    guard = driven(cart)

    def hang(call: str) -> None:
        if call == "act":
            for _ in range(LIMIT + 10):
                cart.ms += 1
                guard.check()

    cart.on = hang
    with pytest.raises(Stopped, match="no action"):
        guard.act(action())
    assert cart.speed == 0


def test_an_action_while_the_watchdog_halts_does_not_pass_for_halted():
    """The action comes after the robot has stopped and before it says so."""
    cart = Cart()
    guard = watched(cart)

    def between(call: str) -> None:
        if call == "tick":
            guard.check()
        if call == "stopped" and cart.stops == 1:
            guard.observe()
            guard.act(action())

    cart.on = between
    run(cart, 4 * LIMIT)
    assert len(cart.told) == 4
    assert cart.speed == 0


def test_stop_comes_from_any_thread_while_the_robot_hangs():
    """The driver's thread is inside `act`, for as long as the stop takes."""
    cart, inside, stopped = Cart(), threading.Event(), threading.Event()
    guard = driven(cart)

    def hang(call: str) -> None:
        if call == "act":
            inside.set()
            assert stopped.wait(10)

    cart.on = hang
    raised = []

    def drive() -> None:
        try:
            guard.act(action())
        except Stopped as error:
            raised.append(str(error))

    driver = threading.Thread(target=drive)
    driver.start()
    assert inside.wait(10)
    guard.stop("from outside")
    assert cart.speed == 0
    stopped.set()
    driver.join(10)
    assert raised == ["from outside"]
    assert cart.speed == 0


def test_a_machine_is_watched_by_a_thread():
    """A robot on the wall's clock whose driver says nothing more."""
    cart = Cart()
    began = time.monotonic()
    cart.now = lambda: time.monotonic() - began
    cart.ms = 0
    guard = driven(cart)
    cart.frozen = 10**9  # in the future: what counts is the missing action
    with guard.watching():
        deadline = time.monotonic() + 10
        while cart.speed and time.monotonic() < deadline:
            time.sleep(0.01)
    assert cart.speed == 0
    assert guard.held or guard.stopped


def test_the_watchdog_survives_a_robot_that_does_not_stop():
    cart = Cart()
    guard = driven(cart)
    cart.ms += 1000
    tries = []

    def fail(call: str) -> None:
        if call == "stop":
            tries.append(call)
            if len(tries) < 3:
                raise Fault

    cart.on = fail
    with guard.watching():
        deadline = time.monotonic() + 10
        while cart.speed and time.monotonic() < deadline:
            time.sleep(0.01)
    assert (len(tries), cart.speed) == (3, 0)
