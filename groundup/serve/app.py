"""The FastAPI app: OpenAI-compatible endpoints and the page."""

from typing import Any

from fastapi import APIRouter, FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

from groundup.serve import chat, completions, detections, embeddings, responses, static
from groundup.serve.body import BodyLimit
from groundup.serve.errors import HANDLERS
from groundup.serve.models import ServedModel
from groundup.serve.serving import Serving


def make_app(serving: Serving) -> FastAPI:
    """The app. FastAPI's generated documentation is off: its page would load scripts from other hosts."""
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False, exception_handlers=HANDLERS)
    app.add_middleware(Head)
    app.add_middleware(BodyLimit, max_bytes=serving.limits.body_bytes, seconds=serving.limits.body_seconds)
    endpoints = (chat, completions, responses, embeddings, detections)
    for routes in (models(serving), *(each.routes(serving) for each in endpoints), static.routes(serving.page)):
        app.include_router(routes)
    return app


class Head:
    """ASGI middleware: HEAD is answered as GET; the server omits the body."""

    def __init__(self, app: ASGIApp):
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Call the app, with HEAD replaced by GET."""
        head = scope["type"] == "http" and scope["method"] == "HEAD"
        await self.app({**scope, "method": "GET"} if head else scope, receive, send)


def models(serving: Serving) -> APIRouter:
    """GET /v1/models and /v1/models/NAME."""
    router = APIRouter()

    @router.get("/v1/models")
    async def listed() -> dict[str, Any]:
        return {"object": "list", "data": [_model_json(model) for model in serving.registry.list()]}

    @router.get("/v1/models/{name:path}")
    async def one(name: str) -> dict[str, Any]:
        return _model_json(serving.model(name))

    return router


def _model_json(model: ServedModel) -> dict[str, Any]:
    config = model.service.config
    rotated = {"rotated": True} if config.rotated else {}
    sight = {"patch": config.patch, "patches": config.patches, "kinds": config.classes} | rotated
    facts: dict[str, Any] = {
        "id": model.name,
        "object": "model",
        "created": model.created,
        "owned_by": "groundup",
        "context": model.context,
    }
    facts |= model.about.stated()
    return facts | {"images": bool(config.patch)} | ({"sight": sight} if config.patch else {})
