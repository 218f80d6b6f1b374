"""Model clients, in an engine of this process or behind HTTP: one model detects items in images and turns an operator's
sentence into an order, or two models share the work.
"""

import base64
import io
from pathlib import Path
from threading import Event
from typing import Annotated, Protocol

from PIL import Image
from pydantic import BaseModel, Field

from groundup.apps.sorter import orders
from groundup.apps.sorter.interpretation import MAX_TOKENS, Interpretation, of_answer, of_deltas, request
from groundup.apps.sorter.policy import ANSWER
from groundup.codecs.detections import Detection
from groundup.codecs.patches import Pixels
from groundup.core import ledger
from groundup.core.errors import InputError
from groundup.device import Device
from groundup.generate.engine import Engine
from groundup.generate.image_inputs import from_pixels
from groundup.generate.request import OutputDelta
from groundup.generate.service import Service
from groundup.serve.client import Connection, InferenceTimeout

DETECTION_TIMEOUT = 5.0  # seconds, over HTTP; the line stops long before
ORDER_TIMEOUT = 5.0  # seconds that an operator waits for a sentence to be interpreted
Fraction = Annotated[float, Field(ge=0, le=1)]  # NaN is neither


class ModelClient(Protocol):
    """Detects items in images."""

    def detect(self, picture: Pixels) -> list[Detection]:
        """Detections in an image [H, W, 3], sorted by score. Raises InferenceTimeout."""


class LocalLanguageModel:
    """A language model in this process that interprets orders, for any thread; its `name` is that of its run.

    Raises InputError for a folder without a model.
    """

    def __init__(self, model: Path, device: Device):
        self.name = (model.parent if ledger.read(model) else model).resolve().name
        self._service = Service(Engine.load(model, device))

    def interpret(self, text: str) -> Interpretation:
        """The order that an operator's sentence most likely means, decoded under the grammar of the order language.

        Raises InputError for a sentence that is too long for the model, and InferenceTimeout.
        """
        deltas, ended = list[OutputDelta](), Event()

        def receive(delta: OutputDelta) -> None:
            deltas.append(delta)
            if delta.finish or delta.error:
                ended.set()

        ticket = self._service.submit(request(self._service.tokenizer, text), receive)
        if not ended.wait(ORDER_TIMEOUT):
            self._service.cancel(ticket)
            raise InferenceTimeout(f"the sentence was not interpreted within {ORDER_TIMEOUT:g} s")
        if deltas[-1].error:
            raise InputError(deltas[-1].error)
        return of_deltas(text, deltas, self.name)

    def close(self) -> None:
        """Let the engine's thread end."""
        self._service.close()


class LocalModel(LocalLanguageModel):
    """A model in this process that detects items as well. Raises InputError for one without detection classes."""

    def __init__(self, model: Path, device: Device):
        super().__init__(model, device)
        if not self._service.config.classes:
            self.close()
            raise InputError(f"{model}: the model has no detection head; give one that was tuned on a source of boxes")

    def detect(self, picture: Pixels) -> list[Detection]:
        """Detections of the model's dense head; runs between two decoding steps of an order."""
        [detections] = self._service.detect([from_pixels(self._service.config, picture)]).result()
        return detections


class RemoteModel:
    """A model behind `groundup serve`: the server's `address`, http://HOST:PORT, the model's `name` there, and an API
    `key` if the server needs one.
    """

    def __init__(self, address: str, name: str, key: str | None = None):
        self.name = name
        self._detecting = Connection(address, key, DETECTION_TIMEOUT)
        self._interpreting = Connection(address, key, ORDER_TIMEOUT)

    def detect(self, picture: Pixels) -> list[Detection]:
        """Detections from `POST /v1/detections`. Raises InputError for what the server refuses."""
        body = {"model": self.name, "input": {"image": _data_uri(picture)}, "least": 0.05}
        [found] = self._detecting.post("/v1/detections", body, _Detections).data
        return [Detection(each.kind, each.box, each.score) for each in found.things]

    def interpret(self, text: str) -> Interpretation:
        """The order from `POST /v1/chat/completions`. Raises InputError for what the server refuses, and
        InferenceTimeout.
        """
        options = {
            "temperature": 0,
            "max_completion_tokens": MAX_TOKENS,
            "response_format": {"type": "regex", "pattern": ANSWER},
            "logprobs": True,
        }
        body = {"model": self.name, "messages": orders.prompt(text), **options}
        [choice] = self._interpreting.post("/v1/chat/completions", body, _Completion).choices
        return of_answer(text, choice.message.content, (each.logprob for each in choice.logprobs.content), self.name)

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


class _Token(BaseModel):
    logprob: Annotated[float, Field(le=0, allow_inf_nan=False)]


class _Logprobs(BaseModel):
    content: Annotated[list[_Token], Field(min_length=1)]


class _Choice(BaseModel):
    message: _Message
    logprobs: _Logprobs


class _Completion(BaseModel):
    choices: Annotated[list[_Choice], Field(min_length=1, max_length=1)]


def _data_uri(picture: Pixels) -> str:
    out = io.BytesIO()
    Image.fromarray(picture).save(out, "PNG", compress_level=1)
    return f"data:image/png;base64,{base64.b64encode(out.getvalue()).decode()}"
