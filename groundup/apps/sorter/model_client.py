"""Model clients: one model detects items in images and turns an operator's sentence into an order, in an engine of this
process or behind HTTP.
"""

import base64
import http.client
import io
import json
from pathlib import Path
from threading import Event
from typing import Annotated, Any, Protocol, TypeVar
from urllib.parse import urlsplit

from PIL import Image
from pydantic import BaseModel, Field, ValidationError

from groundup.apps.sorter import orders
from groundup.apps.sorter.policy import PATTERN
from groundup.codecs.detections import Detection
from groundup.codecs.patches import Pixels
from groundup.core.console import visible
from groundup.core.errors import InputError
from groundup.device import Device
from groundup.generate.engine import Engine
from groundup.generate.grammar import Grammar
from groundup.generate.image_inputs import from_pixels, prompt
from groundup.generate.request import OutputDelta, Request
from groundup.generate.service import Service

DETECTION_TIMEOUT = 5.0  # seconds, over HTTP; the line stops long before
ORDER_TIMEOUT = 1.0  # seconds that an operator waits for a sentence to be interpreted
MAX_ANSWER = 4 << 20  # bytes of an answer of a model server
_OTHER = "give the address of a `groundup serve`"
Fraction = Annotated[float, Field(ge=0, le=1)]  # NaN is neither
Answer = TypeVar("Answer", bound=BaseModel)
MAX_TOKENS = 96  # most tokens of an order: three clauses have about thirty


class InferenceTimeout(Exception):
    """The model did not answer in time: the line continues without this image; an order changes nothing."""


class ModelClient(Protocol):
    """Detects items in images."""

    def detect(self, picture: Pixels) -> list[Detection]:
        """Detections in an image [H, W, 3], sorted by score. Raises InferenceTimeout."""


class LocalModel:
    """A model in this process, for any thread. Raises InputError for a folder without a model, and for a model without
    detection classes.
    """

    def __init__(self, model: Path, device: Device):
        engine = Engine.load(model, device)
        if not engine.config.classes:
            raise InputError(f"{model}: the model has no detection head; give one that was tuned on a source of boxes")
        self._service = Service(engine)

    def detect(self, picture: Pixels) -> list[Detection]:
        """Detections of the model's dense head; runs between two decoding steps of an order."""
        [detections] = self._service.detect([from_pixels(self._service.config, picture)]).result()
        return detections

    def interpret(self, text: str) -> str:
        """The order that an operator's sentence most likely means, decoded under the grammar of the order language.

        Raises InputError for a sentence that is too long for the model, and InferenceTimeout.
        """
        ids, _ = prompt(self._service.tokenizer, orders.prompt(text), ())
        deltas, ended = list[OutputDelta](), Event()

        def receive(delta: OutputDelta) -> None:
            deltas.append(delta)
            if delta.finish or delta.error:
                ended.set()

        ticket = self._service.submit(Request(ids, MAX_TOKENS, grammar=Grammar.regex(PATTERN)), receive)
        if not ended.wait(ORDER_TIMEOUT):
            self._service.cancel(ticket)
            raise InferenceTimeout(f"the sentence was not interpreted within {ORDER_TIMEOUT:g} s")
        if deltas[-1].error:
            raise InputError(deltas[-1].error)
        return "".join(delta.text for delta in deltas)

    def close(self) -> None:
        """Let the engine's thread end."""
        self._service.close()


class RemoteModel:
    """A model behind `groundup serve`: the server's `address`, http://HOST:PORT, the model's `name` there, and an API
    `key` if the server needs one.
    """

    def __init__(self, address: str, name: str, key: str | None = None):
        parts = urlsplit(address)
        if parts.scheme != "http" or not parts.hostname:
            raise InputError(
                f"{address!r} is no address of a model server; give http://HOST:PORT of a `groundup serve`"
            )
        host, headers = (parts.hostname, parts.port or 80), {} if key is None else {"Authorization": f"Bearer {key}"}
        self._name = name
        self._detecting = _Connection(host, headers, DETECTION_TIMEOUT)
        self._interpreting = _Connection(host, headers, ORDER_TIMEOUT)

    def detect(self, picture: Pixels) -> list[Detection]:
        """Detections from `POST /v1/detections`. Raises InputError for what the server refuses."""
        body = {"model": self._name, "input": {"image": _data_uri(picture)}, "least": 0.05}
        [found] = self._detecting.post("/v1/detections", body, _Detections).data
        return [Detection(each.kind, each.box, each.score) for each in found.things]

    def interpret(self, text: str) -> str:
        """The order from `POST /v1/chat/completions`. Raises InputError for what the server refuses, and
        InferenceTimeout.
        """
        options = {
            "temperature": 0,
            "max_completion_tokens": MAX_TOKENS,
            "response_format": {"type": "regex", "pattern": PATTERN},
        }
        body = {"model": self._name, "messages": orders.prompt(text), **options}
        [choice] = self._interpreting.post("/v1/chat/completions", body, _Completion).choices
        return choice.message.content

    def close(self) -> None:
        """Close the connections."""
        self._detecting.close()
        self._interpreting.close()


class _Item(BaseModel):
    kind: Annotated[str, Field(max_length=100)]
    box: tuple[Fraction, Fraction, Fraction, Fraction]
    score: Fraction


class _Items(BaseModel):
    things: Annotated[list[_Item], Field(max_length=10_000)]


class _Detections(BaseModel):
    data: Annotated[list[_Items], Field(min_length=1, max_length=1)]


class _Message(BaseModel):
    content: str


class _Choice(BaseModel):
    message: _Message


class _Completion(BaseModel):
    choices: Annotated[list[_Choice], Field(min_length=1, max_length=1)]


class _Error(BaseModel):
    message: str


class _Refusal(BaseModel):
    error: _Error


class _Connection:
    """A persistent HTTP connection that reconnects after a failure. One thread at a time."""

    def __init__(self, host: tuple[str, int], headers: dict[str, str], timeout: float):
        self._host, self._headers, self._timeout = host, {"Content-Type": "application/json", **headers}, timeout
        self._http: http.client.HTTPConnection | None = None

    def post(self, path: str, value: Any, kind: type[Answer]) -> Answer:
        """The answer to a JSON body. Raises InferenceTimeout without an answer, InputError for an error or another."""
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
            self.close()  # the rest of the answer was not read
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


def _data_uri(picture: Pixels) -> str:
    out = io.BytesIO()
    Image.fromarray(picture).save(out, "PNG", compress_level=1)
    return f"data:image/png;base64,{base64.b64encode(out.getvalue()).decode()}"
