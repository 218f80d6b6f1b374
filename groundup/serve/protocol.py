"""HTTP/1.1 with timeouts: aborts clients that do not finish a header or body, or do not read responses (slowloris)."""

import asyncio
import logging
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

HEADER_TIMEOUT = 15.0  # seconds for the complete header of a request
SEND_TIMEOUT = 30.0  # seconds for a client to read part of a response, and to end the body of an answered request
READ_BYTES = 16 * 1024  # bytes read from one connection before the loop turns to others
MAX_FRAMING = 128 * 1024  # bytes of chunk headers in a body, beyond a sixteenth of it
PIPELINE_DELAY = 0.05  # seconds until the next pipelined request is processed
COUNTED = "groundup.counted"  # ASGI scope key of a request that counts as in flight
LOG = logging.getLogger("groundup.serve.protocol")
LOG.setLevel(logging.ERROR)  # client errors are answered and not logged: clients could fill the log with them


class Protocol(H11Protocol, asyncio.BufferedProtocol):
    """uvicorn's HTTP protocol with one timeout a connection.

    It runs while a header is incomplete, while the body of an answered request continues and while the client does not
    read, and aborts the connection. `address` is the client's; `made` and `since`: loop times of connecting and idling.
    """

    header_timeout, send_timeout = HEADER_TIMEOUT, SEND_TIMEOUT

    def __init__(self, *arguments: Any, **more: Any):
        super().__init__(*arguments, **more)
        self.logger = LOG
        self.address, self.made = "", self.loop.time()
        self.since = self.made
        self._timeout: asyncio.TimerHandle | None = None
        self._buffer = bytearray()
        self._framing = 0

    @property
    def working(self) -> bool:
        """Whether a counted request is in flight and its client reads: the connection is not evicted."""
        return self.busy and COUNTED in self.cycle.scope and not self.flow.write_paused

    @property
    def busy(self) -> bool:
        """Whether a request is in flight, or its response has unread data."""
        return not self._answered or self.flow.write_paused

    @property
    def _answered(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the header timeout of a new connection."""
        super().connection_made(transport)
        self.address = self.client[0] if self.client else ""
        self._abort_after(self.header_timeout)

    def get_buffer(self, sizehint: int) -> bytearray:
        """A buffer for the next bytes."""
        self._buffer = bytearray(READ_BYTES)
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Process received bytes."""
        data, self._buffer = bytes(self._buffer[:nbytes]), bytearray()
        self.data_received(data)

    def data_received(self, data: bytes) -> None:
        """Process part of a header or body. Its timeout is not restarted while either is incomplete."""
        cycle, before = self.cycle, len(self.cycle.body) if self.cycle else 0
        super().data_received(data)
        if self.cycle is not cycle:
            self._framing = 0
        elif self.conn.their_state is h11.SEND_BODY and not self._answered:
            self._limit_framing(len(data), len(self.cycle.body) - before)
        if self.conn.their_state is h11.IDLE:
            if self._timeout is None and not self.transport.is_closing():
                self._abort_after(self.header_timeout)
        elif not self._answered and not self.flow.write_paused:
            self._cancel_timeout()

    def _limit_framing(self, taken: int, body: int) -> None:
        """Abort a body whose chunks are so small that parsing them dominates."""
        self._framing = max(0, self._framing + taken - taken // 16 - body)
        if self._framing > MAX_FRAMING:
            self.transport.abort()

    def pause_writing(self) -> None:
        """Start the send timeout: the client does not read."""
        super().pause_writing()
        self._abort_after(self.send_timeout)

    def resume_writing(self) -> None:
        """Stop the send timeout: the client reads again. It continues if the connection is to close."""
        super().resume_writing()
        self._cancel_timeout()
        self._abort_if_answered()

    def on_response_complete(self) -> None:
        """Go on to the next request. After the last response, time its delivery and the rest of the body."""
        self.since = self.loop.time()
        if self.conn.trailing_data[0] and not self.transport.is_closing():
            self.loop.call_later(PIPELINE_DELAY, self._next_request)
        else:
            self._next_request()

    def timeout_keep_alive_handler(self) -> None:
        """Close an idle connection once its last response has been read."""
        super().timeout_keep_alive_handler()
        self._abort_after(self.send_timeout)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timeout of a lost connection."""
        super().connection_lost(exc)
        self._cancel_timeout()

    def _next_request(self) -> None:
        super().on_response_complete()
        self._abort_if_answered()

    def _abort_if_answered(self) -> None:
        if self.transport.is_closing() or (self._answered and self.conn.their_state is h11.SEND_BODY):
            self._abort_after(self.send_timeout)

    def _abort_after(self, seconds: float) -> None:
        self._cancel_timeout()
        self._timeout = self.loop.call_later(seconds, self.transport.abort)

    def _cancel_timeout(self) -> None:
        if self._timeout is not None:
            self._timeout.cancel()
            self._timeout = None
