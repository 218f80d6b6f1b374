"""The guard of a robot: action limits, watchdog and emergency stop, for any robot and any controller."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from threading import Event, Thread

from groundup.apps.robotics.interlock import Interlock
from groundup.apps.robotics.robot import Description, Numbers, Observation, Robot


class Stopped(Exception):
    """Raised for an action while the robot is stopped or held; the message says why."""


class Guarded:
    """A robot behind a guard; implements `Robot` itself. Controllers drive a robot only through this class.

    There are two states without motion. *Held*: no action for `patience` periods, or no observation younger than that;
    the next action on a fresh observation resumes. *Stopped*: `stop` was called, or a call to the robot failed; until
    `reset`. An `Interlock` decides the state: a stop that began before a reset ended stays in force. Calls to the robot
    are made without a lock, so `stop` waits for no other call; if a stop comes during an action, the robot is halted as
    soon as that call returns.
    """

    def __init__(self, robot: Robot, patience: int = 4):
        self._robot, self._about = robot, robot.describe()
        self._interlock = Interlock(patience * self._about.period)

    @property
    def stopped(self) -> str | None:
        """Why the robot is stopped; None if it is not."""
        return self._interlock.stopped

    @property
    def held(self) -> str | None:
        """Why the robot is held; None if it is not."""
        return self._interlock.held

    @property
    def newest(self) -> int:
        """The number of the newest stop, for `reset`; stops are numbered from 1."""
        return self._interlock.newest

    def describe(self) -> Description:
        """The robot's own description."""
        return self._about

    def now(self) -> float:
        """The robot's own clock."""
        return self._robot.now()

    def connect(self) -> None:
        """Connect the robot."""
        with self._or_stop("connect"):
            self._robot.connect()

    def observe(self) -> Observation:
        """The robot's observation, also while stopped or held. Raises what the robot raises, after stopping it."""
        self.check()
        with self._or_stop("observe"):
            epoch = self._interlock.epoch
            seen = self._robot.observe()
            self._interlock.saw(min(seen.time, self.now()), epoch)  # a time in the future counts as now
        self.check()
        return seen

    def act(self, action: Numbers) -> None:
        """Pass an action on, within its limits (`Description.checked`, which refuses with InputError).

        Raises Stopped while it is stopped or the last observation is old, and what the robot raises, after stopping it.
        """
        action = self._about.checked(action)
        if self.stopped is None:
            with self._or_stop("act"):
                if self._interlock.action_begins(self.now()):
                    try:
                        self._robot.act(action)
                    finally:
                        self._interlock.action_ended()
            self.check()  # halts the robot if a stop came meanwhile
        if why := self._interlock.refusal:
            raise Stopped(why)

    def stop(self, why: str = "stop was called") -> None:
        """Stop now, from any thread, and stay stopped until `reset`. If the robot fails to stop, raises its exception,
        and each `check` tries again.
        """
        self.stopping(why)()

    def stopping(self, why: str = "stop was called") -> Callable[[], None]:
        """Begin a stop without waiting: no action begins from now on. The returned function stops the robot.

        Until that function has returned, every reset is refused.
        """
        return partial(self._tell_stop, self._interlock.stop_begins(why))

    def reset(self, answers: int | None = None) -> bool:
        """Allow actions again after the robot has confirmed a stop; returns whether the reset took effect.

        This is a person's decision: never call it from a program. It has no effect if a stop came meanwhile or is still
        in progress, if an action is still in progress, or if the newest stop is not the one that the person knows of
        (`answers`). Raises the exception of a robot that fails to stop.
        """
        return self.resetting(answers)()

    def resetting(self, answers: int | None = None) -> Callable[[], bool]:
        """Begin a reset without waiting: a stop from now on stays in force. The returned function completes it."""
        number = self._interlock.reset_begins(answers)
        return (lambda: False) if number is None else partial(self._tell_reset, number)

    def check(self) -> None:
        """The watchdog, called whenever the clock advances: by a simulator after each step, or by `watching`."""
        if not self._interlock.moving:
            return
        if self._interlock.refusal is None:
            with self._or_stop("now"):
                self._interlock.watch(self.now())
        if self._interlock.refusal is not None:
            self._halt()

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Run the watchdog twice a period of wall time in a thread meanwhile."""
        done = Event()

        def watch() -> None:
            while not done.wait(self._about.period / 2):
                try:
                    self.check()
                except Exception:  # any error: the next check tries again
                    logging.getLogger(__name__).exception("%s: the watchdog could not stop it", self._about.name)

        thread = Thread(target=watch, name=f"watchdog of {self._about.name}", daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()

    def _tell_stop(self, stop: object) -> None:
        try:
            self._halt()
        finally:
            self._interlock.stop_ends(stop)

    def _tell_reset(self, number: int) -> bool:
        try:
            self._halt()
        except BaseException:
            self._interlock.reset_ends(number, halted=False)
            raise
        return self._interlock.reset_ends(number, halted=True)

    def _halt(self) -> None:
        self._interlock.halt_begins()
        try:
            self._robot.stop()
        except BaseException:
            self._interlock.halt_failed()
            raise

    @contextmanager
    def _or_stop(self, what: str) -> Iterator[None]:
        try:
            yield
        except BaseException as error:
            self.stop(f"{what} failed: {error!r}")
            raise
