"""Answers on their way from the engine's thread to a client: bounded where it does not read, given up where it
leaves.
"""

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from typing import Any, Protocol, TypeVar

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from groundup.generate.request import OutputDelta, Request
from groundup.generate.service import Service, Ticket
from groundup.serve import errors
from groundup.serve.errors import ApiError, Gone
from groundup.serve.record import Record

T = TypeVar("T")
News = list[tuple[int, OutputDelta]]
DONE = "data: [DONE]\n\n"
BREAKS = {ord(mark): json.dumps(mark)[1:-1] for mark in "\x85\u2028\u2029"}
HEARTBEAT = ": still here\n\n"  # a comment, which clients skip


class Post:
    """What engines say, on its way into an event loop: one call of it takes along all that was said meanwhile.

    To wake the loop costs an engine a system call, and often the interpreter's lock; with many streams it would pay for
    each piece.
    """

    def __init__(self) -> None:
        self._bag: deque[Callable[[], None]] = deque()
        self._called = False

    def send(self, loop: asyncio.AbstractEventLoop, deliver: Callable[[], None]) -> None:
        """Have something delivered in the loop, in order; from any thread. Nothing comes of it once the loop is
        closed.
        """
        self._bag.append(deliver)
        if not self._called:
            self._called = True  # before the call: what is sent from now on is in the bag before it is emptied
            try:
                loop.call_soon_threadsafe(self._empty)
            except RuntimeError:  # the server has stopped, and nobody waits
                self._called = False
                self._bag.clear()

    def _empty(self) -> None:
        self._called = False  # first: what comes while the bag is emptied may call again
        for _ in range(len(self._bag)):
            self._bag.popleft()()


class Answers:
    """The answers to some requests to one service; made and read in an event loop.

    The constructor hands the requests in, all or none: it raises what `Service.submit` does. `slow` is set when more
    than `backlog` pieces an answer wait to be taken; all is cancelled then. `cancel` when they are not wanted any more.
    """

    def __init__(self, service: Service, requests: Sequence[Request], record: Record, backlog: int, post: Post):
        self.slow = asyncio.Event()
        self._service, self._requests, self._record, self._post = service, requests, record, post
        self._loop, self._backlog = asyncio.get_running_loop(), backlog * len(requests)
        self._news: deque[tuple[int, OutputDelta]] = deque()
        self._bell = asyncio.Event()
        self._tickets: dict[int, Ticket] = {}
        self._left = set(range(len(requests)))
        self._cached = self._generated = 0
        record.prompt_tokens = sum(len(request.prompt) for request in requests if request.number == 0)
        try:
            for place, request in enumerate(requests):
                self._tickets[place] = service.submit(request, self._listener(place))
        except BaseException:
            self.cancel()
            raise

    @property
    def done(self) -> bool:
        """Whether all have ended and been taken."""
        return not self._left

    def usage(self) -> dict[str, Any]:
        """Tokens so far; a prompt counts once, however many answers it gets."""
        prompt = self._record.prompt_tokens
        return {
            "prompt_tokens": prompt,
            "completion_tokens": self._generated,
            "total_tokens": prompt + self._generated,
            "prompt_tokens_details": {"cached_tokens": self._cached},
        }

    async def take(self, seconds: float) -> News:
        """What has come, with the place of its request; nothing if nothing comes for so long.

        Raises ApiError, with all cancelled, if an answer fails.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._bell.wait()
        self._bell.clear()
        news = list(self._news)
        self._news.clear()
        if not news and not self._service.stats().alive:
            raise errors.failed()
        for place, piece in news:
            self._note(place, piece)
        return news

    def cancel(self) -> None:
        """Give up what is not done; nothing comes any more."""
        for ticket in self._tickets.values():
            self._service.cancel(ticket)
        self._tickets.clear()
        self._news.clear()

    def _note(self, place: int, piece: OutputDelta) -> None:
        if piece.error is not None:
            self.cancel()
            raise errors.of_piece(piece)
        if self._requests[place].number == 0:
            self._cached += piece.cached_tokens
            self._record.cached_tokens = self._cached
        self._generated += len(piece.ids)
        if piece.finish:
            self._left.discard(place)
            self._tickets.pop(place, None)

    def _listener(self, place: int) -> Any:
        def listen(piece: OutputDelta) -> None:
            self._post.send(self._loop, partial(self._hear, place, piece))

        return listen

    def _hear(self, place: int, piece: OutputDelta) -> None:
        if place not in self._tickets:
            return
        self._record.heard(place, piece)
        self._news.append((place, piece))
        self._bell.set()
        if len(self._news) > self._backlog:
            self._record.finish = "slow"
            self.slow.set()
            self.cancel()


class Writer(Protocol):
    """Puts answers into the form of an endpoint."""

    def hear(self, place: int, piece: OutputDelta) -> list[dict[str, Any]]:
        """The chunks of a piece."""

    def end(self, usage: dict[str, Any]) -> list[dict[str, Any]]:
        """The chunks after the last piece."""

    def whole(self, answers: list[list[OutputDelta]], usage: dict[str, Any]) -> dict[str, Any]:
        """The answer in one."""


# --- in one -------------------------------------------------------------------------------------------------


async def collect(answers: Answers, count: int) -> list[list[OutputDelta]]:
    """The pieces of each answer, once all are there."""
    pieces: list[list[OutputDelta]] = [[] for _ in range(count)]
    while not answers.done:
        for place, piece in await answers.take(seconds=5):
            pieces[place].append(piece)
    return pieces


async def settled(service: Service, future: "Future[T]") -> T:
    """What a service found; raises ApiError if its engine fails meanwhile."""
    job = asyncio.wrap_future(future)
    try:
        while not (await asyncio.wait({job}, timeout=5))[0]:
            if not service.stats().alive:
                raise errors.failed()
        return job.result()
    finally:
        job.cancel()


async def unless_gone(receive: Receive, record: Record, work: Coroutine[Any, Any, T]) -> T:
    """What the work comes to; it is cancelled when the client leaves, and Gone raised."""
    job, leaving = asyncio.ensure_future(work), asyncio.ensure_future(_left(receive))
    try:
        await asyncio.wait({job, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if job.done():
            return job.result()
        record.finish = "gone"
        raise Gone
    finally:
        await _stop(job, leaving)


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _stop(*tasks: "asyncio.Future[Any]") -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


# --- as it comes --------------------------------------------------------------------------------------------


class EventStream(Response):
    """Answers as server-sent events; a comment where nothing comes for `heartbeat` seconds.

    They are cancelled when the client leaves, and when it does not read: then the connection ends in the middle.
    """

    media_type = "text/event-stream"

    def __init__(self, answers: Answers, writer: Writer, record: Record, heartbeat: float):
        super().__init__(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._answers, self._writer, self._record, self._heartbeat = answers, writer, record, heartbeat

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the answers until they are done or not wanted any more."""
        job, leaving = asyncio.ensure_future(self._send(send)), asyncio.ensure_future(_left(receive))
        slow = asyncio.ensure_future(self._answers.slow.wait())
        try:
            await asyncio.wait({job, leaving, slow}, return_when=asyncio.FIRST_COMPLETED)
            if job.done():
                job.result()
            elif leaving.done():
                self._record.finish = "gone"
        finally:
            self._answers.cancel()
            await _stop(job, leaving, slow)

    async def _send(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        async for text in self._texts():
            await send({"type": "http.response.body", "body": text.encode(), "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _texts(self) -> AsyncIterator[str]:
        try:
            while not self._answers.done:
                news = await self._answers.take(self._heartbeat)
                chunks = [event(chunk) for place, piece in news for chunk in self._writer.hear(place, piece)]
                if chunks or not news:
                    yield "".join(chunks) or HEARTBEAT
            yield "".join(map(event, self._writer.end(self._answers.usage())))
        except ApiError as error:
            yield event(error.body)
        yield DONE


def event(value: dict[str, Any]) -> str:
    """One server-sent event, on one line for every reader: some take the marks in BREAKS for the end of one."""
    return f"data: {json.dumps(value, ensure_ascii=False, separators=(',', ':')).translate(BREAKS)}\n\n"
