"""Output deltas from the engine's thread to a client, with backpressure and cancellation."""

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
from groundup.serve.errors import ApiError, Disconnected
from groundup.serve.request_stats import RequestStats

T = TypeVar("T")
IndexedDeltas = list[tuple[int, OutputDelta]]
DONE = "data: [DONE]\n\n"
BREAKS = {ord(mark): json.dumps(mark)[1:-1] for mark in "\x85\u2028\u2029"}
HEARTBEAT = ": still here\n\n"  # a comment, which clients skip


class LoopDispatcher:
    """Batches calls from engine threads into an event loop: one wake-up (a system call) runs all calls that wait."""

    def __init__(self) -> None:
        self._calls: deque[Callable[[], None]] = deque()
        self._scheduled = False

    def call_soon(self, loop: asyncio.AbstractEventLoop, callback: Callable[[], None]) -> None:
        """Run a callback in the loop, in order; from any thread. A closed loop drops it."""
        self._calls.append(callback)
        if not self._scheduled:
            self._scheduled = True  # set before the wake-up, so that later calls are queued before the queue is emptied
            try:
                loop.call_soon_threadsafe(self._run)
            except RuntimeError:  # the loop is closed: the server has stopped
                self._scheduled = False
                self._calls.clear()

    def _run(self) -> None:
        self._scheduled = False  # cleared first, so that calls during the loop below wake the event loop again
        for _ in range(len(self._calls)):
            self._calls.popleft()()


class OutputCollector:
    """Collects the output deltas of several engine requests to one service; created and read in an event loop.

    Submits all requests or none, as `Service.submit` does. With more than `backlog` unread deltas for each request, all
    are cancelled and `slow` is set.
    """

    def __init__(
        self,
        service: Service,
        requests: Sequence[Request],
        stats: RequestStats,
        backlog: int,
        dispatcher: LoopDispatcher,
    ):
        self.slow = asyncio.Event()
        self._service, self._requests, self._stats, self._dispatcher = service, requests, stats, dispatcher
        self._loop, self._backlog = asyncio.get_running_loop(), backlog * len(requests)
        self._deltas: deque[tuple[int, OutputDelta]] = deque()
        self._ready = asyncio.Event()
        self._tickets: dict[int, Ticket] = {}
        self._pending = set(range(len(requests)))
        self._cached = self._generated = 0
        stats.prompt_tokens = sum(len(request.prompt) for request in requests if request.number == 0)
        try:
            for index, request in enumerate(requests):
                self._tickets[index] = service.submit(request, self._listener(index))
        except BaseException:
            self.cancel()
            raise

    @property
    def done(self) -> bool:
        """Whether all sequences have ended and all deltas were read."""
        return not self._pending

    def usage(self) -> dict[str, Any]:
        """The `usage` so far; a prompt counts once for all its choices."""
        prompt = self._stats.prompt_tokens
        return {
            "prompt_tokens": prompt,
            "completion_tokens": self._generated,
            "total_tokens": prompt + self._generated,
            "prompt_tokens_details": {"cached_tokens": self._cached},
        }

    async def get(self, seconds: float) -> IndexedDeltas:
        """Wait for deltas with their request's index, for some seconds. Cancels all and raises ApiError on failure."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._ready.wait()
        self._ready.clear()
        deltas = list(self._deltas)
        self._deltas.clear()
        if not deltas and not self._service.stats().alive:
            raise errors.engine_failed()
        for index, delta in deltas:
            self._count(index, delta)
        return deltas

    def cancel(self) -> None:
        """Cancel what is unfinished; no more deltas arrive."""
        for ticket in self._tickets.values():
            self._service.cancel(ticket)
        self._tickets.clear()
        self._deltas.clear()

    def _count(self, index: int, delta: OutputDelta) -> None:
        if delta.error is not None:
            self.cancel()
            raise errors.delta_error(delta)
        if self._requests[index].number == 0:
            self._cached += delta.cached_tokens
            self._stats.cached_tokens = self._cached
        self._generated += len(delta.ids)
        if delta.finish:
            self._pending.discard(index)
            self._tickets.pop(index, None)

    def _listener(self, index: int) -> Any:
        def listen(delta: OutputDelta) -> None:
            self._dispatcher.call_soon(self._loop, partial(self._put, index, delta))

        return listen

    def _put(self, index: int, delta: OutputDelta) -> None:
        if index not in self._tickets:
            return
        self._stats.add(index, delta)
        self._deltas.append((index, delta))
        self._ready.set()
        if len(self._deltas) > self._backlog:
            self._stats.finish = "slow"
            self.slow.set()
            self.cancel()


class ResponseWriter(Protocol):
    """Writes outputs in the JSON format of an endpoint; a stream ends with the text `end`."""

    end: str = DONE

    def first_chunks(self) -> list[dict[str, Any]]:
        """The chunks before the first delta."""
        return []

    def chunks(self, index: int, delta: OutputDelta) -> list[dict[str, Any]]:
        """The chunks of an output delta."""

    def last_chunks(self, usage: dict[str, Any]) -> list[dict[str, Any]]:
        """The chunks after the last delta, such as usage."""

    def error_chunks(self, error: ApiError) -> list[dict[str, Any]]:
        """The chunks that end a stream after an error."""
        return [error.body]

    def response(self, outputs: list[list[OutputDelta]], usage: dict[str, Any]) -> dict[str, Any]:
        """The whole response."""


# --- whole responses -------------------------------------------------------------------------------------------------


async def collect(outputs: OutputCollector, count: int) -> list[list[OutputDelta]]:
    """All deltas of each request, once all have ended."""
    deltas: list[list[OutputDelta]] = [[] for _ in range(count)]
    while not outputs.done:
        for index, delta in await outputs.get(seconds=5):
            deltas[index].append(delta)
    return deltas


async def result_of(service: Service, future: "Future[T]") -> T:
    """The result of a service's future. Raises ApiError if its engine fails meanwhile."""
    job = asyncio.wrap_future(future)
    try:
        while not (await asyncio.wait({job}, timeout=5))[0]:
            if not service.stats().alive:
                raise errors.engine_failed()
        return job.result()
    finally:
        job.cancel()


async def unless_disconnected(receive: Receive, stats: RequestStats, work: Coroutine[Any, Any, T]) -> T:
    """The result of the work. When the client disconnects, cancels it and raises Disconnected."""
    job, leaving = asyncio.ensure_future(work), asyncio.ensure_future(_disconnected(receive))
    try:
        await asyncio.wait({job, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if job.done():
            return job.result()
        stats.finish = "gone"
        raise Disconnected
    finally:
        await _stop(job, leaving)


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _stop(*tasks: "asyncio.Future[Any]") -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


# --- streams --------------------------------------------------------------------------------------------


class EventStreamResponse(Response):
    """Outputs as server-sent events with heartbeats; cancels the sequences of a client that disconnects or stalls."""

    media_type = "text/event-stream"

    def __init__(self, outputs: OutputCollector, writer: ResponseWriter, stats: RequestStats, heartbeat: float):
        super().__init__(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._outputs, self._writer, self._stats, self._heartbeat = outputs, writer, stats, heartbeat

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Stream until all outputs are sent, the client disconnects, or it reads too slowly."""
        job, leaving = asyncio.ensure_future(self._send(send)), asyncio.ensure_future(_disconnected(receive))
        slow = asyncio.ensure_future(self._outputs.slow.wait())
        try:
            await asyncio.wait({job, leaving, slow}, return_when=asyncio.FIRST_COMPLETED)
            if job.done():
                job.result()
            elif leaving.done():
                self._stats.finish = "gone"
        finally:
            self._outputs.cancel()
            await _stop(job, leaving, slow)

    async def _send(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        async for text in self._texts():
            await send({"type": "http.response.body", "body": text.encode(), "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _texts(self) -> AsyncIterator[str]:
        yield "".join(map(sse_event, self._writer.first_chunks()))
        try:
            while not self._outputs.done:
                deltas = await self._outputs.get(self._heartbeat)
                chunks = [sse_event(chunk) for index, delta in deltas for chunk in self._writer.chunks(index, delta)]
                if chunks or not deltas:
                    yield "".join(chunks) or HEARTBEAT
            yield "".join(map(sse_event, self._writer.last_chunks(self._outputs.usage())))
        except ApiError as error:
            yield "".join(map(sse_event, self._writer.error_chunks(error)))
        yield self._writer.end


def sse_event(value: dict[str, Any]) -> str:
    """One server-sent event, named after its `type` if it has one.

    The characters in BREAKS are escaped: some clients take them for line ends.
    """
    name = f"event: {value['type']}\n" if "type" in value else ""
    data = json.dumps(value, ensure_ascii=False, separators=(",", ":")).translate(BREAKS)
    return f"{name}data: {data}\n\n"
