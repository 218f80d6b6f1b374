"""A server whose operations stay reachable: one more connection is always accepted, and user requests under way are
bounded.

The limit on open connections is at most half of what the process may open; the rest is for files. At the limit the
connection that has been idle for longest ends in favour of the new one, of the client address that has the most. Users'
requests under way are at most half as many as connections, so some other connection can always end. Requests for
operations (health, stop) are not counted, nor protected.
"""

import asyncio
import resource
import socket
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from heapq import nsmallest
from itertools import islice

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from groundup.serve.errors import ApiError
from groundup.serve.protocol import COUNTED, Protocol

CONNECTIONS = 2048  # the most that are open at a time, idle ones among them
BATCH = 16  # connections that are accepted at once; for a moment there are so many more than allowed
MOMENT = 0.02  # seconds before the next try to accept where the system can open no more


def allowed() -> int:
    """How many connections may be open; raises the process's limit of open files first, as far as that is needed and
    permitted.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    enough = 2 * CONNECTIONS
    if soft != resource.RLIM_INFINITY and soft < enough:
        with suppress(ValueError, OSError):  # some systems permit less than they say
            resource.setrlimit(
                resource.RLIMIT_NOFILE, (enough if hard == resource.RLIM_INFINITY else min(enough, hard), hard)
            )
        soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return CONNECTIONS if soft == resource.RLIM_INFINITY else min(CONNECTIONS, soft // 2)


class Server(uvicorn.Server):
    """uvicorn with an accept loop of ours. `operations` are the paths that are answered however many user requests are
    under way.

    What is under way is finished for at most `grace` seconds after `should_exit` was set.
    """

    def __init__(
        self,
        app: ASGIApp,
        operations: Collection[str],
        grace: float,
        most: int | None = None,
        protocol: type[Protocol] = Protocol,
    ):
        self._most, self._protocol = most or allowed(), protocol
        super().__init__(uvicorn.Config(
            app=Lanes(app, operations, self._most // 2), http=protocol, ws="none", lifespan="off", log_config=None,
            access_log=False,
            server_header=False, proxy_headers=False, timeout_graceful_shutdown=max(1, round(grace)),
            h11_max_incomplete_event_size=64 * 1024,
        ))  # fmt: skip

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept from the sockets, which listen already."""
        await super().startup(sockets=[])
        self.servers = [_Door(listener, self._connection, self._protocols, self._most) for listener in sockets or []]  # type: ignore[misc]

    def _connection(self) -> Protocol:
        return self._protocol(self.config, self.server_state, self.lifespan.state)

    def _protocols(self) -> Collection[Protocol]:
        return self.server_state.connections  # type: ignore[return-value]


class _Door:
    """Accepts from one listening socket, and ends as many connections as there are too many."""

    def __init__(
        self,
        listener: socket.socket,
        make: Callable[[], Protocol],
        connections: Callable[[], Collection[Protocol]],
        most: int,
    ):
        self._listener, self._make, self._connections, self._most = listener, make, connections, most
        listener.setblocking(False)
        self._loop = asyncio.get_running_loop()
        self._task = self._loop.create_task(self._accept())

    def close(self) -> None:
        """Accept no more."""
        self._loop.remove_reader(self._listener)
        self._task.cancel()

    async def wait_closed(self) -> None:
        """Return once nothing is accepted any more."""
        await asyncio.wait({self._task})

    async def _accept(self) -> None:
        while True:
            try:
                first, _ = await self._loop.sock_accept(self._listener)
            except OSError:  # the client is gone again, or the whole system has no descriptor left
                self._end(1)
                await asyncio.sleep(MOMENT)
                continue
            new = [first, *islice(iter(self._next, None), BATCH - 1)]
            self._end(len(self._connections()) + len(new) - self._most)
            await asyncio.gather(
                *(self._loop.connect_accepted_socket(self._make, each) for each in new), return_exceptions=True
            )

    def _next(self) -> socket.socket | None:
        with suppress(OSError):
            return self._listener.accept()[0]
        return None

    def _end(self, count: int) -> None:
        for each in idlest(self._connections(), max(0, count)):
            each.transport.abort()


def idlest(connections: Iterable[Protocol], count: int) -> list[Protocol]:
    """The connections to end first, none with a counted request that waits for us: those idle for longest, then the
    oldest whose client takes nothing or that has another request; of each kind, those of the address that has most
    before all others.
    """
    found = list(connections)
    held = Counter(each.address for each in found)

    def order(each: Protocol) -> tuple[bool, int, float]:
        return each.busy, -held[each.address], each.made if each.busy else each.since

    return nsmallest(count, (each for each in found if not each.working), key=order)


class Lanes:
    """ASGI middleware: at most `most` user requests under way, half of them from one address; operations are not
    counted.
    """

    def __init__(self, app: ASGIApp, operations: Collection[str], most: int):
        self.app, self._operations, self._most = app, frozenset(operations), most
        self._running: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand the request on, or refuse it."""
        if scope["type"] != "http" or scope["path"] in self._operations:
            return await self.app(scope, receive, send)
        address = (scope.get("client") or ("",))[0]
        if self._running.total() >= self._most or self._running[address] >= max(1, self._most // 2):
            busy = ApiError(
                503, "too many requests are under way; try again in a moment", code="busy", headers={"Retry-After": "1"}
            )
            return await busy.response(scope, receive, send)
        self._running[address] += 1
        scope[COUNTED] = True
        try:
            await self.app(scope, receive, send)
        finally:
            self._running[address] -= 1
            if not self._running[address]:
                del self._running[address]
