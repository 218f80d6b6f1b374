"""A client of a model server's JSON API, for applications: typed answers, bounded in size and time."""

import http.client
import json
from typing import Any, TypeVar
from urllib.parse import urlsplit

from pydantic import BaseModel, ValidationError

from groundup.core.console import visible
from groundup.core.errors import InputError

MAX_ANSWER = 4 << 20  # bytes of an answer
_OTHER = "give the address of a `groundup serve`"
Answer = TypeVar("Answer", bound=BaseModel)


class InferenceTimeout(Exception):
    """A model did not answer in time."""


class _Error(BaseModel):
    message: str


class _Refusal(BaseModel):
    error: _Error


class Connection:
    """A persistent HTTP connection to http://HOST:PORT that reconnects after a failure; one thread at a time.

    `key` is for the server's API. Raises InputError for another address.
    """

    def __init__(self, address: str, key: str | None, timeout: float):
        parts = urlsplit(address)
        if parts.scheme != "http" or not parts.hostname:
            raise InputError(
                f"{address!r} is no address of a model server; give http://HOST:PORT of a `groundup serve`"
            )
        self._host, self._timeout = (parts.hostname, parts.port or 80), timeout
        authorization = {} if key is None else {"Authorization": f"Bearer {key}"}
        self._headers = {"Content-Type": "application/json", **authorization}
        self._http: http.client.HTTPConnection | None = None

    def post(self, path: str, value: Any, kind: type[Answer]) -> Answer:
        """The answer to a JSON body. Raises InferenceTimeout for no answer, InputError for a refusal or another."""
        try:
            connection = self._http = self._http or http.client.HTTPConnection(*self._host, timeout=self._timeout)
            connection.request("POST", path, json.dumps(value), self._headers)
            response = connection.getresponse()
            answer = response.read(MAX_ANSWER + 1)
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise InferenceTimeout(f"the model server does not answer: {error}") from None
        if response.status >= 500:
            raise InferenceTimeout(f"the model server answered {response.status}")
        if len(answer) > MAX_ANSWER:
            self.close()  # the rest was not read
            raise InputError(f"the model server answered {path} with more than {MAX_ANSWER:,} bytes; {_OTHER}")
        try:
            if response.status != 200:
                message = _Refusal.model_validate_json(answer).error.message
                raise InputError(f"the model server refused: {visible(message[:500])}")
            return kind.model_validate_json(answer)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(map(str, first["loc"])) or "the answer"
            told = f"{response.status}, and {where} is not as expected ({visible(first['msg'][:200])})"
            raise InputError(f"the model server answered {path} with {told}; {_OTHER}") from None

    def close(self) -> None:
        """Close the connection; the next request opens another."""
        if self._http is not None:
            self._http.close()
        self._http = None
