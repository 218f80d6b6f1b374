"""Rate limits: requests a minute and concurrent requests, of each client and of all clients together."""

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

MAX_CLIENTS = 10_000  # clients that are remembered


class RateLimited(Exception):
    """A request over a limit; `retry_after` is the number of seconds to wait."""

    def __init__(self, message: str, retry_after: float):
        super().__init__(message)
        self.retry_after = retry_after


@dataclass
class _Bucket:
    tokens: float
    filled: float
    running: int = 0


class RateLimiter:
    """A token bucket for each client, which holds a minute's requests, and counts of concurrent requests."""

    def __init__(
        self,
        requests_per_minute: int,
        concurrent: int,
        total_concurrent: int,
        clock: Callable[[], float] = time.monotonic,
    ):
        self.requests_per_minute, self.concurrent = requests_per_minute, concurrent
        self.total_concurrent = total_concurrent
        self._clock = clock
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()
        self.running = 0

    def acquire(self, client: str, requests_per_minute: int | None = None, concurrent: int | None = None) -> None:
        """Admit a request; call `release` when it has ended. Raises RateLimited."""
        rate, limit = requests_per_minute or self.requests_per_minute, concurrent or self.concurrent
        bucket, now = self._bucket(client, rate), self._clock()
        bucket.tokens = min(rate, bucket.tokens + (now - bucket.filled) * rate / 60)
        bucket.filled = now
        if self.running >= self.total_concurrent:
            raise RateLimited(
                f"the server answers {self.total_concurrent} requests at a time; try again in a moment", 1.0
            )
        if bucket.running >= limit:
            raise RateLimited(f"{limit} requests at a time are allowed; wait for one to end", 1.0)
        if bucket.tokens < 1:
            raise RateLimited(f"{rate} requests a minute are allowed; wait a little", (1 - bucket.tokens) * 60 / rate)
        bucket.tokens -= 1
        bucket.running += 1
        self.running += 1

    def release(self, client: str) -> None:
        """End a request that was admitted."""
        self._buckets[client].running -= 1
        self.running -= 1

    def _bucket(self, client: str, rate: int) -> _Bucket:
        bucket = self._buckets.setdefault(client, _Bucket(rate, self._clock()))
        self._buckets.move_to_end(client)
        if len(self._buckets) > MAX_CLIENTS:  # evict the least recently active without a request in flight
            idle = (name for name, other in self._buckets.items() if not other.running and name != client)
            if (oldest := next(idle, None)) is not None:
                del self._buckets[oldest]
        return bucket
