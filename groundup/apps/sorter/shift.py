"""A work shift: the control loop of the sorter on the guarded line, observed and commanded from other threads."""

import math
import time
from collections import Counter, deque
from collections.abc import Callable
from threading import Event, Lock
from typing import Any, NamedTuple, cast

from groundup.apps.robotics.episodes import Episode
from groundup.apps.robotics.guard import Guarded, Stopped
from groundup.apps.robotics.robot import Numbers, Pixels
from groundup.apps.sorter.figures import Tally, latency
from groundup.apps.sorter.interpretation import Interpretation
from groundup.apps.sorter.model_client import ModelClient
from groundup.apps.sorter.policy import (
    TOPICS,
    Language,
    Reply,
    SortingPolicy,
    apply,
    describe,
    parse,
    say,
    standard_policy,
)
from groundup.apps.sorter.robot import LAYOUT, SimulatedLine
from groundup.apps.sorter.sorter import Sorter
from groundup.codecs.detections import Detection
from groundup.core.errors import InputError

SHOWN = 20  # last events and picks in the state
PRESSED = "an operator pressed stop"
MIN_SCORE = 0.3  # of the detections in the state
PATIENCE = 60.0  # seconds that an order waits for a yes


class TimedModel:
    """A model client that is timed: `seconds` holds the latency of each answer."""

    def __init__(self, client: ModelClient):
        self._client, self.seconds = client, list[float]()

    def detect(self, picture: Pixels) -> list[Detection]:
        """The client's detections. Raises what it raises; only answers are timed."""
        start = time.perf_counter()
        detections = self._client.detect(picture)
        self.seconds.append(time.perf_counter() - start)
        return detections


class WaitingOrder(NamedTuple):
    """An order that waits for an operator's yes: its number, sentence and words, the policy after it, the newest stop
    when it was shown, and until when it waits (monotonic seconds).
    """

    number: int
    text: str
    line: str
    words: str
    language: Language
    after: SortingPolicy
    stop: int
    until: float


class WorkShift:
    """A work shift: `run` is the control loop, in one thread. The methods under "any thread" may be called from any
    thread and never wait for inference on an image.

    `interpret` turns an operator's sentence into an order of the policy's language. One that is less probable than
    `threshold` waits for a yes; left out, all do but those that an operator writes in that language. `pace` is the most
    simulated seconds that pass in one of wall time: 1 for people who watch; left out, as fast as it computes.
    """

    def __init__(
        self,
        robot: SimulatedLine,
        client: ModelClient,
        policy: SortingPolicy | None = None,
        interpret: Callable[[str], Interpretation] = Interpretation,
        pace: float = math.inf,
        threshold: float = 1.0,
    ):
        self.robot, self.guard, self.client = robot, Guarded(robot), TimedModel(client)
        self.sorter = Sorter(self.client, policy or standard_policy(), LAYOUT, robot.line.config.belt)
        self.tally, self.interpret, self.pace, self.threshold = Tally(), interpret, pace, threshold
        self._orders, self._waiting = 0, cast("WaitingOrder | None", None)
        self._holds: dict[int, Counter[str]] = {number: Counter() for number in LAYOUT.bins}
        self._events, self._told, self._steps, self._wall = deque[dict[str, Any]](maxlen=SHOWN), 0, 0, 0.0
        self._action: Numbers | None = (
            None  # refused by the guard and tried again; the sorter's state is frozen meanwhile
        )
        self._lock, self._ended = Lock(), Event()
        self.guard.connect()
        self._seen = self.guard.observe()
        self._state = self._snapshot()

    # --- the line's own thread --------------------------------------------------------------------------------------

    def run(
        self,
        items: float = math.inf,
        seconds: float = math.inf,
        episode: Episode | None = None,
        after: Callable[[int], object] = lambda left: None,
    ) -> None:
        """Run the control loop until so many items have left the line, so many simulated seconds are over, or `end`.

        Frames are recorded in `episode`; `after` is called each period with the number of items that left the line."""
        until, due = self.guard.now() + seconds, time.perf_counter()
        while (left := self.tally.left) < items and self.guard.now() < until - 1e-9 and not self._ended.is_set():
            self.step(episode)
            after(self.tally.left - left)
            due = max(due + self.guard.describe().period / self.pace, time.perf_counter())
            self._ended.wait(due - time.perf_counter())

    def step(self, episode: Episode | None = None) -> None:
        """One control period. Any failure stops the line and is raised."""
        start = time.perf_counter()
        try:
            seen = self._seen = self.guard.observe()
            action = self._action or self.sorter.step(seen)
            try:
                self.guard.act(action)
                self._action = None
            except Stopped:
                self._action = action
            if episode:
                episode.add(seen, action)
            self._count()
        except BaseException as error:
            self.guard.stop(f"the sorter failed: {error!r}")
            raise
        self._steps, self._wall = self._steps + 1, self._wall + time.perf_counter() - start
        self._state = self._snapshot()

    def _count(self) -> None:
        events, self._told = self.robot.events[self._told :], len(self.robot.events)
        for event in events:
            self.tally.add(event, self.sorter.policy.destinations)
            if event.bin is not None:
                self._holds[event.bin][event.kind] += 1
            self._events.append(event._asdict())

    def _snapshot(self) -> dict[str, Any]:
        """The displayed state: a new dictionary each period, which is never changed."""
        sorter, numbers, seen, now = self.sorter, self._seen.numbers, self._seen, self.guard.now()
        tally = self.tally.as_dict(now)
        travel, speed = float(numbers["belt"][0]), float(numbers["speed"][0])
        return {
            **tally,
            "time": now,
            "picks": tally["picks_a_minute"],
            **{name: tally[name] and tally[name]["value"] for name in ("purity", "recovery")},
            "bins": [self._bin(number) for number in LAYOUT.bins if self._used(number)],
            "boxes": self._boxes(travel - speed * (now - seen.time) - sorter.detected_at),
            "tracks": [self._track(track.number, travel) for track in list(sorter.tracker.tracks.values())],
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
        """The last detections, moved to their places in the newest image: the belt has run `moved` metres meanwhile."""
        shift = moved / LAYOUT.view.side
        boxes = [
            (each, (each.box[0] + shift, each.box[1], min(each.box[2] + shift, 1.0), each.box[3]))
            for each in self.sorter.detections
            if each.score >= MIN_SCORE
        ]
        return [{"kind": each.class_name, "score": each.score, "box": box} for each, box in boxes if box[0] < 1]

    def _track(self, number: int, travel: float) -> dict[str, Any]:
        track = self.sorter.tracker.tracks[number]
        decision = self.sorter.decide(track.probabilities)
        u, y = track.predict(self.guard.now())
        return {
            "number": number,
            "kind": decision.kind,
            "probability": decision.probability,
            "x": u + travel,
            "y": y,
            "tries": track.tries,
        }

    # --- any thread -------------------------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """The whole state, for JSON: the fields of `page.ShiftControl`, counts and figures so far by the ground truth,
        tracks, the target, the last picks, and the model's latency.
        """
        newest = self.guard.newest  # read before `stopped`: a stop in between has another number
        policy = {"en": describe(self.sorter.policy, "en"), "zh": describe(self.sorter.policy, "zh")}
        waiting = self._still_waiting()
        return {
            **self._state,
            "brain": latency(self.client.seconds[-100:]),
            "policy": policy,
            "waiting": waiting and {"order": waiting.number, "text": waiting.text, "words": waiting.words},
            "stop": newest,
            "stopped": self.guard.stopped,
            "held": self.guard.held,
        }

    def picture(self) -> Pixels:
        """The camera's last picture [H, W, 3]."""
        return self._seen.images["belt"]

    def order(self, text: str, language: Language) -> dict[str, Any]:
        """Carry out an operator's sentence from the next period on, wholly or not at all: its order under `line`, the
        `model` that says so, and the new `policy` in words, a `question` or a `refusal`.

        An improbable order changes nothing: its words come under `confirm`, and its number under `order` for `confirm`.
        A waiting order is cancelled. Raises what `interpret` raises, with nothing changed.
        """
        with self._lock:  # two operators at once: one after the other, the newer order is the one that may wait
            self._orders, self._waiting = self._orders + 1, None
            number = self._orders
        line, probability, model = self.interpret(text)
        with self._lock:
            try:
                after = apply(clauses := parse(line), self.sorter.policy)
            except InputError:  # the model's answer is not an order
                after = Reply(False, TOPICS["refuse", "other"])
            said: dict[str, Any] = {"line": line, "model": model}
            if isinstance(after, Reply):
                return self._outcome("question" if after.question else "refusal", after.text(language), text, said)
            if probability >= self.threshold:
                self.sorter.policy, self._waiting = after, None  # what a newer order was to change is another policy
                return self._outcome("policy", describe(after, language), text, said)
            words, until = say(clauses, language), time.monotonic() + PATIENCE
            if number == self._orders:
                self._waiting = WaitingOrder(number, text, line, words, language, after, self.guard.newest, until)
        return self._outcome("confirm", words, text, said | {"order": number})

    def confirm(self, number: int, yes: bool) -> dict[str, Any]:
        """Carry out the waiting order of this number, or drop it: the new `policy` in words, or that it is `dropped`.

        Raises InputError where it waits no longer: after an answer, another order, a stop, or `PATIENCE` seconds.
        """
        with self._lock:
            waiting = self._still_waiting()
            if waiting is None or waiting.number != number:
                raise InputError(f"order {number} does not wait for an answer any more; nothing was changed")
            self._waiting = None
            if not yes:
                return self._outcome("dropped", waiting.words, waiting.text, {"line": waiting.line})
            self.sorter.policy = waiting.after
            words = describe(waiting.after, waiting.language)
            return self._outcome("policy", words, waiting.text, {"line": waiting.line})

    def _still_waiting(self) -> WaitingOrder | None:
        """The order that waits, unless a stop came or its time is over."""
        waiting = self._waiting
        valid = waiting and waiting.stop == self.guard.newest and time.monotonic() < waiting.until
        return waiting if valid else None

    def _outcome(self, kind: str, answer: str, text: str, said: dict[str, Any]) -> dict[str, Any]:
        self._events.append({"time": self.guard.now(), "what": f"order: {kind}", "text": text, **said})
        return {kind: answer, **said}

    def stop(self, why: str = PRESSED) -> None:
        """Emergency stop: arm and belt stand still within 50 ms, until `resume`. Returns once the robot was told."""
        self.guard.stop(why)

    def stopping(self, why: str = PRESSED) -> Callable[[], None]:
        """The first half of `stop`, which never waits (`Guarded.stopping`); returns the second half."""
        return self.guard.stopping(why)

    def resume(self, answers: int | None = None) -> bool:
        """Resume after a stop: an operator's decision. False if another stop than `answers` is the newest, or comes
        meanwhile.
        """
        return self.resuming(answers)()

    def resuming(self, answers: int | None = None) -> Callable[[], bool]:
        """The first half of `resume`, which never waits: a stop from now on stays in force. Returns the second half.

        A line that is not stopped continues unchanged, so a repeated resume is harmless."""
        if self.guard.stopped is None and answers in (None, self.guard.newest):
            return lambda: True
        return self.guard.resetting(answers)

    def end(self) -> None:
        """Let `run` return after this period."""
        self._ended.set()

    def figures(self) -> dict[str, Any]:
        """The figures of the shift so far, for JSON: those of `Tally`, the simulator's periods a second without
        inference, the model's latency, and its p95 as a fraction of the latency budget. To be called when `run` is not
        running.
        """
        seconds = self.client.seconds
        inference = latency(seconds)
        if seconds:
            inference["budget"] = inference["p95"] / 1000 / self.sorter.latency
        return {
            **self.tally.as_dict(self.guard.now()),
            "brain": inference,
            "steps_a_second": self._steps / max(self._wall - sum(seconds), 1e-9),
        }
