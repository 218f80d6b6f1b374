"""HTTP connections that end by themselves: whoever sends no whole head, leaves a body unfinished, or takes nothing, is
cut off.
"""

import asyncio
import logging
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_SECONDS = 15.0  # for the whole head of a request to come
TAKE_SECONDS = (
    30.0  # for a client to take something of what waits for it, and to end the body of a request that is answered
)
SLICE = 16 * 1024  # bytes that are read of one connection before the others have their turn
FRAMING = 128 * 1024  # bytes around the chunks of a body, beyond one in 16
PIPELINED = 0.05  # seconds until the next request of a client that does not wait for its answers
COUNTED = "groundup.counted"  # in the scope of a request that counts among those under way
LOG = logging.getLogger("groundup.serve.protocol")
LOG.setLevel(
    logging.ERROR
)  # what clients do wrong is answered; to log each case would let them fill the log, or stop at a pipe nobody reads


class Protocol(H11Protocol, asyncio.BufferedProtocol):
    """uvicorn's protocol with a clock for each connection: it runs while a head is awaited, while the body of an
    answered request goes on, and while the client's buffer is full.

    What is not taken stays in memory for as long as the connection does, even one that was closed here, so it is cut
    and not closed. `address` is whose it is; `made` when it came and `since` when it became idle, in the loop's
    seconds.
    """

    head_seconds, take_seconds = HEAD_SECONDS, TAKE_SECONDS

    def __init__(self, *arguments: Any, **more: Any):
        super().__init__(*arguments, **more)
        self.logger = LOG
        self.address, self.made = "", self.loop.time()
        self.since = self.made
        self._clock: asyncio.TimerHandle | None = None
        self._buffer = bytearray()
        self._framing = 0

    @property
    def working(self) -> bool:
        """Whether a counted request is under way and its client takes what it is sent."""
        return self.busy and COUNTED in self.cycle.scope and not self.flow.write_paused

    @property
    def busy(self) -> bool:
        """Whether a request is under way, or its answer waits to be taken."""
        return not self._answered or self.flow.write_paused

    @property
    def _answered(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client has come; its head is awaited."""
        super().connection_made(transport)
        self.address = self.client[0] if self.client else ""
        self._cut_in(self.head_seconds)

    def get_buffer(self, sizehint: int) -> bytearray:
        """Where the next bytes go."""
        self._buffer = bytearray(SLICE)
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """So many bytes have come."""
        data, self._buffer = bytes(self._buffer[:nbytes]), bytearray()
        self.data_received(data)

    def data_received(self, data: bytes) -> None:
        """Something of a head or of a body has come; the clock goes on from where it stood while the head, or an
        answered body, is not whole.
        """
        cycle, before = self.cycle, len(self.cycle.body) if self.cycle else 0
        super().data_received(data)
        if self.cycle is not cycle:
            self._framing = 0
        elif self.conn.their_state is h11.SEND_BODY and not self._answered:
            self._weigh(len(data), len(self.cycle.body) - before)
        if self.conn.their_state is h11.IDLE:
            if self._clock is None and not self.transport.is_closing():
                self._cut_in(self.head_seconds)
        elif not self._answered and not self.flow.write_paused:
            self._stop()

    def _weigh(self, taken: int, body: int) -> None:
        """Cut off a body that comes in chunks so small that reading them is the work."""
        self._framing = max(0, self._framing + taken - taken // 16 - body)
        if self._framing > FRAMING:
            self.transport.abort()

    def pause_writing(self) -> None:
        """The client does not take what it is sent."""
        super().pause_writing()
        self._cut_in(self.take_seconds)

    def resume_writing(self) -> None:
        """The client has taken it; unless it is the last answer here, or a body goes on that nobody reads any more."""
        super().resume_writing()
        self._stop()
        self._end_if_answered()

    def on_response_complete(self) -> None:
        """An answer is sent; if it was the last one here, it must be taken too, and the rest of a body must come."""
        self.since = self.loop.time()
        if self.conn.trailing_data[0] and not self.transport.is_closing():
            self.loop.call_later(PIPELINED, self._go_on)
        else:
            self._go_on()

    def timeout_keep_alive_handler(self) -> None:
        """Nothing more is asked: close, once what was answered is taken."""
        super().timeout_keep_alive_handler()
        self._cut_in(self.take_seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        super().connection_lost(exc)
        self._stop()

    def _go_on(self) -> None:
        super().on_response_complete()
        self._end_if_answered()

    def _end_if_answered(self) -> None:
        if self.transport.is_closing() or (self._answered and self.conn.their_state is h11.SEND_BODY):
            self._cut_in(self.take_seconds)

    def _cut_in(self, seconds: float) -> None:
        self._stop()
        self._clock = self.loop.call_later(seconds, self.transport.abort)

    def _stop(self) -> None:
        if self._clock is not None:
            self._clock.cancel()
            self._clock = None
