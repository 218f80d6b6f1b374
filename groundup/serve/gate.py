"""The gate that every request passes: who asks, from where, how often; and what came of it, for the log and the
metrics.
"""

import math
import secrets
import time
from dataclasses import dataclass, field
from typing import Any

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from groundup.serve import record
from groundup.serve.errors import ApiError
from groundup.serve.keys import Key, Keys
from groundup.serve.limits import Limiter, TooMany
from groundup.serve.log import AccessLog
from groundup.serve.metrics import Metrics

GUARDED = ("/v1", "/api", "/metrics")  # need a key, where there are keys
LIMITED = ("/v1",)
HERE = {"localhost", "127.0.0.1", "[::1]"}
LOGGED_BODY = 64 * 1024  # bytes of what was asked that the log may hold


@dataclass
class _Visit:
    """One request at the gate."""

    scope: Scope
    headers: Headers
    id: str = field(default_factory=lambda: secrets.token_hex(8))
    began: float = field(default_factory=time.monotonic)
    key: Key | None = None
    status: int = 0
    body: bytearray = field(default_factory=bytearray)

    @property
    def client(self) -> str:
        """Whose limits count: the key's, else the address's."""
        if self.key is not None:
            return f"key {self.key.name}"
        address = self.scope.get("client")
        return f"address {address[0] if address else ''}"


class Gate:
    """ASGI middleware around the whole app. Without keys only this machine is served, so a request for any other host
    is refused.
    """

    def __init__(self, app: ASGIApp, keys: Keys | None, limiter: Limiter, log: AccessLog, metrics: Metrics):
        self.app, self.keys, self.limiter, self.log, self.metrics = app, keys, limiter, log, metrics
        if keys is not None:
            keys.trouble = lambda said: log.say({"event": "keys", "message": said})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        visit = _Visit(scope, Headers(scope=scope))
        self.metrics.under_way.inc()
        try:
            await self._pass(visit, receive, self._watched(visit, send))
        finally:
            self.metrics.under_way.dec()
            self._note(visit)

    async def _pass(self, visit: _Visit, receive: Receive, send: Send) -> None:
        try:
            self._admit(visit)
        except ApiError as error:
            return await error.response(visit.scope, receive, send)
        if not _under(visit.scope["path"], LIMITED):
            return await self.app(visit.scope, receive, send)
        record.of(visit.scope).client = visit.client
        limits = (visit.key.a_minute, visit.key.at_a_time) if visit.key else (None, None)
        try:
            self.limiter.enter(visit.client, *limits)
        except TooMany as error:
            again = {"Retry-After": str(max(1, math.ceil(error.retry_after)))}
            return await ApiError(429, str(error), code="rate_limit_exceeded", headers=again).response(
                visit.scope, receive, send
            )
        try:
            await self.app(visit.scope, self._overheard(visit, receive) if self.log.prompts else receive, send)
        finally:
            self.limiter.leave(visit.client)

    def _admit(self, visit: _Visit) -> None:
        """Raises ApiError for a request from a page of somebody else's, for another host, or without a key."""
        host = visit.headers.get("host", "")
        if self.keys is None and _name(host) not in HERE:
            raise ApiError(403, f"this server answers to localhost, not to {host!r}", code="wrong_host")
        origin = visit.headers.get("origin")
        if origin is not None and origin.partition("://")[2] != host:
            raise ApiError(403, f"pages of {origin} may not use this server", code="wrong_origin")
        if self.keys is None or not _under(visit.scope["path"], GUARDED):
            return
        scheme, _, token = visit.headers.get("authorization", "").partition(" ")
        visit.key = self.keys.find(token.strip()) if scheme.lower() == "bearer" else None
        if visit.key is None:
            raise ApiError(
                401,
                "a valid API key is needed: Authorization: Bearer KEY",
                code="invalid_api_key",
                headers={"WWW-Authenticate": "Bearer"},
            )

    def _watched(self, visit: _Visit, send: Send) -> Send:
        async def watched(message: Message) -> None:
            if message["type"] == "http.response.start":
                visit.status = message["status"]
                message = {**message, "headers": [*message.get("headers", []), (b"x-request-id", visit.id.encode())]}
            await send(message)

        return watched

    def _overheard(self, visit: _Visit, receive: Receive) -> Receive:
        async def overheard() -> Message:
            message = await receive()
            visit.body += message.get("body", b"")[: LOGGED_BODY - len(visit.body)]
            return message

        return overheard

    def _note(self, visit: _Visit) -> None:
        path, seconds, noted = visit.scope["path"], time.monotonic() - visit.began, record.of(visit.scope)
        self.metrics.note(path, visit.status, seconds, noted)
        entry: dict[str, Any] = {
            "id": visit.id,
            "key": visit.key.name if visit.key else None,
            "method": visit.scope["method"],
            "path": path,
            "status": visit.status,
            "seconds": round(seconds, 4),
        }
        self.log.write(entry, noted, bytes(visit.body) if self.log.prompts and visit.body else None)


def _under(path: str, parts: tuple[str, ...]) -> bool:
    return any(path == part or path.startswith(part + "/") for part in parts)


def _name(host: str) -> str:
    """A host without its port."""
    return host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
