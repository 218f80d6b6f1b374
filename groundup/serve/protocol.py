"""HTTP connections that end by themselves: whoever sends no whole head, or takes nothing, is cut off."""

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_SECONDS = 15.0  # for the whole head of a request to come
TAKE_SECONDS = 30.0  # for a client to take something of what waits for it


class Protocol(H11Protocol):
    """uvicorn's protocol with a clock for each connection: it runs while a head is awaited, and while the client's buffer is full.

    What is not taken stays in memory for as long as the connection does, even one that was closed here, so it is cut and not closed.
    """

    head_seconds, take_seconds = HEAD_SECONDS, TAKE_SECONDS

    def __init__(self, *arguments: Any, **more: Any):
        super().__init__(*arguments, **more)
        self._clock: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client has come; its head is awaited."""
        super().connection_made(transport)
        self._cut_in(self.head_seconds)

    def data_received(self, data: bytes) -> None:
        """Something of a head or of a body has come; the clock goes on from where it stood while the head is not whole."""
        super().data_received(data)
        if self.conn.their_state is h11.IDLE:
            if self._clock is None and not self.transport.is_closing():
                self._cut_in(self.head_seconds)
        elif not self.flow.write_paused:
            self._stop()

    def pause_writing(self) -> None:
        """The client does not take what it is sent."""
        super().pause_writing()
        self._cut_in(self.take_seconds)

    def resume_writing(self) -> None:
        """The client has taken it."""
        super().resume_writing()
        self._stop()

    def on_response_complete(self) -> None:
        """An answer is sent; if it was the last one here, it must be taken too."""
        super().on_response_complete()
        if self.transport.is_closing():
            self._cut_in(self.take_seconds)

    def timeout_keep_alive_handler(self) -> None:
        """Nothing more is asked: close, once what was answered is taken."""
        super().timeout_keep_alive_handler()
        self._cut_in(self.take_seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        super().connection_lost(exc)
        self._stop()

    def _cut_in(self, seconds: float) -> None:
        self._stop()
        self._clock = self.loop.call_later(seconds, self.transport.abort)

    def _stop(self) -> None:
        if self._clock is not None:
            self._clock.cancel()
            self._clock = None
