"""The accept loop and the connection limit: a new connection is always accepted, so operators always reach the server.

Connections are limited to half of the file descriptors; at the limit one is evicted for the new one. User requests in
flight are limited to half of the connections, so one can always be evicted. Operator requests (health, stop) are
neither counted nor protected.
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

CONNECTIONS = 2048  # most open connections, idle ones included
BATCH = 16  # connections accepted at once: for a moment so many more than the limit are open
ACCEPT_RETRY = 0.02  # seconds, when the system has no file descriptor left


def max_connections() -> int:
    """The limit on open connections. Raises the process's soft limit of open files first, where permitted."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    enough = 2 * CONNECTIONS
    if soft != resource.RLIM_INFINITY and soft < enough:
        with suppress(ValueError, OSError):  # some systems allow less than the hard limit they report
            resource.setrlimit(
                resource.RLIMIT_NOFILE, (enough if hard == resource.RLIM_INFINITY else min(enough, hard), hard)
            )
        soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return CONNECTIONS if soft == resource.RLIM_INFINITY else min(CONNECTIONS, soft // 2)


class Server(uvicorn.Server):
    """uvicorn with this accept loop; paths in `operations` have no limit. A graceful exit takes at most `grace` s."""

    def __init__(
        self,
        app: ASGIApp,
        operations: Collection[str],
        grace: float,
        limit: int | None = None,
        protocol: type[Protocol] = Protocol,
    ):
        self._limit, self._protocol = limit or max_connections(), protocol
        super().__init__(
            uvicorn.Config(
                app=InFlightLimit(app, operations, self._limit // 2),
                http=protocol,
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                timeout_graceful_shutdown=max(1, round(grace)),
                h11_max_incomplete_event_size=64 * 1024,
            )
        )

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept from the sockets, which already listen."""
        await super().startup(sockets=[])
        acceptors = [_Acceptor(listener, self._connection, self._protocols, self._limit) for listener in sockets or []]
        self.servers = acceptors  # type: ignore[assignment]

    def _connection(self) -> Protocol:
        return self._protocol(self.config, self.server_state, self.lifespan.state)

    def _protocols(self) -> Collection[Protocol]:
        return self.server_state.connections  # type: ignore[return-value]


class _Acceptor:
    """Accepts connections from one listening socket and evicts those over the limit."""

    def __init__(
        self,
        listener: socket.socket,
        make: Callable[[], Protocol],
        connections: Callable[[], Collection[Protocol]],
        limit: int,
    ):
        self._listener, self._make, self._connections, self._limit = listener, make, connections, limit
        listener.setblocking(False)
        self._loop = asyncio.get_running_loop()
        self._task = self._loop.create_task(self._accept())

    def close(self) -> None:
        """Stop accepting."""
        self._loop.remove_reader(self._listener)
        self._task.cancel()

    async def wait_closed(self) -> None:
        """Wait until the accept loop has ended."""
        await asyncio.wait({self._task})

    async def _accept(self) -> None:
        while True:
            try:
                first, _ = await self._loop.sock_accept(self._listener)
            except OSError:  # the client has disconnected again, or the system has no descriptor left
                self._evict(1)
                await asyncio.sleep(ACCEPT_RETRY)
                continue
            new = [first, *islice(iter(self._next, None), BATCH - 1)]
            self._evict(len(self._connections()) + len(new) - self._limit)
            await asyncio.gather(
                *(self._loop.connect_accepted_socket(self._make, each) for each in new), return_exceptions=True
            )

    def _next(self) -> socket.socket | None:
        with suppress(OSError):
            return self._listener.accept()[0]
        return None

    def _evict(self, count: int) -> None:
        for each in evictable(self._connections(), max(0, count)):
            each.transport.abort()


def evictable(connections: Iterable[Protocol], count: int) -> list[Protocol]:
    """The connections to evict first; none on which a user request is being processed.

    First idle ones, the longest idle first; then those that serve an operator or whose client does not read, the oldest
    first. Within both groups, addresses with the most connections come first.
    """
    found = list(connections)
    held = Counter(each.address for each in found)

    def order(each: Protocol) -> tuple[bool, int, float]:
        return each.busy, -held[each.address], each.made if each.busy else each.since

    return nsmallest(count, (each for each in found if not each.working), key=order)


class InFlightLimit:
    """ASGI middleware: at most `limit` user requests in flight, half of them from one address; not `operations`."""

    def __init__(self, app: ASGIApp, operations: Collection[str], limit: int):
        self.app, self._operations, self._limit = app, frozenset(operations), limit
        self._running: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Call the app, or refuse with 503."""
        if scope["type"] != "http" or scope["path"] in self._operations:
            return await self.app(scope, receive, send)
        address = (scope.get("client") or ("",))[0]
        if self._running.total() >= self._limit or self._running[address] >= max(1, self._limit // 2):
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
