"""A shift: the sorter at work on the line for some items or some time, watched and ordered about from other threads."""

import math
import time
from collections import Counter, deque
from collections.abc import Callable
from threading import Event, Lock
from typing import Any

from groundup.apps.robotics.episodes import Episode
from groundup.apps.robotics.guard import Guarded, Stopped
from groundup.apps.robotics.robot import Numbers, Pixels
from groundup.apps.sorter.figures import Tally, latency
from groundup.apps.sorter.model_client import ModelClient
from groundup.apps.sorter.policy import TOPICS, Language, Policy, Said, apply, parse, standard, words
from groundup.apps.sorter.robot import LAYOUT, Robot
from groundup.apps.sorter.sorter import Sorter
from groundup.codecs.boxes import Detection
from groundup.core.errors import InputError

SHOWN = 20  # last events and picks that are told
PRESSED = "an operator pressed stop"
LEAST = 0.3  # probability of the faintest box that people are shown


class Timed:
    """A brain with a watch: `seconds` has how long each answer took."""

    def __init__(self, brain: ModelClient):
        self._brain, self.seconds = brain, list[float]()

    def look(self, picture: Pixels) -> list[Detection]:
        """What the brain says. Raises what it raises; only answers count."""
        start = time.perf_counter()
        things = self._brain.look(picture)
        self.seconds.append(time.perf_counter() - start)
        return things


class Shift:
    """`run` works in one thread. All under "any thread" below is called from any, and waits for no brain of the line's.

    `interpret` turns an operator's sentence into a line of the policy's language. `pace` is how many seconds of the
    line pass in one of the wall's at most: 1 for people who watch; left out, as fast as it computes.
    """

    def __init__(
        self,
        robot: Robot,
        brain: ModelClient,
        policy: Policy | None = None,
        interpret: Callable[[str], str] = str,
        pace: float = math.inf,
    ):
        self.robot, self.limb, self.brain = robot, Guarded(robot), Timed(brain)
        self.sorter = Sorter(self.brain, policy or standard(), LAYOUT, robot.line.part.belt)
        self.tally, self.interpret, self.pace = Tally(), interpret, pace
        self._holds: dict[int, Counter[str]] = {number: Counter() for number in LAYOUT.bins}
        self._events, self._told, self._steps, self._wall = deque[dict[str, Any]](maxlen=SHOWN), 0, 0, 0.0
        self._action: Numbers | None = (
            None  # what was refused and is asked for again: while the limb stands, the sorter's mind does too
        )
        self._lock, self._ended = Lock(), Event()
        self.limb.connect()
        self._seen = self.limb.observe()
        self._state = self._tell()

    # --- the line's own thread --------------------------------------------------------------------------------------

    def run(
        self,
        items: float = math.inf,
        seconds: float = math.inf,
        episode: Episode | None = None,
        after: Callable[[int], object] = lambda left: None,
    ) -> None:
        """Work until so many items have left the line, or so much of its time is over, or `end`.

        Frames go into `episode`; `after` each period is told how many items left the line in it."""
        until, due = self.limb.now() + seconds, time.perf_counter()
        while (left := self.tally.left) < items and self.limb.now() < until - 1e-9 and not self._ended.is_set():
            self.step(episode)
            after(self.tally.left - left)
            due = max(due + self.limb.describe().period / self.pace, time.perf_counter())
            self._ended.wait(due - time.perf_counter())

    def step(self, episode: Episode | None = None) -> None:
        """One period. Whatever fails here stops the line and is raised."""
        start = time.perf_counter()
        try:
            seen = self._seen = self.limb.observe()
            action = self._action or self.sorter.step(seen)
            try:
                self.limb.act(action)
                self._action = None
            except Stopped:
                self._action = action
            if episode:
                episode.add(seen, action)
            self._count()
        except BaseException as error:
            self.limb.stop(f"the sorter failed: {error!r}")
            raise
        self._steps, self._wall = self._steps + 1, self._wall + time.perf_counter() - start
        self._state = self._tell()

    def _count(self) -> None:
        events, self._told = self.robot.events[self._told :], len(self.robot.events)
        for event in events:
            self.tally.take(event, self.sorter.policy.places)
            if event.bin is not None:
                self._holds[event.bin][event.kind] += 1
            self._events.append(event._asdict())

    def _tell(self) -> dict[str, Any]:
        """What people may see, as one new dictionary a period that never changes."""
        sorter, numbers, seen, now = self.sorter, self._seen.numbers, self._seen, self.limb.now()
        tally = self.tally.as_dict(now)
        travel, speed = float(numbers["belt"][0]), float(numbers["speed"][0])
        return {
            **tally,
            "time": now,
            "picks": tally["picks_a_minute"],
            **{name: tally[name] and tally[name]["value"] for name in ("purity", "recovery")},
            "bins": [self._bin(number) for number in LAYOUT.bins if self._used(number)],
            "boxes": self._boxes(travel - speed * (now - seen.time) - sorter.found_at),
            "tracks": [self._track(track.number, travel) for track in list(sorter.tracks.known.values())],
            "target": sorter.target.number if sorter.target else None,
            "done": [pick._asdict() for pick in sorter.done[-SHOWN:]],
            "arm": [round(float(value), 3) for value in numbers["arm"]],
            "holding": bool(numbers["holding"][0] > 0.5),
            "belt": speed,
            "events": list(self._events),
        }

    def _used(self, number: int) -> bool:
        return 1 <= number <= len(self.sorter.policy.bins) or number == LAYOUT.manual or bool(self._holds[number])

    def _bin(self, number: int) -> dict[str, Any]:
        bins = self.sorter.policy.bins
        colour = bins[number - 1].colour if 1 <= number <= len(bins) else None
        return {
            "number": number,
            "colour": colour,
            "full": number in self.sorter.full,
            "kinds": dict(self._holds[number]),
        }

    def _boxes(self, moved: float) -> list[dict[str, Any]]:
        """What was found last, where it is in the newest picture: the belt has run `moved` metres meanwhile."""
        share, found = moved / LAYOUT.window.side, [thing for thing in self.sorter.found if thing.score >= LEAST]
        boxes = [
            (thing, (thing.box[0] + share, thing.box[1], min(thing.box[2] + share, 1.0), thing.box[3]))
            for thing in found
        ]
        return [{"kind": thing.kind, "score": thing.score, "box": box} for thing, box in boxes if box[0] < 1]

    def _track(self, number: int, travel: float) -> dict[str, Any]:
        track = self.sorter.tracks.known[number]
        aim = self.sorter.aim(track.chances)
        u, y = track.at(self.limb.now())
        return {
            "number": number,
            "kind": aim.kind,
            "probability": aim.probability,
            "x": u + travel,
            "y": y,
            "tries": track.tries,
        }

    # --- any thread -------------------------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """All there is to see, for JSON: what the page shows (`page.Shift`), and beside it counts and figures by the
        truth so far, tracks, the thing aimed at, what was let go last, and the brain's latency.
        """
        newest = self.limb.newest  # before `stopped`: a stop that comes in between is not shown and has another number
        policy = {"en": words(self.sorter.policy, "en"), "zh": words(self.sorter.policy, "zh")}
        return {
            **self._state,
            "brain": latency(self.brain.seconds[-100:]),
            "policy": policy,
            "stop": newest,
            "stopped": self.limb.stopped,
            "held": self.limb.held,
        }

    def picture(self) -> Pixels:
        """The camera's last picture [H, W, 3]."""
        return self._seen.images["belt"]

    def order(self, text: str, language: Language) -> dict[str, str]:
        """Do what a sentence says from the next period on, wholly or not at all: its `line`, and the new `policy` in
        words, or a `question`, or a `refusal`. Raises what `interpret` raises, with nothing changed.
        """
        line = self.interpret(text)
        with self._lock:  # two operators at once: one after the other
            try:
                after = apply(parse(line), self.sorter.policy)
            except InputError:  # the model wrote no order
                after = Said(False, TOPICS["refuse", "other"])
            if isinstance(after, Policy):
                self.sorter.policy = after
        if isinstance(after, Policy):
            answer, said = "policy", words(after, language)
        else:
            answer, said = ("question" if after.question else "refusal"), after.words(language)
        self._events.append({"time": self.limb.now(), "what": f"order: {answer}", "text": text, "line": line})
        return {answer: said, "line": line}

    def stop(self, why: str = PRESSED) -> None:
        """The emergency stop: arm and belt stand within 50 ms, until `resume`. Returns once the limb was told."""
        self.limb.stop(why)

    def stopping(self, why: str = PRESSED) -> Callable[[], None]:
        """The first half of `stop`, which waits for nothing (`Guarded.stopping`); what it returns is the other half."""
        return self.limb.stopping(why)

    def resume(self, answers: int | None = None) -> bool:
        """Go on after a stop: an operator's decision. False where another stop than `answers` is the newest, or
        comes.
        """
        return self.resuming(answers)()

    def resuming(self, answers: int | None = None) -> Callable[[], bool]:
        """Begin to resume and wait for nothing: a stop from now on holds. What this returns tells the limb.

        A line that is not stopped goes on as it is, so a resume may come twice."""
        if self.limb.stopped is None and answers in (None, self.limb.newest):
            return lambda: True
        return self.limb.resetting(answers)

    def end(self) -> None:
        """Let `run` return after this period."""
        self._ended.set()

    def figures(self) -> dict[str, Any]:
        """What the shift came to so far, for JSON: `Tally`'s, the simulator's periods a second without the brain, the
        brain's latency, and the share of the time from picture to answer that it takes at p95. To be called when `run`
        is not running.
        """
        brain, sorter = self.brain.seconds, self.sorter
        thinking = latency(brain) | ({"budget": latency(brain)["p95"] / 1000 / sorter.latency} if brain else {})
        return {
            **self.tally.as_dict(self.limb.now()),
            "brain": thinking,
            "steps_a_second": self._steps / max(self._wall - sum(brain), 1e-9),
        }
