"""The state machine of `guard.Guarded`: whether a robot may act. It knows no robot and calls nothing."""

import math
from enum import Enum
from threading import Lock


class State(Enum):
    """What a robot may do."""

    GOING = "going"  # act
    HELD = "held"  # nothing, until an action on a fresh observation
    STOPPED = "stopped"  # nothing, until a reset
    RESETTING = "resetting"  # nothing, until the reset has ended


class Interlock:
    """Whether a robot may act, for any number of threads. Each event, a column of this table, is one atomic call.

    | state | stop begins | reset begins | reset ends | watch: too late | action begins |
    | --- | --- | --- | --- | --- | --- |
    | going | stopped | resetting | - | held | going, or held by an old observation |
    | held | stopped | resetting | - | held | going, or held by an old observation |
    | stopped | stopped | resetting | stopped | stopped | stopped: refused |
    | resetting | stopped | resetting | going, or stopped if the robot failed | resetting | resetting: refused |

    A reset is refused, and the state stays, while a stop or an action is under way, and where it answers another stop
    than the newest. Of two resets at a time the last one's end leads on to going.

    Stops are numbered. Each is one `append` to a list, atomic and without a lock, so a stop waits for nothing, not
    even in a signal handler. No other event can undo it: a reset answers only the stops that had begun, and ended,
    when it began.
    `limit` is the greatest age of the last action and observation, in seconds.
    """

    def __init__(self, limit: float):
        self._limit, self._lock = limit, Lock()
        self._stops: list[str] = []  # why, by number from 1; only ever grows
        self._answered = self._ticket = 0  # the newest stop that a reset answered; the one that the last reset is about
        self._stopping, self._resets = set[object](), 0  # stops, and how many resets, under way
        self._seen = self._acted = -math.inf
        self._begun = self._ended = 0  # actions
        self._halted = 0  # how many actions had begun when the robot was told to stop, with none under way
        self.epoch = 0  # resets that took effect: what was seen before does not count
        self.held: str | None = None  # why, until the next action

    @property
    def newest(self) -> int:
        """The number of the newest stop; 0 before the first."""
        return len(self._stops)

    @property
    def stopped(self) -> str | None:
        """Why it is stopped, by the first stop that no reset has answered; None where it is not."""
        answered = self._answered
        return self._stops[answered] if len(self._stops) > answered else None

    @property
    def refusal(self) -> str | None:
        """Why no action is allowed; None where one is, if the observation is fresh."""
        return self.stopped or ("a reset is under way" if self._resets else self.held)

    @property
    def moving(self) -> bool:
        """Whether the robot was not told to stop since its last action."""
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
        """From now on no action begins. Returns what ends the stop."""
        stop = object()
        self._stopping.add(stop)  # first: a reset that does not know its number yet must know that it is there
        self._stops.append(why)
        return stop

    def stop_ends(self, stop: object) -> None:
        """The robot was told, or could not be."""
        self._stopping.discard(stop)

    def halt_begins(self) -> None:
        """The robot is being told to stop; an action that is under way, or begins, is not halted by that."""
        ended, begun = self._ended, self._begun  # in this order: equal if no action was under way in between
        self._halted = begun if ended == begun else -1

    def halt_failed(self) -> None:
        """The robot has to be told again."""
        self._halted = -1

    # --- all else ---------------------------------------------------------------------------------------------------

    def reset_begins(self, answers: int | None = None) -> int | None:
        """Begin a reset that answers the stop of this number, or the newest; its number, or None where refused."""
        with self._lock:
            number = len(self._stops)
            if (answers is not None and answers != number) or self._stopping or self._begun != self._ended:
                return None
            self._ticket, self._resets = number, self._resets + 1
            return number

    def reset_ends(self, number: int, halted: bool) -> bool:
        """End a reset, the robot having been told to stop or not; whether it took effect."""
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
        """Whether an action may be passed on to the robot now; if so, `action_ended` must follow."""
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
        """Hold the robot where there is no recent action or observation."""
        with self._lock:
            if self.state is State.GOING:
                self.held = self._late(now)

    def _late(self, now: float) -> str | None:
        if not now - self._acted <= self._limit:  # so also by a clock that is no number
            return f"no action for {now - self._acted:.2f} s"
        if not now - self._seen <= self._limit:
            return f"the last picture is {now - self._seen:.2f} s old"
        return None
