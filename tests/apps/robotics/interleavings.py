"""Every order in which threads may run through the guard: real threads, one at a time, a step each, as a schedule says.

A step is a line of `guard.py` and `interlock.py` (fine), or a call into the interlock (coarse: each of its events is
atomic); calls to the robot are steps of their own. All schedules are run but those that lead to a state that was seen
already: the same fields, the same place and variables of each thread, the same story of who was answered before what.
"""

import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

from groundup.apps.robotics import guard, interlock
from groundup.apps.robotics.guard import Guarded, Stopped
from groundup.apps.robotics.robot import Description, Numbers, Observation
from tests.apps.robotics.robot_helpers import ABOUT, action

FILES = {guard.__file__: False, interlock.__file__: True}  # whether its calls are the coarse steps


class Story:
    """Which stops were answered, and ended, before what; the calls have names, as "0.1" for the second of thread 0."""

    def __init__(self) -> None:
        self.doing: dict[str, str] = {}  # by thread
        self.begun, self.answered, self.ended, self.wrong = set[str](), set[str](), set[str](), set[str]()
        self.resets: dict[
            str, tuple[frozenset[str], bool, object]
        ] = {}  # the stops answered before it, whether it halted, what it returned
        self.acts: dict[
            str, tuple[frozenset[str], frozenset[str]]
        ] = {}  # the stops that had begun, and ended, when it began
        self.last = ""  # act that reached the robot

    def begins(self, name: str, call: str) -> None:
        self.doing[threading.current_thread().name] = name
        if call == "stop":
            self.begun.add(name)
        if call == "act":
            self.acts[name] = frozenset(self.begun), frozenset(self.ended)

    def ends(self, name: str, call: str, result: object) -> None:
        if call == "stop":
            self.ended.add(name)
        if name in self.resets:
            self.resets[name] = (*self.resets[name][:2], result)

    def tell(self, event: str) -> None:
        """By the thread that goes."""
        name = self.doing.get(threading.current_thread().name, "")
        if event == "stop_ends":
            self.answered.add(name)
        elif event == "reset_begins":
            self.resets[name] = frozenset(self.answered), False, None
        elif event == "halts" and name in self.resets:
            self.resets[name] = (self.resets[name][0], True, None)
        elif event == "acts":
            self.last = name
            if self.acts[name][1].difference(*(stops for stops, _, _ in self.resets.values())):
                self.wrong.add(name)

    def state(self) -> tuple[Any, ...]:
        sets = tuple(tuple(sorted(each)) for each in (self.begun, self.answered, self.ended, self.wrong))
        return sets, self.last, tuple(sorted(self.resets.items())), tuple(sorted(self.acts.items()))


class Cart:
    """Moves from the middle of `act` to the middle of `stop`; the first `failing` calls of `stop` raise."""

    def __init__(self, gate: Callable[[str], None], failing: int):
        self.gate, self.failing, self.moving, self.time = gate, failing, False, 0.0
        self.story = Story()

    def describe(self) -> Description:
        return ABOUT

    def connect(self) -> None:
        pass

    def now(self) -> float:
        return self.time

    def observe(self) -> Observation:
        self.gate("told")
        return Observation(self.time, {}, {})

    def act(self, action: Numbers) -> None:
        self.gate("told")
        self.moving = True
        self.story.tell("acts")
        self.gate("done")

    def stop(self) -> None:
        self.gate("told")
        if self.failing:
            self.failing -= 1
            raise ConnectionError
        self.moving = False
        self.story.tell("halts")
        self.gate("done")


class OwnedLock:
    """A lock that knows who has it: a thread in it makes no step, so that nobody waits for it."""

    def __init__(self) -> None:
        self.owner: int | None = None

    def __enter__(self) -> None:
        assert self.owner is None
        self.owner = threading.get_ident()

    def __exit__(self, *_: object) -> None:
        self.owner = None


class Run:
    """One run of a scenario: `threads` are lists of names of the guard's calls, `before` those that were made
    before."""

    def __init__(self, before: list[str], threads: list[list[str]], failing: int, late: bool, fine: bool):
        self.fine, self.free, self.late = fine, True, late
        self.cart = Cart(self.gate, 0)
        self.guard = Guarded(self.cart)
        self.lock = self.guard._interlock._lock = OwnedLock()
        for event in ("stop_ends", "reset_begins"):
            self.tell(event)
        for number, call in enumerate(before):
            self.call(f"before {number}", call)
        self.cart.failing = failing
        if late:
            self.cart.time = 10.0
        self.go = [threading.Semaphore(0) for _ in threads]
        self.back, self.places = threading.Semaphore(0), [None] * len(threads)
        self.ended = [False] * len(threads)
        self.free = False
        self.workers = [
            threading.Thread(target=self.work, args=(each, calls), name=str(each), daemon=True)
            for each, calls in enumerate(threads)
        ]
        for each, worker in enumerate(self.workers):
            worker.start()
            self.wait(each)

    def tell(self, event: str) -> None:
        """Note that an event of the interlock has happened, in the same step."""
        happens = getattr(self.guard._interlock, event)

        def told(*arguments: Any) -> Any:
            result = happens(*arguments)
            self.cart.story.tell(event)
            return result

        setattr(self.guard._interlock, event, told)

    def wait(self, each: int) -> None:
        assert self.back.acquire(timeout=20), f"thread {each} waits for another"

    def step(self, each: int) -> None:
        self.go[each].release()
        self.wait(each)

    def finish(self) -> None:
        """Let all run on by themselves."""
        self.free = True
        for go in self.go:
            go.release()
        for worker in self.workers:
            worker.join(20)
            assert not worker.is_alive()

    def work(self, each: int, calls: list[str]) -> None:
        self.pause(each, None, "begins")
        sys.settrace(self.trace)
        for number, call in enumerate(calls):
            self.call(f"{each}.{number}", call)
        sys.settrace(None)
        self.ended[each] = True
        self.back.release()

    def call(self, name: str, call: str) -> None:
        self.cart.story.begins(name, call)
        try:
            result: object = getattr(self.guard, call)(*[action()] * (call == "act"))
        except (Stopped, ConnectionError) as error:
            result = type(error).__name__
        self.cart.story.ends(name, call, result)

    def gate(self, where: str) -> None:
        if not self.free and threading.current_thread() in self.workers:
            self.pause(int(threading.current_thread().name), sys._getframe(2), where)

    def pause(self, each: int, frame: FrameType | None, where: str) -> None:
        place: list[object] = [where]
        while frame is not None and frame.f_code.co_filename in FILES:
            place.append((frame.f_code.co_name, frame.f_lasti, *(plain(value) for value in frame.f_locals.values())))
            frame = frame.f_back
        self.places[each] = tuple(place)
        self.back.release()
        self.go[each].acquire()

    def trace(self, frame: FrameType, event: str, argument: object) -> Any:
        if frame.f_code.co_filename not in FILES or self.free:
            return None
        coarse = event == "call" and FILES[frame.f_code.co_filename]
        if (event == "line" if self.fine else coarse) and self.lock.owner != threading.get_ident():
            self.pause(int(threading.current_thread().name), frame, "line")
        return self.trace if self.fine else None

    def state(self) -> tuple[Any, ...]:
        """All that what happens next, and what is asked in the end, depends on."""
        fields = vars(self.guard._interlock).values()
        inside = tuple(len(value) if isinstance(value, set | list) else plain(value) for value in fields)
        where = tuple("ended" if ended else place for ended, place in zip(self.ended, self.places, strict=True))
        return inside, self.cart.moving, self.cart.failing, self.cart.story.state(), where


def plain(value: object) -> object:
    return value if value is None or isinstance(value, bool | int | float | str) else type(value).__name__


def explore(
    before: list[str], threads: list[list[str]], fine: bool, failing: int = 0, late: bool = False
) -> tuple[int, int]:
    """Run every schedule and check what came of it; how many runs that took, and how many different states there
    were."""
    todo: list[list[int]] = [[]]
    seen, runs = set(), 0
    while todo:
        prefix, runs = todo.pop(), runs + 1
        run = Run(before, threads, failing, late, fine)
        for each in prefix:
            run.step(each)
        schedule = list(prefix)
        while (state := run.state()) not in seen:
            seen.add(state)
            able = [each for each, ended in enumerate(run.ended) if not ended]
            if not able:
                check(run, schedule)
                break
            todo += [[*schedule, each] for each in able[1:]]
            schedule.append(able[0])
            run.step(able[0])
        run.finish()
    return runs, len(seen)


def check(run: Run, schedule: list[int]) -> None:
    """What must hold however the threads ran; the schedule is told where it does not."""
    story, told = run.cart.story, f"schedule {schedule}"
    assert not story.wrong, told  # an action that began after a stop reached the robot before anybody reset
    reset = [(stops, halted) for stops, halted, result in story.resets.values() if result is True]
    assert all(halted for _, halted in reset), told
    holding = story.answered.difference(*(stops for stops, _ in reset))
    assert run.guard.stopped is not None or not holding, told
    if run.guard.stopped or run.guard.held:
        for _ in range(run.cart.failing + 1):  # a stop that fails is told again
            try:
                run.guard.check()
            except ConnectionError:
                continue
        assert not run.cart.moving, told
    if run.cart.moving:  # by no action that a stop overtook
        assert story.begun == story.acts[story.last][0], told
    after(run, told)


def after(run: Run, told: str) -> None:
    """A driver goes on exactly where nothing is stopped."""
    run.call("after 0", "observe")
    stopped = run.guard.stopped
    run.call("after 1", "act")
    assert not run.cart.story.wrong, told
    assert run.cart.moving is (stopped is None), told
