"""The context of all endpoints: models, page, limits, defaults; and the response to a request."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from fastapi import Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, Response

from groundup.generate import request as engine
from groundup.generate.refusals import Closing
from groundup.serve import request_stats
from groundup.serve.errors import ApiError
from groundup.serve.images import ImageLoader
from groundup.serve.models import Registry, ServedModel
from groundup.serve.stream import (
    EventStreamResponse,
    LoopDispatcher,
    OutputCollector,
    ResponseWriter,
    collect,
    unless_disconnected,
)

T = TypeVar("T")
PAGE = Path(__file__).with_name("page")


@dataclass(frozen=True)
class Limits:
    """Limits of a request: body bytes, seconds for the body, unread output deltas, seconds between heartbeats."""

    body_bytes: int = 4 << 20
    body_seconds: float = 30.0
    backlog: int = 512
    heartbeat: float = 10.0


@dataclass(frozen=True)
class Serving:
    """The context of endpoints: models, the page's folder, limits, and the default temperature."""

    registry: Registry
    page: Path = PAGE
    limits: Limits = Limits()
    temperature: float = 1.0
    image_loader: ImageLoader = field(default_factory=ImageLoader)
    dispatcher: LoopDispatcher = field(default_factory=LoopDispatcher)

    def model(self, name: str) -> ServedModel:
        """The model of a name. Raises ApiError (404)."""
        try:
            return self.registry.get(name)
        except KeyError:
            known = ", ".join(model.name for model in self.registry.list()) or "none"
            raise ApiError(404, f"there is no model {name!r}; there are: {known}", "model", "model_not_found") from None

    async def with_model(self, request: Request, name: str, work: Callable[[ServedModel], Awaitable[T]]) -> T:
        """Run work on a model by name. Runs it again if a hot reload has replaced the model meanwhile."""
        while True:
            model = self.model(name)
            request_stats.of(request.scope).model = name
            try:
                return await work(model)
            except Closing:
                if self.model(name) is model:
                    raise

    async def respond(
        self, request: Request, model: ServedModel, inputs: Sequence[engine.Request], writer: ResponseWriter,
        stream: bool,
    ) -> Response:  # fmt: skip
        """Generate, and write the outputs as one response or as a stream. Raises ApiError, and as `Service.submit`."""
        stats = request_stats.of(request.scope)
        outputs = OutputCollector(model.service, inputs, stats, self.limits.backlog, self.dispatcher)
        if stream:
            return EventStreamResponse(outputs, writer, stats, self.limits.heartbeat)
        try:
            deltas = await unless_disconnected(request.receive, stats, collect(outputs, len(inputs)))
            return JSONResponse(await run_in_threadpool(writer.response, deltas, outputs.usage()))
        finally:
            outputs.cancel()
