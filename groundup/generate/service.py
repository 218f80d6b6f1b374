"""An engine at work in a thread of its own, for callers in many threads."""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

from groundup.codecs.boxes import Detection
from groundup.codecs.text import Tokenizer
from groundup.core.errors import InputError
from groundup.generate.engine import Engine
from groundup.generate.grammar_pool import GrammarPool
from groundup.generate.isolate import attempt
from groundup.generate.look import Look, View
from groundup.generate.refusals import Busy, Closing
from groundup.generate.request import OutputDelta, Request
from groundup.generate.sequence import Listen, SequenceState
from groundup.model.config import ModelConfig

T = TypeVar("T")


class Ticket:
    """A request that was handed in."""

    def __init__(self) -> None:
        self.answer: SequenceState | None = None
        self.cancelled = False


@dataclass(frozen=True)
class State:
    """Numbers of an engine at work: answers, pages of the cache, ids, and what it took."""

    running: int
    waiting: int
    pages_total: int
    pages_used: int
    pages_cached: int
    prompt_tokens: int
    cached_tokens: int
    generated_tokens: int
    preemptions: int
    steps: int
    alive: bool


class Service:
    """Runs an engine until it is closed. `queue` requests may wait for their turn, those that the engine has admitted
    not counted.

    `grammars` compiles those of requests.
    """

    def __init__(self, engine: Engine, queue: int = 256):
        self.engine = engine
        self.grammars = GrammarPool(engine.tokenizer)
        self._queue = queue
        self._inbox: deque[Callable[[], None]] = deque()
        self._news = threading.Condition()
        self._closing = False
        self._failure: OutputDelta | None = None
        self._pending = 0
        self._thread = threading.Thread(target=self._work, name="engine", daemon=True)
        self._thread.start()

    @property
    def config(self) -> ModelConfig:
        """The numbers of the model it serves."""
        return self.engine.config

    @property
    def tokenizer(self) -> Tokenizer:
        """That of the model."""
        return self.engine.tokenizer

    def submit(self, request: Request, listen: Listen) -> Ticket:
        """Hand in a request; `listen` is called in the engine's thread and must be quick.

        Raises InputError for a request that cannot be answered, Closing among them, and Busy.
        """
        self.engine.check(request)
        ticket = Ticket()

        def begin() -> None:
            self._less(1)
            if self._failure is not None:
                tell(listen, self._failure)
            elif not ticket.cancelled:
                add = partial(self.engine.add, request, listen)
                ticket.answer = attempt(add, lambda error: tell(listen, OutputDelta.failed(error)))

        self._hand_in(begin, asked=1)
        return ticket

    def cancel(self, ticket: Ticket) -> None:
        """Forget a request; no further piece comes once the step under way is done."""

        def forget() -> None:
            ticket.cancelled = True
            if ticket.answer is not None:
                self.engine.cancel(ticket.answer)

        self._hand_in(forget)

    def embed(self, rows: list[list[int]], images: Sequence[Sequence[Look]] = ()) -> "Future[list[list[float]]]":
        """The embedding of each row of ids, with the images of each if any has some. Raises as `between` does."""
        return self.between(
            [partial(self.engine.embed, ids, images[number] if images else ()) for number, ids in enumerate(rows)]
        )

    def things(self, views: Sequence[View]) -> "Future[list[list[Detection]]]":
        """What lies in each image. Raises as `between` does."""
        return self.between([partial(self.engine.things, view) for view in views])

    def between(self, jobs: Sequence[Callable[[], T]]) -> "Future[list[T]]":
        """What each job finds that is done in the engine's thread between two steps.

        Raises Closing and Busy; the future InputError as the jobs do, and RuntimeError for whatever else they raise.
        """
        future: Future[list[T]] = Future()
        found: list[T] = []

        def one() -> None:
            if future.cancelled() or self._failure is not None:
                return refuse(Closing())
            done = len(found)
            attempt(lambda: found.append(jobs[done]()), refuse)
            if len(found) == done:
                return None
            self._less(1)
            if len(found) < len(jobs):
                return self._hand_in(one)
            return settle(future.set_result, found)

        def refuse(error: Exception) -> None:
            self._less(len(jobs) - len(found))
            settle(
                future.set_exception,
                error if isinstance(error, InputError) else RuntimeError(f"the engine failed: {error}"),
            )

        def settle(how: Callable[[Any], None], what: object) -> None:
            with suppress(InvalidStateError):  # cancelled meanwhile
                how(what)

        self._hand_in(one, asked=len(jobs))
        return future

    def state(self) -> State:
        """The numbers now."""
        engine, scheduler = self.engine, self.engine.scheduler
        return State(
            running=len(scheduler.running),
            waiting=len(scheduler.waiting) + self._pending,
            pages_total=scheduler.pages.count,
            pages_used=scheduler.pages.count - scheduler.pages.available,
            pages_cached=scheduler.pages.idle,
            prompt_tokens=engine.read,
            cached_tokens=engine.found,
            generated_tokens=engine.said,
            preemptions=scheduler.preemptions,
            steps=engine.steps,
            alive=self._thread.is_alive(),
        )

    def close(self, seconds: float | None = None) -> None:
        """Take no more requests, finish those taken for at most so many seconds (None: all of them), and stop."""
        with self._news:
            self._closing = True
            self._news.notify()
        self._thread.join(seconds)
        if self._thread.is_alive():
            self._hand_in(lambda: self._drop(OutputDelta(error="the server is shutting down", fault="closing")))
            self._thread.join()
        self.grammars.close()

    def _hand_in(self, work: Callable[[], None], asked: int = 0) -> None:
        """Have work done in the thread; if something is asked of it, only if it is at work and not too much was asked
        before.
        """
        with self._news:
            waiting = len(self.engine.scheduler.waiting) + self._pending
            if asked and (self._closing or not self._thread.is_alive()):
                raise Closing
            if asked and waiting >= self._queue:
                raise Busy(max(1.0, waiting / 16))
            self._pending += asked
            self._inbox.append(work)
            self._news.notify()

    def _less(self, begun: int) -> None:
        with self._news:
            self._pending -= begun

    def _work(self) -> None:
        try:
            while self._gather():
                self.engine.step()
        except BaseException as error:
            self._failure = replace(OutputDelta.failed(error), fault="engine")
            with self._news:
                self._closing = True
            while self._inbox:
                self._inbox.popleft()()
            self._drop(self._failure)
            raise

    def _gather(self) -> bool:
        """Do what was handed in; sleep while there is nothing to do. False once all is done and the service closes."""
        while True:
            for _ in range(len(self._inbox)):  # what these hand in comes after the next step
                self._inbox.popleft()()
            scheduler = self.engine.scheduler
            if scheduler.running or scheduler.waiting:
                return True
            with self._news:
                if not self._inbox:
                    scheduler.check()
                    if self._closing:
                        return False
                    self._news.wait()

    def _drop(self, last: OutputDelta) -> None:
        for answer in [*self.engine.scheduler.running, *self.engine.scheduler.waiting]:
            self.engine.cancel(answer)
            tell(answer.listen, last)


def tell(listen: Listen, piece: OutputDelta) -> None:
    """Tell one who asked; it is his loss if he cannot hear it."""
    attempt(partial(listen, piece), lambda error: None)
