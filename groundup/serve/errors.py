"""What is told when a request cannot be answered, in the shape that OpenAI's clients read."""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from fastapi import Request
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response

from groundup.core.errors import InputError
from groundup.generate.refusals import Busy, Closing
from groundup.generate.request import OutputDelta

TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
    500: "server_error",
    503: "server_error",
}
GONE = 499  # a status nobody reads: the client has left


class ApiError(Exception):
    """A request that gets an error: an HTTP status, one sentence, and for programs the field it is about and a code."""

    def __init__(
        self,
        status: int,
        message: str,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.param, self.code, self.headers = status, param, code, dict(headers or {})

    @property
    def body(self) -> dict[str, Any]:
        """The JSON of the answer."""
        kind = TYPES.get(self.status, "invalid_request_error")
        return {"error": {"message": str(self), "type": kind, "param": self.param, "code": self.code}}

    @property
    def response(self) -> Response:
        """The answer."""
        return JSONResponse(self.body, self.status, self.headers)


class Gone(Exception):
    """The client has left before its answer was done."""


@contextmanager
def about(param: str) -> Iterator[None]:
    """Turn an InputError into a 400 that is about one field."""
    try:
        yield
    except Closing:
        raise
    except InputError as error:
        raise ApiError(400, str(error), param) from None


def too_long(size: int, context: int, param: str) -> ApiError:
    """A prompt leaves no room."""
    message = (
        f"the prompt has {size} tokens and the model's context {context}; shorten it so that there is room for an"
        " answer"
    )
    return ApiError(400, message, param, "context_length_exceeded")


def of(error: Exception) -> ApiError:
    """The answer to an exception; what it says of the inside of the server stays inside."""
    match error:
        case ApiError():
            return error
        case Busy():
            return ApiError(
                429, str(error), code="queue_full", headers={"Retry-After": str(math.ceil(error.retry_after))}
            )
        case Closing():
            return ApiError(503, str(error), code="shutting_down", headers={"Retry-After": "1"})
        case InputError():
            return ApiError(400, str(error))
    # The connection is closed after it, as the exception goes on into the log.
    return ApiError(500, "the server failed; its log says why", code="internal_error", headers={"Connection": "close"})


def of_piece(piece: OutputDelta) -> ApiError:
    """The answer to a piece with an error."""
    match piece.fault:
        case "request":
            return ApiError(400, str(piece.error))
        case "closing":
            return ApiError(503, str(piece.error), code="shutting_down", headers={"Retry-After": "1"})
    return failed()


def failed() -> ApiError:
    """The engine failed."""
    return ApiError(500, "the engine failed; the server's log says why", code="internal_error")


def of_http(path: str, method: str, error: HTTPException) -> ApiError:
    """The answer to what the router refuses."""
    messages = {404: f"there is nothing at {path}", 405: f"{path} does not answer to {method}"}
    return ApiError(error.status_code, messages.get(error.status_code, error.detail), headers=error.headers)


# --- as handlers of an app ----------------------------------------------------------------------------------


async def _tell(request: Request, error: Exception) -> Response:
    return of(error).response


async def _tell_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return of_http(request.url.path, request.method, error).response


async def _tell_nobody(request: Request, error: Exception) -> Response:
    return Response(status_code=GONE)


HANDLERS: dict[int | type[Exception], Any] = {
    ApiError: _tell,
    Busy: _tell,
    InputError: _tell,
    HTTPException: _tell_http,
    ClientDisconnect: _tell_nobody,
    Gone: _tell_nobody,
    Exception: _tell,
}
