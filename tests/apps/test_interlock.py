"""The guard's state machine: its table, every interleaving of few threads, and random ones of real threads on slow limbs."""

import pytest
from interleavings import explore

GOING = ["observe", "act"]
STOPPED = ["observe", "act", "stop"]
TWO = {
    "a stop and a reset": (STOPPED, [["stop"], ["reset"]]),
    "a stop and an action": (GOING, [["stop"], ["act"]]),
    "a stop and a picture with an action": (GOING, [["stop"], ["observe", "act"]]),
    "a stop that is answered, and an action": (GOING, [["stop", "reset"], ["act"]]),
    "a stop, and a driver after a reset": (STOPPED, [["stop"], ["reset", "observe", "act"]]),
    "two resets": (STOPPED, [["reset"], ["reset"]]),
    "the watchdog and an action": (GOING, [["check"], ["observe", "act"]]),
}
THREE = {
    "two resets and a stop": (STOPPED, [["reset"], ["reset"], ["stop"]]),
    "two stops and a reset": (STOPPED, [["stop"], ["stop"], ["reset"]]),
    "an action, a stop, a reset": (GOING, [["act"], ["stop"], ["reset"]]),
    "two actions and a stop": (GOING, [["act"], ["act"], ["stop"]]),
    "two who stop and reset": (STOPPED, [["stop", "reset"], ["stop", "reset"]]),
    "an action, a stop, the watchdog": (GOING, [["act"], ["stop"], ["check"]]),
}


@pytest.mark.parametrize("failing", [0, 1])
@pytest.mark.parametrize("name", TWO | THREE)
def test_every_interleaving_of_events(name, failing):
    runs, states = explore(*(TWO | THREE)[name], fine=False, failing=failing)
    print(name, failing, runs, states)
