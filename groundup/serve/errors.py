"""Errors of the API, in OpenAI's JSON format."""

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
CLIENT_CLOSED_REQUEST = 499  # nginx's status for a client that has disconnected


class ApiError(Exception):
    """An error response: HTTP status, message, the field it is about (`param`) and a machine-readable code."""

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
        """The JSON body."""
        kind = TYPES.get(self.status, "invalid_request_error")
        return {"error": {"message": str(self), "type": kind, "param": self.param, "code": self.code}}

    @property
    def response(self) -> Response:
        """The response."""
        return JSONResponse(self.body, self.status, self.headers)


class Disconnected(Exception):
    """The client has disconnected before its response was complete."""


@contextmanager
def invalid_request(param: str) -> Iterator[None]:
    """Turn an InputError into a 400 about one field."""
    try:
        yield
    except Closing:
        raise
    except InputError as error:
        raise ApiError(400, str(error), param) from None


def context_length_exceeded(size: int, context: int, param: str) -> ApiError:
    """The error of a prompt that leaves no room for an answer."""
    message = (
        f"the prompt has {size} tokens and the model's context {context}; shorten it so that there is room for an"
        " answer"
    )
    return ApiError(400, message, param, "context_length_exceeded")


def api_error(error: Exception) -> ApiError:
    """The error for an exception. Internal details go to the log, not to the client."""
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
    # The connection closes, as the exception propagates to the server's log.
    return ApiError(500, "the server failed; its log says why", code="internal_error", headers={"Connection": "close"})


def delta_error(delta: OutputDelta) -> ApiError:
    """The error for an output delta that failed."""
    match delta.fault:
        case "request":
            return ApiError(400, str(delta.error))
        case "closing":
            return ApiError(503, str(delta.error), code="shutting_down", headers={"Retry-After": "1"})
    return engine_failed()


def engine_failed() -> ApiError:
    """The error for an engine that failed."""
    return ApiError(500, "the engine failed; the server's log says why", code="internal_error")


def routing_error(path: str, method: str, error: HTTPException) -> ApiError:
    """The error for an unknown path or method."""
    messages = {404: f"there is nothing at {path}", 405: f"{path} does not answer to {method}"}
    return ApiError(error.status_code, messages.get(error.status_code, error.detail), headers=error.headers)


# --- exception handlers ----------------------------------------------------------------------------------


async def _handle(request: Request, error: Exception) -> Response:
    return api_error(error).response


async def _handle_routing(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return routing_error(request.url.path, request.method, error).response


async def _handle_disconnect(request: Request, error: Exception) -> Response:
    return Response(status_code=CLIENT_CLOSED_REQUEST)


HANDLERS: dict[int | type[Exception], Any] = {
    ApiError: _handle,
    Busy: _handle,
    InputError: _handle,
    HTTPException: _handle_routing,
    ClientDisconnect: _handle_disconnect,
    Disconnected: _handle_disconnect,
    Exception: _handle,
}
