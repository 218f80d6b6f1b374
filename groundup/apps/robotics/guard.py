"""The guard of a limb: limits, watchdog and emergency stop, whatever the limb and whoever drives it."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from threading import Event, Thread

from groundup.apps.robotics.interlock import Interlock
from groundup.apps.robotics.robot import Description, Numbers, Observation, Robot


class Stopped(Exception):
    """The limb stands still and was not told what to do; says why."""


class Guarded:
    """A limb behind its guard, itself a limb: what drives a limb drives it through here.

    Two ways to stand still. *Held*: no action for `patience` periods, or no picture younger than that; the next action
    that comes with a fresh picture goes on. *Stopped*: somebody called `stop`, or a call to the limb failed; it stays
    so until `reset`. An `Interlock` decides which it is: a stop that began before a reset ended holds. Calls to the
    limb are made without a lock, so `stop` waits for nobody, and an action that it overtook is halted as soon as it
    returns.
    """

    def __init__(self, limb: Robot, patience: int = 4):
        self._limb, self._about = limb, limb.describe()
        self._interlock = Interlock(patience * self._about.period)

    @property
    def stopped(self) -> str | None:
        """Why it is stopped, until `reset`; None where it is not."""
        return self._interlock.stopped

    @property
    def held(self) -> str | None:
        """Why it is held, until the next action; None where it is not."""
        return self._interlock.held

    @property
    def newest(self) -> int:
        """The number of the newest stop, to be answered by `reset`; they count from 1."""
        return self._interlock.newest

    def describe(self) -> Description:
        """The limb's own description."""
        return self._about

    def now(self) -> float:
        """The limb's own clock."""
        return self._limb.now()

    def connect(self) -> None:
        """Connect the limb."""
        with self._or_stop("connect"):
            self._limb.connect()

    def observe(self) -> Observation:
        """What the limb sees; also while it stands still. Raises what the limb raises, after stopping it."""
        self.check()
        with self._or_stop("observe"):
            epoch = self._interlock.epoch
            seen = self._limb.observe()
            self._interlock.saw(min(seen.time, self.now()), epoch)  # a picture of the future is one of now
        self.check()
        return seen

    def act(self, action: Numbers) -> None:
        """Let the limb act, within its limits (`Description.checked`, which refuses with InputError).

        Raises Stopped while it is stopped or the last picture is old, and what the limb raises, after stopping it.
        """
        action = self._about.checked(action)
        if self.stopped is None:
            with self._or_stop("act"):
                if self._interlock.action_begins(self.now()):
                    try:
                        self._limb.act(action)
                    finally:
                        self._interlock.action_ended()
            self.check()  # halts it where it was overtaken
        if why := self._interlock.refusal:
            raise Stopped(why)

    def stop(self, why: str = "stop was called") -> None:
        """Stop now, from any thread, and stay stopped until `reset`. If the limb fails to stop, raises that, and each
        `check` tries again.
        """
        self.stopping(why)()

    def stopping(self, why: str = "stop was called") -> Callable[[], None]:
        """Begin a stop and wait for nothing: no action begins from now on. What this returns tells the limb.

        Until that has been called, and has returned, every reset is refused.
        """
        return partial(self._tell_stop, self._interlock.stop_begins(why))

    def reset(self, answers: int | None = None) -> bool:
        """Allow actions again, once the limb has been told to stop without failing; whether it took effect.

        A person's decision: never call it from a program. It takes no effect where somebody stopped meanwhile or is
        stopping still, where an action is still under way, and where the newest stop is another than the one that the
        person knows of and `answers`. Raises what the limb raises when it is told to stop.
        """
        return self.resetting(answers)()

    def resetting(self, answers: int | None = None) -> Callable[[], bool]:
        """Begin a reset and wait for nothing: a stop that begins from now on holds. What this returns tells the
        limb.
        """
        number = self._interlock.reset_begins(answers)
        return (lambda: False) if number is None else partial(self._tell_reset, number)

    def check(self) -> None:
        """The watchdog: whoever moves the clock calls it, a simulator after each step, `watching` for a machine."""
        if not self._interlock.moving:
            return
        if self._interlock.refusal is None:
            with self._or_stop("now"):
                self._interlock.watch(self.now())
        if self._interlock.refusal is not None:
            self._halt()

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Check twice a period of wall time meanwhile, in a thread, whatever the caller does."""
        done = Event()

        def watch() -> None:
            while not done.wait(self._about.period / 2):
                try:
                    self.check()
                except Exception:  # whatever a limb raises when told to stop: it is told again
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
            self._limb.stop()
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
