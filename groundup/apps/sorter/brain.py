"""What looks at the belt: a picture in, things with kinds, boxes and probabilities out, by an engine here or one behind HTTP."""

import base64
import http.client
import io
import json
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from PIL import Image

from groundup.codecs.boxes import Thing
from groundup.codecs.image import Pixels
from groundup.device import Device
from groundup.errors import InputError
from groundup.generate.engine import Engine
from groundup.generate.look import see_pixels

SECONDS = 5.0  # that an answer over HTTP may take: the line has stopped long before


class Late(Exception):
    """The brain gave no answer: the line goes on without this picture."""


class Brain(Protocol):
    """Finds things in pictures."""

    def look(self, picture: Pixels) -> list[Thing]:
        """What lies where in a picture [H, W, 3], the surest first. Raises Late when no answer came."""


class OwnBrain:
    """A model in this process. Raises InputError for a folder that holds none, and where it names nothing in images."""

    def __init__(self, model: Path, device: Device):
        self._engine = Engine.load(model, device)
        if not self._engine.trunk.shape.kinds:
            raise InputError(f"{model}: the model names nothing in images; give one that was tuned on a source of boxes")

    def look(self, picture: Pixels) -> list[Thing]:
        """What the labels of the picture's patches say."""
        return self._engine.things(see_pixels(self._engine.trunk.shape, picture))


class DistantBrain:
    """A model behind `groundup serve`: `address` is http://HOST:PORT, `name` that of the model, `key` the server's if it asks for one."""

    def __init__(self, address: str, name: str, key: str | None = None):
        parts = urlsplit(address)
        if parts.scheme != "http" or not parts.hostname:
            raise InputError(f"{address!r} is no address of a brain; give http://HOST:PORT of a `groundup serve`")
        self._place, self._name = (parts.hostname, parts.port or 80), name
        self._head = {"Content-Type": "application/json"} | ({} if key is None else {"Authorization": f"Bearer {key}"})
        self._line: http.client.HTTPConnection | None = None

    def look(self, picture: Pixels) -> list[Thing]:
        """What `POST /v1/detections` says. Raises InputError for what the server refuses."""
        body = json.dumps({"model": self._name, "input": {"image": _uri(picture)}, "least": 0.05})
        try:
            line = self._line = self._line or http.client.HTTPConnection(*self._place, timeout=SECONDS)
            line.request("POST", "/v1/detections", body, self._head)
            response = line.getresponse()
            said = json.loads(response.read())
        except (OSError, http.client.HTTPException, ValueError) as error:
            if self._line is not None:
                self._line.close()
            self._line = None  # the next picture finds a server that has started again
            raise Late(str(error)) from None
        if response.status >= 500:
            raise Late(f"the server answered {response.status}")
        if response.status != 200:
            raise InputError(f"the brain's server refused: {said['error']['message']}")
        return [Thing(thing["kind"], tuple(thing["box"]), thing["score"]) for thing in said["data"][0]["things"]]


def _uri(picture: Pixels) -> str:
    out = io.BytesIO()
    Image.fromarray(picture).save(out, "PNG", compress_level=1)
    return f"data:image/png;base64,{base64.b64encode(out.getvalue()).decode()}"
