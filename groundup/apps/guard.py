"""The guard of a limb: limits, watchdog and emergency stop, whatever the limb and whoever drives it."""

import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread

from groundup.apps.limb import Description, Limb, Numbers, Observation


class Stopped(Exception):
    """The limb stands still and was not told what to do; says why."""


class Guarded:
    """A limb behind its guard, itself a limb: what drives a limb drives it through here.

    Two ways to stand still. *Held*: no action for `patience` periods, or no picture younger than that; the next action that comes with a
    fresh picture goes on. *Stopped*: somebody called `stop`, or a call to the limb failed; it stays so until `reset`. Calls to the
    limb are made without a lock, so `stop` waits for nobody, and an action that it overtook is halted as soon as it returns.
    """

    def __init__(self, limb: Limb, patience: int = 4):
        self._limb, self._about = limb, limb.describe()
        self._limit = patience * self._about.period
        self._seen = self._acted = -math.inf
        self._halted = True  # the limb was told to stop, and returned, since the last action
        self.stopped: str | None = None  # why, until `reset`
        self.held: str | None = None  # why, until the next action

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
            seen = self._limb.observe()
            self._seen = max(self._seen, min(seen.time, self.now()))  # a picture of the future is one of now
        self.check()
        return seen

    def act(self, action: Numbers) -> None:
        """Let the limb act, within its limits (`Description.checked`, which refuses with InputError).

        Raises Stopped while it is stopped or the last picture is old, and what the limb raises, after stopping it.
        """
        action = self._about.checked(action)
        if self.stopped is None:
            with self._or_stop("act"):
                self._acted, self.held = self.now(), None
                if self._fresh(self._acted):
                    self._halted = False
                    self._limb.act(action)
            self._halted = False  # even where it was halted while the call went on
            self.check()
        if why := self.stopped or self.held:
            raise Stopped(why)

    def stop(self, why: str = "stop was called") -> None:
        """Stop now, from any thread, and stay stopped until `reset`. If the limb fails to stop, raises that, and each `check` tries again."""
        self.stopped = self.stopped or why
        self._halt()

    def reset(self) -> None:
        """Allow actions again, once the limb has been told to stop without failing. A person's decision: never call it from a program."""
        self._halt()
        self._seen, self.held, self.stopped = -math.inf, None, None

    def check(self) -> None:
        """The watchdog: whoever moves the clock calls it, a simulator after each step, `watching` for a machine."""
        if self.stopped is None and not self._halted:
            with self._or_stop("now"):
                now = self.now()
            if not now - self._acted <= self._limit:
                self._hold(f"no action for {now - self._acted:.2f} s")
            elif not self._fresh(now):
                self._hold(f"the last picture is {now - self._seen:.2f} s old")
        elif not self._halted:
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

    def _fresh(self, now: float) -> bool:
        return now - self._seen <= self._limit  # false for a clock that is no number

    def _hold(self, why: str) -> None:
        self.held = why
        self._halt()

    def _halt(self) -> None:
        self._halted = True  # before, not after: an action that begins meanwhile must not pass for halted
        try:
            self._limb.stop()
        except BaseException:
            self._halted = False
            raise

    @contextmanager
    def _or_stop(self, what: str) -> Iterator[None]:
        try:
            yield
        except BaseException as error:
            self.stop(f"{what} failed: {error!r}")
            raise
