"""A dedicated worker thread, for calls that must not wait for other requests: telling a robot to stop."""

import asyncio
from collections.abc import Callable
from threading import Thread
from typing import TypeVar

T = TypeVar("T")


class WorkerThread:
    """One daemon thread that runs calls in order. A call that hangs does not keep the process from ending."""

    def __init__(self, name: str):
        self._loop = asyncio.new_event_loop()
        Thread(target=self._run, name=name, daemon=True).start()

    async def do(self, work: Callable[[], T], seconds: float) -> T:
        """Run a call and return its result. Raises its exception, or TimeoutError after so many seconds; the call
        continues.
        """

        async def call() -> T:
            return work()

        done = asyncio.wrap_future(asyncio.run_coroutine_threadsafe(call(), self._loop))
        return await asyncio.wait_for(asyncio.shield(done), seconds)

    def close(self) -> None:
        """Let the thread end after the calls that it has."""
        self._loop.call_soon_threadsafe(self._loop.stop)

    def _run(self) -> None:
        self._loop.run_forever()
        self._loop.close()
