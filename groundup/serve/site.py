"""What the endpoints know: the models, the page, and the limits."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeVar

from fastapi import Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, Response

from groundup.generate import request as engine
from groundup.generate.refusals import Closing
from groundup.generate.service import Service
from groundup.serve import record
from groundup.serve.errors import ApiError
from groundup.serve.pictures import Gallery
from groundup.serve.stream import Answers, EventStream, Post, Writer, collect, unless_gone

T = TypeVar("T")
PAGE = Path(__file__).with_name("page")


class Entry(Protocol):
    """A model that can be asked: when it was made, in seconds since 1970, and how many tokens it sees."""

    @property
    def name(self) -> str: ...
    @property
    def service(self) -> Service: ...
    @property
    def created(self) -> int: ...
    @property
    def context(self) -> int: ...


class Registry(Protocol):
    """Models by name."""

    def get(self, name: str) -> Entry:
        """The model of a name; raises KeyError."""

    def list(self) -> Sequence[Entry]:
        """All of them."""


@dataclass(frozen=True)
class Limits:
    """What one client may take: bytes and seconds of a body, pieces of an answer it has not read, seconds between signs
    of life.
    """

    body_bytes: int = 4 << 20
    body_seconds: float = 30.0
    backlog: int = 512
    heartbeat: float = 10.0


@dataclass(frozen=True)
class Site:
    """All that the endpoints need. `page` is the folder of the files that are served at /, `temperature` that of
    requests which name none; the `gallery` decodes images; the `post` brings what engines say.
    """

    registry: Registry
    page: Path = PAGE
    limits: Limits = Limits()
    temperature: float = 1.0
    gallery: Gallery = field(default_factory=Gallery)
    post: Post = field(default_factory=Post)

    def entry(self, name: str) -> Entry:
        """The model of a name; raises ApiError."""
        try:
            return self.registry.get(name)
        except KeyError:
            known = ", ".join(entry.name for entry in self.registry.list()) or "none"
            raise ApiError(404, f"there is no model {name!r}; there are: {known}", "model", "model_not_found") from None

    async def ask(self, request: Request, name: str, work: Callable[[Entry], Awaitable[T]]) -> T:
        """What the work makes of the model of a name; once more if a new version took its place meanwhile."""
        while True:
            entry = self.entry(name)
            record.of(request.scope).model = name
            try:
                return await work(entry)
            except Closing:
                if self.entry(name) is entry:
                    raise

    async def answer(
        self, request: Request, entry: Entry, asked: Sequence[engine.Request], writer: Writer, stream: bool
    ) -> Response:
        """Have a model answer, and put the answers into the writer's form. Raises as `Service.submit` does, and
        ApiError.
        """
        noted = record.of(request.scope)
        answers = Answers(entry.service, asked, noted, self.limits.backlog, self.post)
        if stream:
            return EventStream(answers, writer, noted, self.limits.heartbeat)
        try:
            pieces = await unless_gone(request.receive, noted, collect(answers, len(asked)))
            return JSONResponse(await run_in_threadpool(writer.whole, pieces, answers.usage()))
        finally:
            answers.cancel()
