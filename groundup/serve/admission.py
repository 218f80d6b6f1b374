"""Admission control: host, origin, API key and rate limit of each request; then the access log and the metrics.

With keys, requests of any origin are allowed (CORS): a key is a header that no browser adds by itself.
"""

import math
import secrets
import time
from dataclasses import dataclass, field
from typing import Any

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from groundup.serve import request_stats
from groundup.serve.access_log import AccessLog
from groundup.serve.errors import ApiError
from groundup.serve.keys import Key, Keys
from groundup.serve.metrics import Metrics
from groundup.serve.rate_limit import RateLimited, RateLimiter

KEY_PATHS = ("/v1", "/api", "/metrics")  # paths that need a key, if there are keys
RATE_LIMITED_PATHS = ("/v1",)
LOCAL_HOSTS = {"localhost", "127.0.0.1", "[::1]"}
LOGGED_BODY_BYTES = 64 * 1024  # bytes of a request body that the log may hold


@dataclass
class _Request:
    """One request and its state."""

    scope: Scope
    headers: Headers
    id: str = field(default_factory=lambda: secrets.token_hex(8))
    started: float = field(default_factory=time.monotonic)
    key: Key | None = None
    status: int = 0
    body: bytearray = field(default_factory=bytearray)

    @property
    def client(self) -> str:
        """The client for rate limits: the key, else the address."""
        if self.key is not None:
            return f"key {self.key.name}"
        address = self.scope.get("client")
        return f"address {address[0] if address else ''}"


def for_any_origin(app: ASGIApp) -> ASGIApp:
    """The app with CORS headers for pages of any origin; cookies are not allowed."""
    return CORSMiddleware(
        app,
        allow_origins=("*",),
        allow_methods=("GET", "POST"),
        allow_headers=("*",),
        expose_headers=("x-request-id", "retry-after"),
    )


class AdmissionControl:
    """ASGI middleware around the app. Without keys it refuses requests for any host but this one (DNS rebinding)."""

    def __init__(self, app: ASGIApp, keys: Keys | None, limiter: RateLimiter, log: AccessLog, metrics: Metrics):
        self.app, self.keys, self.limiter, self.log, self.metrics = app, keys, limiter, log, metrics
        if keys is not None:
            keys.on_error = lambda message: log.event({"event": "keys", "message": message})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        request = _Request(scope, Headers(scope=scope))
        self.metrics.in_flight.inc()
        try:
            await self._handle(request, receive, self._observe_send(request, send))
        finally:
            self.metrics.in_flight.dec()
            self._record(request)

    async def _handle(self, request: _Request, receive: Receive, send: Send) -> None:
        try:
            self._admit(request)
        except ApiError as error:
            return await error.response(request.scope, receive, send)
        if not _under(request.scope["path"], RATE_LIMITED_PATHS):
            return await self.app(request.scope, receive, send)
        request_stats.of(request.scope).client = request.client
        limits = (request.key.requests_per_minute, request.key.concurrent) if request.key else (None, None)
        try:
            self.limiter.acquire(request.client, *limits)
        except RateLimited as error:
            again = {"Retry-After": str(max(1, math.ceil(error.retry_after)))}
            return await ApiError(429, str(error), code="rate_limit_exceeded", headers=again).response(
                request.scope, receive, send
            )
        try:
            await self.app(request.scope, self._copy_body(request, receive) if self.log.prompts else receive, send)
        finally:
            self.limiter.release(request.client)

    def _admit(self, request: _Request) -> None:
        """Check the key; without keys, host and origin. Raises ApiError (401, 403)."""
        if self.keys is None:
            _require_own_page(request.headers.get("host", ""), request.headers.get("origin"))
        elif _under(request.scope["path"], KEY_PATHS):
            request.key = _authenticate(self.keys, request.headers.get("authorization", ""))

    def _observe_send(self, request: _Request, send: Send) -> Send:
        async def observed(message: Message) -> None:
            if message["type"] == "http.response.start":
                request.status = message["status"]
                message = {**message, "headers": [*message.get("headers", []), (b"x-request-id", request.id.encode())]}
            await send(message)

        return observed

    def _copy_body(self, request: _Request, receive: Receive) -> Receive:
        async def copied() -> Message:
            message = await receive()
            request.body += message.get("body", b"")[: LOGGED_BODY_BYTES - len(request.body)]
            return message

        return copied

    def _record(self, request: _Request) -> None:
        path, stats = request.scope["path"], request_stats.of(request.scope)
        seconds = time.monotonic() - request.started
        self.metrics.observe(path, request.status, seconds, stats)
        entry: dict[str, Any] = {
            "id": request.id,
            "key": request.key.name if request.key else None,
            "method": request.scope["method"],
            "path": path,
            "status": request.status,
            "seconds": round(seconds, 4),
        }
        self.log.write(entry, stats, bytes(request.body) if self.log.prompts and request.body else None)


def _authenticate(keys: Keys, header: str) -> Key:
    scheme, _, token = header.partition(" ")
    found = keys.authenticate(token.strip()) if scheme.lower() == "bearer" else None
    if found is None:
        raise ApiError(
            401,
            "a valid API key is needed: Authorization: Bearer KEY",
            code="invalid_api_key",
            headers={"WWW-Authenticate": "Bearer"},
        )
    return found


def _require_own_page(host: str, origin: str | None) -> None:
    if _without_port(host) not in LOCAL_HOSTS:
        raise ApiError(403, f"this server answers to localhost, not to {host!r}", code="wrong_host")
    if origin is not None and origin.partition("://")[2] != host:
        raise ApiError(
            403, f"pages of {origin} may not use this server, as it was started without --keys", code="wrong_origin"
        )


def _under(path: str, prefixes: tuple[str, ...]) -> bool:
    return any(path == prefix or path.startswith(prefix + "/") for prefix in prefixes)


def _without_port(host: str) -> str:
    """The host without its port."""
    return host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
