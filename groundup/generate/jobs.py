"""Jobs in the engine's thread, one after each step, so that no step waits for more than one of them."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from functools import partial
from typing import Any, Generic, TypeVar

from groundup.core.errors import InputError
from groundup.generate.isolation import isolated
from groundup.generate.refusals import Closing

T = TypeVar("T")


class Jobs(Generic[T]):
    """Runs one job with each call of `run_next`, and sets `future` to all results or to the first error.

    `enqueue` queues the next call; `dequeue` is called with the number of jobs that no longer wait; `failed` says
    whether the engine has failed.
    """

    def __init__(
        self,
        jobs: Sequence[Callable[[], T]],
        enqueue: Callable[[Callable[[], None]], None],
        dequeue: Callable[[int], None],
        failed: Callable[[], bool],
    ):
        self.future: Future[list[T]] = Future()
        self._jobs, self._results = jobs, list[T]()
        self._enqueue, self._dequeue, self._failed = enqueue, dequeue, failed

    def run_next(self) -> None:
        """Run the next job; then queue the one after it, or set the future."""
        if self.future.cancelled() or self._failed():
            return self._refuse(Closing())
        done = len(self._results)
        isolated(lambda: self._results.append(self._jobs[done]()), self._refuse)
        if len(self._results) == done:
            return None
        self._dequeue(1)
        if len(self._results) < len(self._jobs):
            return self._enqueue(self.run_next)
        return self._settle(partial(self.future.set_result, self._results))

    def _refuse(self, error: Exception) -> None:
        self._dequeue(len(self._jobs) - len(self._results))
        failure = error if isinstance(error, InputError) else RuntimeError(f"the engine failed: {error}")
        self._settle(partial(self.future.set_exception, failure))

    def _settle(self, setter: Callable[[], Any]) -> None:
        with suppress(InvalidStateError):  # cancelled meanwhile
            setter()
