"""Request bodies: limits of size and time, content codings, and validation against a schema."""

import asyncio
import codecs
import time
import zlib
from contextlib import suppress
from typing import TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from groundup.serve.errors import ApiError

Model = TypeVar("Model", bound=BaseModel)
LIMIT = "groundup.body_bytes"  # ASGI scope key: the limit of a body in bytes, compressed and decompressed
CODINGS = {"gzip": 31, "x-gzip": 31, "deflate": 15}  # by Content-Encoding: zlib's window bits, and its format
MARKS = {  # first bytes of bodies that are not UTF-8
    codecs.BOM_UTF32_LE: "UTF-32",  # before UTF-16, which it begins with
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
    b"\x1f\x8b": "gzip",
    b"\x28\xb5\x2f\xfd": "zstd",
}
_REMEDIES = {"gzip": "say so with Content-Encoding: gzip", "zstd": "send it as it is, or as gzip"}
# Bytes that are read beyond the limit: a connection that closes with unread bytes may lose its response.
DRAIN_BYTES, DRAIN_SECONDS = 1 << 16, 0.5


class BodyLimit:
    """ASGI middleware: refuses a body over `max_bytes` (413), or one that takes longer than `seconds` (408)."""

    def __init__(self, app: ASGIApp, max_bytes: int, seconds: float):
        self.app, self.max_bytes, self.seconds = app, max_bytes, seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Call the app with a limited `receive`."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        scope[LIMIT] = self.max_bytes
        left, until, whole = self.max_bytes, time.monotonic() + self.seconds, False

        async def limited() -> Message:
            nonlocal left, whole
            if whole:
                return await receive()
            if _declared(scope) > self.max_bytes:
                if _declared(scope) <= self.max_bytes + DRAIN_BYTES:
                    await _drain(receive, self.max_bytes + DRAIN_BYTES)
                raise _refused(413, f"the body has {_declared(scope):,} bytes; the most is {self.max_bytes:,}")
            try:
                async with asyncio.timeout(until - time.monotonic()):
                    message = await receive()
            except TimeoutError:
                raise _refused(408, f"the body did not come within {self.seconds:g} seconds") from None
            left -= len(message.get("body", b""))
            if left < 0:
                if message.get("more_body", False):
                    await _drain(receive, DRAIN_BYTES)
                raise _refused(413, f"the body has more than {self.max_bytes:,} bytes")
            whole = not message.get("more_body", False)
            return message

        return await self.app(scope, limited, send)


async def _drain(receive: Receive, most: int) -> None:
    """Read and discard the rest of a body, if it is small and arrives in time."""
    with suppress(TimeoutError):
        async with asyncio.timeout(DRAIN_SECONDS):
            while most > 0:
                message = await receive()
                most -= len(message.get("body", b""))
                if not message.get("more_body", False):
                    return


def _declared(scope: Scope) -> int:
    length = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
    return int(length) if length.isdigit() else 0


def _refused(status: int, message: str) -> ApiError:
    return ApiError(status, message, headers={"Connection": "close"})  # the rest of the body is not read


async def read(request: Request, model: type[Model]) -> Model:
    """Read and validate the JSON body of a request. Raises ApiError (400, 415)."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise ApiError(415, f"the body is {kind or 'of no stated type'}; send Content-Type: application/json")
    body = await request.body()
    coding, most = request.headers.get("content-encoding", ""), request.scope[LIMIT]
    return await run_in_threadpool(lambda: parse(model, text(decompressed(body, coding, most))))


def decompressed(body: bytes, coding: str, most: int) -> bytes:
    """Decompress a body by its content coding. Raises ApiError (400, 413, 415)."""
    name = coding.strip().lower()
    if name in ("", "identity"):
        return body
    if name not in CODINGS:
        raise ApiError(
            415,
            f"the body has Content-Encoding {coding[:40]!r}; send it as it is, or as one of {', '.join(CODINGS)}",
            code="unsupported_encoding",
            headers={"Accept-Encoding": ", ".join(CODINGS)},
        )
    stream = zlib.decompressobj(CODINGS[name])
    try:
        found = stream.decompress(body, most + 1)
    except zlib.error as error:
        raise _unreadable(f"the body is not {name} as its Content-Encoding says ({error})") from None
    if len(found) > most:
        raise ApiError(413, f"the body has more than {most:,} bytes after {name} decompression")
    if not stream.eof or stream.unused_data:
        raise _unreadable(f"the body is {'more than' if stream.eof else 'only a part of'} one {name} stream")
    return found


def text(body: bytes) -> bytes:
    """Decode a body as UTF-8, without byte-order mark. Raises ApiError (400) that names another encoding."""
    for mark, name in MARKS.items():
        if body.startswith(mark):
            raise _unreadable(f"the body is {name}; {_REMEDIES.get(name, 'send JSON in UTF-8')}")
    try:
        body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _unreadable(f"the body is not UTF-8 (byte {error.start}); send JSON in UTF-8") from None
    return body.removeprefix(codecs.BOM_UTF8)


def _unreadable(message: str) -> ApiError:
    return ApiError(400, message, code="invalid_json")


def parse(model: type[Model], body: bytes) -> Model:
    """Validate a body. Raises ApiError (400) as `refusal`."""
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        raise refusal(error) from None


def refusal(error: ValidationError) -> ApiError:
    """The error (400) that names the first unknown, missing or invalid field."""
    first = error.errors(include_url=False, include_context=False)[0]
    where = ".".join(map(str, first["loc"]))
    match first["type"]:
        case "json_invalid":
            return ApiError(
                400,
                f"the body is no JSON that can be read: {first['msg'].removeprefix('Invalid JSON: ')}",
                code="invalid_json",
            )
        case "extra_forbidden":
            return ApiError(400, f"{where} is not supported here; leave it out", where, "unsupported_field")
        case "missing":
            return ApiError(400, f"{where} is missing", where, "missing_field")
    return ApiError(
        400, f"{where or 'the body'}: {first['msg'][:1].lower()}{first['msg'][1:]}", where or None, "invalid_value"
    )
