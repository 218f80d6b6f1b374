"""A server on the real engine with a small random model, on a free port of this machine."""

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from groundup.codecs.text import VISION_TOKENS, Tokenizer
from groundup.generate.engine import Engine
from groundup.generate.service import Service
from groundup.release.about import About
from groundup.serve import connections, request_stats
from groundup.serve.app import make_app
from groundup.serve.protocol import Protocol
from groundup.serve.request_stats import RequestStats
from groundup.serve.serving import Limits, Serving
from tests.random_models import random_model

IMAGE_MODEL: dict[str, Any] = {"patch": 4, "patches": 16, "classes": ("a", "b")}
NOTHING = About()
WORDS = "one two three four five six seven eight nine ten "


@dataclass(frozen=True)
class Model:
    name: str
    service: Service
    created: int = 1_800_000_000
    about: About = NOTHING

    @property
    def context(self) -> int:
        return self.service.config.context


class FakeRegistry:
    """A registry of models that do not change."""

    def __init__(self, *models: Model):
        self.models = {model.name: model for model in models}

    def get(self, name: str) -> Model:
        return self.models[name]

    def list(self) -> list[Model]:
        return [*self.models.values()]


class KeepStats:
    """ASGI middleware that keeps the record of each request."""

    def __init__(self, app: Any, kept: list[RequestStats]):
        self.app, self.kept = app, kept

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            await self.app(scope, receive, send)
        finally:
            if scope["type"] == "http":
                self.kept.append(request_stats.of(scope))


@dataclass(frozen=True)
class Server:
    port: int
    shelf: FakeRegistry
    client: httpx.Client
    records: list[RequestStats] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def service(self) -> Service:
        return self.shelf.list()[0].service

    def post(self, path: str, body: Any, **more: Any) -> httpx.Response:
        return self.client.post(self.url + path, json=body, **more)

    def chat(self, content: str = "one two", **fields: Any) -> httpx.Response:
        return self.post(
            "/v1/chat/completions", {"model": "small", "messages": [{"role": "user", "content": content}]} | fields
        )

    def complete(self, prompt: Any = "one two", **fields: Any) -> httpx.Response:
        return self.post("/v1/completions", {"model": "small", "prompt": prompt} | fields)

    def idle(self) -> None:
        """Wait until the engine has nothing to do, and nothing is held."""
        until(lambda: (stats := self.service.stats()).running == stats.waiting == stats.blocks_used == 0)


def until(true: Any) -> None:
    end = time.monotonic() + 120
    while not true():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.01)


def small_tokenizer() -> Tokenizer:
    return Tokenizer.learn([WORDS * 20], 290)


def vision_tokenizer() -> Tokenizer:
    return Tokenizer.learn([WORDS * 20], 256 + len(VISION_TOKENS) + 20, VISION_TOKENS)


def small_engine(tokenizer: Tokenizer | None = None, **changes: Any) -> Engine:
    """The engine of `small_service`, for who steps it: in a service its thread would step it too."""
    model = random_model(**({"context": 1024, "vocab": 290} | changes))
    return Engine(model, tokenizer or small_tokenizer(), cache_bytes=256 << 20)


def small_service(tokenizer: Tokenizer | None = None, queue: int = 256, **changes: Any) -> Service:
    return Service(small_engine(tokenizer, **changes), queue)


@contextmanager
def serving(
    service: Service,
    page: Path,
    limits: Limits = Limits(),  # noqa: B008
    protocol: type[Protocol] = Protocol,
) -> Iterator[Server]:
    shelf, records = FakeRegistry(Model("small", service)), []
    app = make_app(Serving(shelf, page, limits))
    app.add_middleware(KeepStats, kept=records)
    with listening(app, protocol) as port, httpx.Client(timeout=300, trust_env=False) as client:
        yield Server(port, shelf, client, records)


@contextmanager
def listening(app: Any, protocol: type[Protocol] = Protocol) -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(128)
        server = connections.Server(app, (), 1.0, protocol=protocol)
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        try:
            until(lambda: server.started)
            yield listener.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join(120)
            assert not thread.is_alive()


def events(text: str) -> list[Any]:
    """The JSON of each event of a stream; the last line is checked and left out."""
    found = [line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: ")]
    assert found[-1] == "[DONE]"
    return [json.loads(each) for each in found[:-1]]
