"""How much one client may ask: so many requests a minute, so many at a time; and all clients together."""

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

CLIENTS = 10_000  # clients that are remembered


class TooMany(Exception):
    """A request beyond a limit; `retry_after` says in how many seconds to try again."""

    def __init__(self, message: str, retry_after: float):
        super().__init__(message)
        self.retry_after = retry_after


@dataclass
class _Client:
    tokens: float
    filled: float
    running: int = 0


class Limiter:
    """Counts requests by client: a bucket that holds a minute's worth and fills steadily, and those under way."""

    def __init__(self, a_minute: int, at_a_time: int, together: int, clock: Callable[[], float] = time.monotonic):
        self.a_minute, self.at_a_time, self.together = a_minute, at_a_time, together
        self._clock = clock
        self._clients: OrderedDict[str, _Client] = OrderedDict()
        self.running = 0

    def enter(self, name: str, a_minute: int | None = None, at_a_time: int | None = None) -> None:
        """Let a request begin; raises TooMany. `leave` when it is done."""
        rate, most = a_minute or self.a_minute, at_a_time or self.at_a_time
        client, now = self._client(name, rate), self._clock()
        client.tokens = min(rate, client.tokens + (now - client.filled) * rate / 60)
        client.filled = now
        if self.running >= self.together:
            raise TooMany(f"the server answers {self.together} requests at a time; try again in a moment", 1.0)
        if client.running >= most:
            raise TooMany(f"{most} requests at a time are allowed; wait for one to end", 1.0)
        if client.tokens < 1:
            raise TooMany(f"{rate} requests a minute are allowed; wait a little", (1 - client.tokens) * 60 / rate)
        client.tokens -= 1
        client.running += 1
        self.running += 1

    def leave(self, name: str) -> None:
        """A request is done."""
        self._clients[name].running -= 1
        self.running -= 1

    def _client(self, name: str, rate: int) -> _Client:
        client = self._clients.setdefault(name, _Client(rate, self._clock()))
        self._clients.move_to_end(name)
        if len(self._clients) > CLIENTS:  # forget the longest unseen that has nothing under way
            oldest = next((each for each, found in self._clients.items() if not found.running and each != name), None)
            if oldest is not None:
                del self._clients[oldest]
        return client
