"""What looks at the belt and listens to its operator, one model for both, in an engine here or in one behind HTTP.

A picture comes in and things with kinds, boxes and probabilities go out; a sentence comes in and a line of the policy's
language goes out.
"""

import base64
import http.client
import io
import json
from pathlib import Path
from threading import Event
from typing import Any, Protocol
from urllib.parse import urlsplit

from PIL import Image

from groundup.apps.sorter import orders
from groundup.apps.sorter.policy import PATTERN
from groundup.codecs.boxes import Detection
from groundup.codecs.patches import Pixels
from groundup.core.errors import InputError
from groundup.device import Device
from groundup.generate.engine import Engine
from groundup.generate.grammar import Grammar
from groundup.generate.look import prompt, see_pixels
from groundup.generate.request import OutputDelta, Request
from groundup.generate.service import Service

SECONDS = 5.0  # that an answer to a picture may take over HTTP: the line has stopped long before
PATIENCE = 1.0  # seconds that an operator waits for a sentence to be understood
LONGEST = 96  # ids of a line: three clauses have some thirty


class InferenceTimeout(Exception):
    """The brain gave no answer in time: the line goes on without this picture, an order changes nothing."""


class ModelClient(Protocol):
    """Finds things in pictures."""

    def look(self, picture: Pixels) -> list[Detection]:
        """What lies where in a picture [H, W, 3], the surest first. Raises Late when no answer came."""


class OwnBrain:
    """A model in this process, for any thread. Raises InputError for a folder that holds none, and where it names
    nothing in images.
    """

    def __init__(self, model: Path, device: Device):
        engine = Engine.load(model, device)
        if not engine.config.classes:
            raise InputError(
                f"{model}: the model names nothing in images; give one that was tuned on a source of boxes"
            )
        self._service = Service(engine)

    def look(self, picture: Pixels) -> list[Detection]:
        """What the labels of the picture's patches say; a sentence that is being understood waits meanwhile."""
        [things] = self._service.things([see_pixels(self._service.config, picture)]).result()
        return things

    def understand(self, text: str) -> str:
        """The line of the policy's language that an operator's sentence most likely means; the language's grammar lets
        nothing else come.

        Raises InputError for a sentence that is too long for the model, and Late after a second.
        """
        ids, _ = prompt(self._service.tokenizer, orders.prompt(text), ())
        heard, ended = list[OutputDelta](), Event()

        def listen(piece: OutputDelta) -> None:
            heard.append(piece)
            if piece.finish or piece.error:
                ended.set()

        ticket = self._service.submit(Request(ids, LONGEST, grammar=Grammar.regex(PATTERN)), listen)
        if not ended.wait(PATIENCE):
            self._service.cancel(ticket)
            raise InferenceTimeout(f"the sentence was not understood within {PATIENCE:g} s")
        if heard[-1].error:
            raise InputError(heard[-1].error)
        return "".join(piece.text for piece in heard)

    def close(self) -> None:
        """Let the engine's thread end."""
        self._service.close()


class DistantBrain:
    """A model behind `groundup serve`: `address` is http://HOST:PORT, `name` that of the model, `key` the server's if
    it asks for one.
    """

    def __init__(self, address: str, name: str, key: str | None = None):
        parts = urlsplit(address)
        if parts.scheme != "http" or not parts.hostname:
            raise InputError(f"{address!r} is no address of a brain; give http://HOST:PORT of a `groundup serve`")
        place, head = (parts.hostname, parts.port or 80), {} if key is None else {"Authorization": f"Bearer {key}"}
        self._name, self._eyes, self._ears = name, _Wire(place, head, SECONDS), _Wire(place, head, PATIENCE)

    def look(self, picture: Pixels) -> list[Detection]:
        """What `POST /v1/detections` says. Raises InputError for what the server refuses."""
        said = self._eyes.ask("/v1/detections", {"model": self._name, "input": {"image": _uri(picture)}, "least": 0.05})
        return [Detection(thing["kind"], tuple(thing["box"]), thing["score"]) for thing in said["data"][0]["things"]]

    def understand(self, text: str) -> str:
        """What `POST /v1/chat/completions` says, in the policy's language. Raises InputError for what the server
        refuses, and Late after a second.
        """
        answer = {
            "temperature": 0,
            "max_completion_tokens": LONGEST,
            "response_format": {"type": "regex", "pattern": PATTERN},
        }
        said = self._ears.ask("/v1/chat/completions", {"model": self._name, "messages": orders.prompt(text), **answer})
        return str(said["choices"][0]["message"]["content"])

    def close(self) -> None:
        """Close the connections."""
        self._eyes.close()
        self._ears.close()


class _Wire:
    """A connection to a server that is kept, and made anew once it broke: a server that started again is found. One
    thread at a time.
    """

    def __init__(self, place: tuple[str, int], head: dict[str, str], seconds: float):
        self._place, self._head, self._seconds = place, {"Content-Type": "application/json", **head}, seconds
        self._line: http.client.HTTPConnection | None = None

    def ask(self, path: str, value: Any) -> Any:
        """The JSON that answers JSON. Raises Late for no answer, InputError for what the server refuses."""
        try:
            line = self._line = self._line or http.client.HTTPConnection(*self._place, timeout=self._seconds)
            line.request("POST", path, json.dumps(value), self._head)
            response = line.getresponse()
            said = json.loads(response.read())
        except (OSError, http.client.HTTPException, ValueError) as error:
            self.close()
            raise InferenceTimeout(f"the brain's server does not answer: {error}") from None
        if response.status >= 500:
            raise InferenceTimeout(f"the brain's server answered {response.status}")
        if response.status != 200:
            raise InputError(f"the brain's server refused: {said['error']['message']}")
        return said

    def close(self) -> None:
        """Close the connection; the next question opens another."""
        if self._line is not None:
            self._line.close()
        self._line = None


def _uri(picture: Pixels) -> str:
    out = io.BytesIO()
    Image.fromarray(picture).save(out, "PNG", compress_level=1)
    return f"data:image/png;base64,{base64.b64encode(out.getvalue()).decode()}"
