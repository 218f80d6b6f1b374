"""The app: OpenAI's endpoints and the page."""

from typing import Any

from fastapi import APIRouter, FastAPI

from groundup.serve import chat, completions, detections, embeddings, static
from groundup.serve.body import BodyLimit
from groundup.serve.errors import HANDLERS
from groundup.serve.site import Entry, Site


def make_app(site: Site) -> FastAPI:
    """The app of a site. There is no generated documentation: its page would load scripts from elsewhere."""
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False, exception_handlers=HANDLERS)
    app.add_middleware(BodyLimit, most=site.limits.body_bytes, seconds=site.limits.body_seconds)
    endpoints = (chat, completions, embeddings, detections)
    for routes in (models(site), *(each.routes(site) for each in endpoints), static.routes(site.page)):
        app.include_router(routes)
    return app


def models(site: Site) -> APIRouter:
    """GET /v1/models and /v1/models/NAME."""
    router = APIRouter()

    @router.get("/v1/models")
    async def listed() -> dict[str, Any]:
        return {"object": "list", "data": [_described(entry) for entry in site.registry.list()]}

    @router.get("/v1/models/{name:path}")
    async def one(name: str) -> dict[str, Any]:
        return _described(site.entry(name))

    return router


def _described(entry: Entry) -> dict[str, Any]:
    config = entry.service.config
    seen = (
        {"sight": {"patch": config.patch, "patches": config.patches, "kinds": config.classes}} if config.patch else {}
    )
    described = {
        "id": entry.name,
        "object": "model",
        "created": entry.created,
        "owned_by": "groundup",
        "context": entry.context,
    }
    return described | {"images": bool(config.patch)} | seen
