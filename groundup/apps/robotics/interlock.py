"""The interlock: the state machine of `guard.Guarded`, which decides whether a robot may act. It makes no calls."""

import math
from enum import Enum
from threading import Lock


class State(Enum):
    """The states: whether actions are allowed."""

    GOING = "going"  # actions are allowed
    HELD = "held"  # no motion until an action on a fresh observation
    STOPPED = "stopped"  # no motion until a reset
    RESETTING = "resetting"  # no motion until the reset has ended


class Interlock:
    """Whether a robot may act, for any number of threads. Each event, a column of this table, is one atomic call.

    | state | stop begins | reset begins | reset ends | watch: too late | action begins |
    | --- | --- | --- | --- | --- | --- |
    | going | stopped | resetting | - | held | going, or held by an old observation |
    | held | stopped | resetting | - | held | going, or held by an old observation |
    | stopped | stopped | resetting | stopped | stopped | stopped: refused |
    | resetting | stopped | resetting | going, or stopped if the robot failed | resetting | resetting: refused |

    A reset is refused, and the state stays, while a stop or an action is in progress, and if it answers another stop
    than the newest. Of two concurrent resets, the end of the last one leads to going.

    Stops are numbered. Each stop is one `append` to a list, atomic and without a lock, so it never waits, not even in a
    signal handler. No other event can undo it: a reset answers only the stops that had begun and ended before it began.
    `limit` is the greatest age of the last action and observation, in seconds.
    """

    def __init__(self, limit: float):
        self._limit, self._lock = limit, Lock()
        self._stops: list[str] = []  # reasons, by number from 1; append-only
        self._answered = self._ticket = 0  # the newest answered stop; the stop that the last reset answers
        self._stopping, self._resets = set[object](), 0  # stops in progress; number of resets in progress
        self._seen = self._acted = -math.inf
        self._begun = self._ended = 0  # actions
        self._halted = 0  # number of actions begun when the robot was last halted, with none in progress
        self.epoch = 0  # number of resets that took effect; older observations do not count
        self.held: str | None = None  # why, until the next action

    @property
    def newest(self) -> int:
        """The number of the newest stop; 0 before the first."""
        return len(self._stops)

    @property
    def stopped(self) -> str | None:
        """The reason of the first stop that no reset has answered; None if there is none."""
        answered = self._answered
        return self._stops[answered] if len(self._stops) > answered else None

    @property
    def refusal(self) -> str | None:
        """Why no action is allowed; None if one is allowed, given a fresh observation."""
        return self.stopped or ("a reset is under way" if self._resets else self.held)

    @property
    def moving(self) -> bool:
        """Whether the robot may be moving: it was not halted since its last action."""
        return self._halted != self._begun

    @property
    def state(self) -> State:
        """The state in the table."""
        if self._resets and self._ticket == len(self._stops):
            return State.RESETTING
        if self.stopped is not None:
            return State.STOPPED
        return State.HELD if self.held is not None else State.GOING

    # --- stop, without the lock -------------------------------------------------------------------------------------

    def stop_begins(self, why: str) -> object:
        """Begin a stop: from now on no action begins. Returns the token for `stop_ends`."""
        stop = object()
        self._stopping.add(stop)  # before the append: a reset that cannot see the number yet must see the stop
        self._stops.append(why)
        return stop

    def stop_ends(self, stop: object) -> None:
        """End a stop: the robot was halted, or failed to halt."""
        self._stopping.discard(stop)

    def halt_begins(self) -> None:
        """The robot is about to be halted; an action that is in progress, or begins now, is not covered by that."""
        ended, begun = self._ended, self._begun  # read in this order: equal if no action was in progress in between
        self._halted = begun if ended == begun else -1

    def halt_failed(self) -> None:
        """The robot failed to halt and must be halted again."""
        self._halted = -1

    # --- all else ---------------------------------------------------------------------------------------------------

    def reset_begins(self, answers: int | None = None) -> int | None:
        """Begin a reset that answers the stop of this number, or the newest; the reset's number, or None if refused."""
        with self._lock:
            number = len(self._stops)
            if (answers is not None and answers != number) or self._stopping or self._begun != self._ended:
                return None
            self._ticket, self._resets = number, self._resets + 1
            return number

    def reset_ends(self, number: int, halted: bool) -> bool:
        """End a reset, with whether the robot was halted; returns whether the reset took effect."""
        with self._lock:
            self._resets -= 1
            if not halted:
                self._stops.append("the robot did not stop when it was reset")
            if number != len(self._stops):
                return False
            self._answered, self.held = number, None
            self._seen, self.epoch = -math.inf, self.epoch + 1
            return True

    def action_begins(self, now: float) -> bool:
        """Whether an action may be passed to the robot now; if so, `action_ended` must follow."""
        with self._lock:
            if self.stopped is not None or self._resets:
                return False
            self._acted = now
            self.held = self._late(now)
            self._begun += self.held is None
            return self.held is None

    def action_ended(self) -> None:
        """The robot's call has returned, or failed."""
        with self._lock:
            self._ended += 1

    def saw(self, time: float, epoch: int) -> None:
        """Note an observation of this time, requested in this epoch."""
        with self._lock:
            if epoch == self.epoch:
                self._seen = max(self._seen, time)

    def watch(self, now: float) -> None:
        """Hold the robot if there is no recent action or observation."""
        with self._lock:
            if self.state is State.GOING:
                self.held = self._late(now)

    def _late(self, now: float) -> str | None:
        if not now - self._acted <= self._limit:  # also true for a clock of NaN
            return f"no action for {now - self._acted:.2f} s"
        if not now - self._seen <= self._limit:
            return f"the last picture is {now - self._seen:.2f} s old"
        return None
