"""The engine in a thread of its own, for callers in many threads."""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

from groundup.codecs.detections import Detection
from groundup.codecs.text import Tokenizer
from groundup.generate.engine import Engine
from groundup.generate.grammar_pool import GrammarPool
from groundup.generate.image_inputs import ImageInput
from groundup.generate.isolation import isolated
from groundup.generate.jobs import Jobs
from groundup.generate.refusals import Busy, Closing
from groundup.generate.request import OutputDelta, Request
from groundup.generate.scheduler import SchedulerStats
from groundup.generate.sequence import OnDelta, SequenceState
from groundup.model.config import ModelConfig

T = TypeVar("T")


class Ticket:
    """A submitted request."""

    def __init__(self) -> None:
        self.sequence: SequenceState | None = None
        self.cancelled = False


@dataclass(kw_only=True)
class ServiceStats(SchedulerStats):
    """Current numbers of sequences and cache blocks, and the scheduler's counters since the start."""

    running: int
    waiting: int
    blocks_total: int
    blocks_used: int
    blocks_cached: int
    alive: bool


class Service:
    """Runs an engine until closed; at most `queue` requests wait for admission. `grammars` compiles their grammars."""

    def __init__(self, engine: Engine, queue: int = 256):
        self.engine = engine
        self.grammars = GrammarPool(engine.tokenizer)
        self._queue = queue
        self._inbox: deque[Callable[[], None]] = deque()
        self._wake = threading.Condition()
        self._closing = False
        self._failure: OutputDelta | None = None
        self._pending = 0
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._thread.start()

    @property
    def config(self) -> ModelConfig:
        """The config of the served model."""
        return self.engine.config

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer of the served model."""
        return self.engine.tokenizer

    def submit(self, request: Request, on_delta: OnDelta) -> Ticket:
        """Queue a request; `on_delta` runs in the engine's thread and must be quick. Raises InputError and Busy."""
        self.engine.check(request)
        ticket = Ticket()

        def begin() -> None:
            self._dequeue(1)
            if self._failure is not None:
                report(on_delta, self._failure)
            elif not ticket.cancelled:
                add = partial(self.engine.add, request, on_delta)
                ticket.sequence = isolated(add, lambda error: report(on_delta, OutputDelta.failed(error)))

        self._enqueue(begin, requests=1)
        return ticket

    def cancel(self, ticket: Ticket) -> None:
        """Cancel a request; no further delta comes once the current step is done."""

        def forget() -> None:
            ticket.cancelled = True
            if ticket.sequence is not None:
                self.engine.cancel(ticket.sequence)

        self._enqueue(forget)

    def embed(self, rows: list[list[int]], images: Sequence[Sequence[ImageInput]] = ()) -> "Future[list[list[float]]]":
        """The embedding of each row of ids, with the images of each if any has some. Raises as `between_steps` does."""
        return self.between_steps(
            [partial(self.engine.embed, ids, images[number] if images else ()) for number, ids in enumerate(rows)]
        )

    def detect(self, images: Sequence[ImageInput]) -> "Future[list[list[Detection]]]":
        """The detections in each image. Raises as `between_steps` does."""
        return self.between_steps([partial(self.engine.detect, image) for image in images])

    def between_steps(self, jobs: Sequence[Callable[[], T]]) -> "Future[list[T]]":
        """Run jobs in the engine's thread, one after each step; a future of their results. Raises Closing and Busy.

        The future raises InputError if a job does, and RuntimeError for other exceptions.
        """
        queued = Jobs(jobs, self._enqueue, self._dequeue, lambda: self._failure is not None)
        self._enqueue(queued.run_next, requests=len(jobs))
        return queued.future

    def stats(self) -> ServiceStats:
        """The current statistics."""
        scheduler = self.engine.scheduler
        blocks, stats = scheduler.blocks, scheduler.stats
        return ServiceStats(
            running=len(scheduler.running),
            waiting=len(scheduler.waiting) + self._pending,
            blocks_total=blocks.count,
            blocks_used=blocks.count - blocks.available,
            blocks_cached=blocks.idle,
            **vars(stats),
            alive=self._thread.is_alive(),
        )

    def close(self, seconds: float | None = None) -> None:
        """Refuse new requests, finish accepted ones for at most so many seconds (None: without a limit), and stop."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._thread.join(seconds)
        if self._thread.is_alive():
            self._enqueue(lambda: self._fail_all(OutputDelta(error="the server is shutting down", fault="closing")))
            self._thread.join()
        self.grammars.close()

    def _enqueue(self, work: Callable[[], None], requests: int = 0) -> None:
        """Queue work for the engine's thread; new requests only while it accepts them and the queue has room."""
        with self._wake:
            waiting = len(self.engine.scheduler.waiting) + self._pending
            if requests and (self._closing or not self._thread.is_alive()):
                raise Closing
            if requests and waiting >= self._queue:
                raise Busy(max(1.0, waiting / 16))
            self._pending += requests
            self._inbox.append(work)
            self._wake.notify()

    def _dequeue(self, requests: int) -> None:
        with self._wake:
            self._pending -= requests

    def _run(self) -> None:
        try:
            while self._work_off():
                self.engine.step()
        except BaseException as error:
            self._failure = replace(OutputDelta.failed(error), fault="engine")
            with self._wake:
                self._closing = True
            while self._inbox:
                self._inbox.popleft()()
            self._fail_all(self._failure)
            raise

    def _work_off(self) -> bool:
        """Run the queued work; sleep while the engine is idle. False once all work is done and the service closes."""
        while True:
            for _ in range(len(self._inbox)):  # work they enqueue runs after the next step
                self._inbox.popleft()()
            scheduler = self.engine.scheduler
            if scheduler.running or scheduler.waiting:
                return True
            with self._wake:
                if not self._inbox:
                    scheduler.check()
                    if self._closing:
                        return False
                    self._wake.wait()

    def _fail_all(self, last: OutputDelta) -> None:
        for sequence in [*self.engine.scheduler.running, *self.engine.scheduler.waiting]:
            self.engine.cancel(sequence)
            report(sequence.on_delta, last)


def report(on_delta: OnDelta, delta: OutputDelta) -> None:
    """Call a callback; its exceptions are logged and ignored."""
    isolated(partial(on_delta, delta), lambda error: None)
