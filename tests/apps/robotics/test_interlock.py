"""The guard's state machine: its table, every interleaving of few threads, and random ones of real threads on slow
robots."""

from collections.abc import Callable
from threading import Lock

import pytest

from groundup.apps.robotics.interlock import Interlock, State
from tests.apps.robotics.interleavings import explore
from tests.apps.robotics.stop_soak import SETTINGS, soak

GOING = ["observe", "act"]
STOPPED = ["observe", "act", "stop"]
TWO = {
    "a stop and a reset": (STOPPED, [["stop"], ["reset"]]),
    "a stop and an action": (GOING, [["stop"], ["act"]]),
    "a stop and a picture with an action": (GOING, [["stop"], ["observe", "act"]]),
    "a stop that is answered, and an action": (GOING, [["stop", "reset"], ["act"]]),
    "a stop, and a driver after a reset": (STOPPED, [["stop"], ["reset", "observe", "act"]]),
    "two who stop and reset": (STOPPED, [["stop", "reset"], ["stop", "reset"]]),
    "two resets": (STOPPED, [["reset"], ["reset"]]),
    "the watchdog and an action": (GOING, [["check"], ["observe", "act"]]),
}
THREE = {
    "two resets and a stop": (STOPPED, [["reset"], ["reset"], ["stop"]]),
    "two stops and a reset": (STOPPED, [["stop"], ["stop"], ["reset"]]),
    "an action, a stop, a reset": (GOING, [["act"], ["stop"], ["reset"]]),
}


@pytest.mark.parametrize("failing", [0, 1])
@pytest.mark.parametrize("name", TWO)
def test_every_interleaving_of_two_threads(name, failing):
    assert explore(*TWO[name], fine=False, failing=failing)[0] > 20


@pytest.mark.slow
@pytest.mark.parametrize("name", THREE)
def test_every_interleaving_of_three_threads(name):
    assert explore(*THREE[name], fine=False)[0] > 200


@pytest.mark.slow
def test_every_interleaving_of_a_stop_and_a_reset_line_by_line():
    """The lines of the stop, which takes no lock, one by one."""
    assert explore(*TWO["a stop and a reset"], fine=True)[0] > 200


def test_the_table():
    """Every event in every state leads where the table says."""

    def made(state: State) -> Interlock:
        lock = Interlock(1.0)
        lock.saw(0.0, lock.epoch)
        if state is State.HELD:
            lock.watch(9.0)
        if state in (State.STOPPED, State.RESETTING):
            lock.stop_ends(lock.stop_begins("why"))
        if state is State.RESETTING:
            lock.reset_begins()
        assert lock.state is state
        return lock

    events: dict[str, Callable[[Interlock], object]] = {
        "stop begins": lambda lock: lock.stop_begins("now"),
        "reset begins": lambda lock: lock.reset_begins(),
        "reset ends": lambda lock: lock.reset_ends(lock.newest, True),
        "reset fails": lambda lock: lock.reset_ends(lock.newest, False),
        "watch: too late": lambda lock: lock.watch(9.0),
        "action begins": lambda lock: lock.action_begins(0.5),
        "action on an old picture": lambda lock: lock.action_begins(9.0),
    }
    going, held, stopped, resetting = State
    table = {
        going: (stopped, resetting, None, None, held, going, held),
        held: (stopped, resetting, None, None, held, going, held),
        stopped: (stopped, resetting, None, None, stopped, stopped, stopped),
        resetting: (stopped, resetting, going, stopped, resetting, resetting, resetting),
    }
    for state, row in table.items():
        for (name, event), expected in zip(events.items(), row, strict=True):
            if expected is not None:
                lock = made(state)
                event(lock)
                assert lock.state is expected, (state, name)


def test_a_reset_that_a_stop_overtook_ends_in_stopped_whoever_resets_then():
    lock = Interlock(1.0)
    lock.stop_ends(lock.stop_begins("first"))
    one = lock.reset_begins()
    stop = lock.stop_begins("second")
    assert lock.reset_begins() is None  # it is still under way
    lock.stop_ends(stop)
    two = lock.reset_begins()
    assert (one, two) == (1, 2)
    assert not lock.reset_ends(one, True)
    assert lock.state is State.RESETTING
    assert lock.reset_ends(two, True)
    assert lock.state is State.GOING


def test_a_reset_answers_the_stop_that_it_names_and_no_newer_one():
    lock = Interlock(1.0)
    for _ in range(2):
        lock.stop_ends(lock.stop_begins("why"))
    assert [lock.reset_begins(number) for number in (0, 1, 3, -1)] == [None] * 4
    assert lock.reset_begins(2) == 2


def test_a_signal_handler_may_stop_while_its_thread_has_the_lock():
    """The handler comes in the middle of an event; what that event writes afterwards does not undo the stop."""
    lock = Interlock(1.0)
    lock.saw(0.0, lock.epoch)
    calls: list[str] = []

    class Interrupted:
        def __enter__(self) -> None:
            pass

        def __exit__(self, *_: object) -> None:
            calls.append("stop")
            lock.stop_ends(lock.stop_begins("Ctrl-C"))

    for event in (
        lambda: lock.action_begins(0.5),
        lambda: lock.reset_ends(lock.reset_begins() or 0, True),
        lambda: lock.watch(9.0),
    ):
        lock._lock = Interrupted()  # type: ignore[assignment]
        event()
        lock._lock = Lock()
        assert lock.stopped is not None
        lock.action_ended()
        lock._ended = lock._begun
        assert lock.reset_ends(lock.reset_begins() or 0, True)
    assert calls


@pytest.mark.parametrize("setting", SETTINGS)
def test_no_stop_is_lost_by_real_threads(setting):
    tries, lost = soak(setting, 200)
    assert (tries, lost) == (200, 0)
