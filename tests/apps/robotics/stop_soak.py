"""Stops, resets and actions in real threads at random moments; `python -m tests.apps.robotics.stop_soak --tries 10000`
prints how many stops were lost.
"""

import argparse
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from random import Random
from typing import Any

import numpy as np

from groundup.apps.robotics.guard import Guarded, Stopped
from groundup.apps.robotics.robot import Description, Field, Numbers, Observation

ABOUT = Description(
    "cart", 60.0, (), (Field("speed", "m/s", (-1.0,), (1.0,)),), ()
)  # a period in which no watchdog helps
FORWARD = {"speed": np.float32([1])}
# seconds that the robot takes to stop, and to act; how often it fails to stop; who is at work at the same time
SETTINGS = {
    "fast robot, one operator": (0.0, 0.0, 0.0, ("stop", "reset", "drive")),
    "fast robot, two operators": (0.0, 0.0, 0.0, ("stop", "reset", "stop", "reset", "drive")),
    "stop takes 1 ms": (0.001, 0.0, 0.0, ("stop", "reset", "drive")),
    "stop takes 5 ms": (0.005, 0.0, 0.0, ("stop", "reset", "drive")),
    "an action takes 1 ms": (0.0, 0.001, 0.0, ("stop", "reset", "drive")),
    "one call of stop in three fails": (0.0, 0.0, 0.3, ("stop", "reset", "drive")),
}


class Cart:
    """A robot that takes its time, and may fail to stop."""

    def __init__(self, halting: float, acting: float, fails: float, rng: Random):
        self.halting, self.acting, self.fails, self.rng = halting, acting, fails, rng
        self.moving, self.acts = False, list[float]()  # when an action reached it

    def describe(self) -> Description:
        return ABOUT

    def connect(self) -> None:
        pass

    def now(self) -> float:
        return 0.0

    def observe(self) -> Observation:
        return Observation(0.0, {}, {})

    def act(self, action: Numbers) -> None:
        self.acts.append(time.perf_counter())
        rest(self.acting)
        self.moving = True

    def stop(self) -> None:
        rest(self.halting)
        if self.rng.random() < self.fails:
            raise ConnectionError
        self.moving = False


def rest(seconds: float) -> None:
    if seconds:
        time.sleep(seconds)


@dataclass
class Try:
    """One try: what began and ended when, so that what is counted as lost is lost however late a thread reads the
    clock."""

    guard: Guarded
    ended: list[float] = field(default_factory=list)  # of stops: before they counted as answered
    returned: list[float] = field(default_factory=list)
    begun: list[float] = field(default_factory=list)  # of resets that took effect: after they had begun
    drives: list[float] = field(default_factory=list)  # of actions: before they were asked for

    def stop(self) -> None:
        tell = self.guard.stopping("emergency")
        try:
            tell()
        except ConnectionError:
            return
        finally:
            self.returned.append(time.perf_counter())

    def reset(self) -> None:
        tell = self.guard.resetting()
        begun = time.perf_counter()
        try:
            if tell():
                self.begun.append(begun)
        except ConnectionError:
            return

    def drive(self) -> None:
        for _ in range(3):
            try:
                self.guard.observe()
                self.drives.append(time.perf_counter())
                self.guard.act(FORWARD)
            except (Stopped, ConnectionError):
                continue

    def lost(self) -> bool:
        """Whether a stop was undone by a reset that had begun before the stop was answered, or an action passed after
        a stop."""
        guard, last = self.guard, max(self.ended)
        held = any(not any(begun >= ended for begun in self.begun) for ended in self.ended)
        for _ in range(100):  # a stop that fails is told again
            try:
                guard.check()
                break
            except ConnectionError:
                continue
        cart: Any = guard._robot
        since = [
            each for each in self.drives if each > max(self.returned) and not any(begun >= last for begun in self.begun)
        ]
        passed = bool(since) and any(act > since[0] for act in cart.acts)
        try:
            guard.observe()
            guard.act(FORWARD)
        except (Stopped, ConnectionError):
            return passed or cart.moving
        return passed or held


def soak(setting: str, tries: int, seed: int = 0) -> tuple[int, int]:
    """How many tries in which stop and reset met, and how many stops were lost."""
    halting, acting, fails, roles = SETTINGS[setting]
    rng, lost = Random(seed), 0
    with ThreadPoolExecutor(len(roles)) as pool:
        for _ in range(tries):
            guard = Guarded(Cart(halting, acting, 0.0, rng))
            one = Try(guard)
            ends = guard._interlock.stop_ends

            def answered(stop: object, ends: Any = ends, one: Try = one) -> None:
                one.ended.append(time.perf_counter())
                ends(stop)

            guard._interlock.stop_ends = answered  # type: ignore[method-assign]
            one.drive()
            if rng.random() < 0.7:
                guard.stop("first")
            guard._robot.fails = fails  # type: ignore[attr-defined]
            jobs = [(getattr(one, role), rng.choice((0.0, 0.0, 1e-5, 1e-4, halting * rng.random()))) for role in roles]
            rng.shuffle(jobs)
            for done in [pool.submit(lambda job, wait: (rest(wait), job()), *each) for each in jobs]:
                done.result()
            lost += one.lost()
    return tries, lost


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--tries", type=int, default=10_000)
    options.add_argument("--seed", type=int, default=0)
    given = options.parse_args()
    for setting in SETTINGS:
        began = time.perf_counter()
        tries, lost = soak(setting, given.tries, given.seed)
        print(f"{setting}: {tries:,} tries, {lost} stops lost, {time.perf_counter() - began:.0f} s", flush=True)


if __name__ == "__main__":
    main()
