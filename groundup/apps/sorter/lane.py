"""A thread kept ready for what must not wait for other requests: telling a limb to stop."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from threading import Thread
from typing import TypeVar

T = TypeVar("T")


class Lane:
    """One thread that does what it is given, in order. What hangs in it keeps no process from ending."""

    def __init__(self, name: str):
        self._work = SimpleQueue[Callable[[], None] | None]()
        Thread(target=self._run, name=name, daemon=True).start()

    async def do(self, work: Callable[[], T], seconds: float) -> T:
        """What the work returns or raises. It is done in any case, also after TimeoutError: no answer in so many seconds."""
        done = Future[T]()

        def settle() -> None:
            try:
                result = work()
            except BaseException as error:  # it is the asker's
                done.set_exception(error)
            else:
                done.set_result(result)

        self._work.put(settle)
        return await asyncio.wait_for(asyncio.shield(asyncio.wrap_future(done)), seconds)

    def close(self) -> None:
        """Let the thread end after what it was given."""
        self._work.put(None)

    def _run(self) -> None:
        while (work := self._work.get()) is not None:
            work()
