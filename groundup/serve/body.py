"""Reading a request's body: no more than allowed, no longer than allowed, and nothing but what is asked for."""

import asyncio
import time
from contextlib import suppress
from typing import TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from groundup.serve.errors import ApiError

Model = TypeVar("Model", bound=BaseModel)
LITTLE, MOMENT = (
    1 << 16,
    0.5,
)  # bytes over the limit that are still read, and seconds: a connection that ends with bytes unread may lose its answer


class BodyLimit:
    """ASGI middleware: a body of more than `most` bytes, or that takes more than `seconds` to come, is refused while it
    is read.
    """

    def __init__(self, app: ASGIApp, most: int, seconds: float):
        self.app, self.most, self.seconds = app, most, seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand the request on with a body that is watched."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        left, until, whole = self.most, time.monotonic() + self.seconds, False

        async def limited() -> Message:
            nonlocal left, whole
            if whole:
                return await receive()
            if _declared(scope) > self.most:
                if _declared(scope) <= self.most + LITTLE:
                    await _drain(receive, self.most + LITTLE)
                raise _refused(413, f"the body has {_declared(scope):,} bytes; the most is {self.most:,}")
            try:
                async with asyncio.timeout(until - time.monotonic()):
                    message = await receive()
            except TimeoutError:
                raise _refused(408, f"the body did not come within {self.seconds:g} seconds") from None
            left -= len(message.get("body", b""))
            if left < 0:
                if message.get("more_body", False):
                    await _drain(receive, LITTLE)
                raise _refused(413, f"the body has more than {self.most:,} bytes")
            whole = not message.get("more_body", False)
            return message

        return await self.app(scope, limited, send)


async def _drain(receive: Receive, most: int) -> None:
    """Read and forget what is left of a body, if it is little and comes soon."""
    with suppress(TimeoutError):
        async with asyncio.timeout(MOMENT):
            while most > 0:
                message = await receive()
                most -= len(message.get("body", b""))
                if not message.get("more_body", False):
                    return


def _declared(scope: Scope) -> int:
    length = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
    return int(length) if length.isdigit() else 0


def _refused(status: int, message: str) -> ApiError:
    return ApiError(status, message, headers={"Connection": "close"})  # what is left of the body is not read


async def read(request: Request, model: type[Model]) -> Model:
    """What a request asks for. Raises ApiError for a body that is no JSON or has a field that is unknown or wrong."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise ApiError(415, f"the body is {kind or 'of no stated type'}; send Content-Type: application/json")
    body = await request.body()
    return await run_in_threadpool(parse, model, body)


def parse(model: type[Model], body: bytes) -> Model:
    """A body as a model. Raises ApiError that names the first field that is unknown or wrong."""
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
    where = ".".join(map(str, first["loc"]))
    match first["type"]:
        case "json_invalid":
            raise ApiError(
                400,
                f"the body is no JSON that can be read: {first['msg'].removeprefix('Invalid JSON: ')}",
                code="invalid_json",
            )
        case "extra_forbidden":
            raise ApiError(400, f"{where} is not supported here; leave it out", where, "unsupported_field")
        case "missing":
            raise ApiError(400, f"{where} is missing", where, "missing_field")
    raise ApiError(
        400, f"{where or 'the body'}: {first['msg'][:1].lower()}{first['msg'][1:]}", where or None, "invalid_value"
    )
