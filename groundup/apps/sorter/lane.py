"""A thread kept ready for what must not wait for other requests: telling a limb to stop."""

import asyncio
from collections.abc import Callable
from threading import Thread
from typing import TypeVar

T = TypeVar("T")


class Lane:
    """One thread that does what it is given, in order. What hangs in it keeps no process from ending."""

    def __init__(self, name: str):
        self._loop = asyncio.new_event_loop()
        Thread(target=self._run, name=name, daemon=True).start()

    async def do(self, work: Callable[[], T], seconds: float) -> T:
        """What the work returns or raises. Raises TimeoutError after so many seconds; the work is done all the same."""

        async def call() -> T:
            return work()

        done = asyncio.wrap_future(asyncio.run_coroutine_threadsafe(call(), self._loop))
        return await asyncio.wait_for(asyncio.shield(done), seconds)

    def close(self) -> None:
        """Let the thread end after what it was given."""
        self._loop.call_soon_threadsafe(self._loop.stop)

    def _run(self) -> None:
        self._loop.run_forever()
        self._loop.close()
