"""Endpoints for operators: health and readiness probes, metrics, and the settings that the page reads at its start."""

from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from fastapi import APIRouter
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from groundup.model import cost
from groundup.serve import schema
from groundup.serve.errors import ApiError
from groundup.serve.metrics import Metrics
from groundup.serve.models import Registry
from groundup.serve.serving import Serving


def routes(
    serving: Serving, registry: Registry, metrics: Metrics, ready: Callable[[], bool], weights: str, runs: Path
) -> APIRouter:
    """The endpoints. None needs a thread of the pool, or a lock that user requests may hold."""
    api = APIRouter()

    @api.get("/health")
    async def health() -> Response:
        dead = [name for name, state in registry.states() if not state.alive]
        return JSONResponse({"status": "failed", "models": dead} if dead else {"status": "ok"}, 500 if dead else 200)

    @api.get("/ready")
    async def is_ready() -> Response:
        works = ready() and all(state.alive for _, state in registry.states())
        return JSONResponse({"ready": True}) if works else _not_ready()

    @api.get("/metrics")
    async def figures() -> Response:
        return Response(metrics.text(), media_type="text/plain; version=0.0.4")

    @api.get("/api/settings")
    async def settings() -> dict[str, Any]:
        return {
            "version": version("groundup"),
            "models": [
                {
                    "id": model.name,
                    "context": model.context,
                    "images": bool(model.service.config.patch),
                    "weights": weights,
                    "parameters": cost.total(model.service.config),
                }
                | model.about.stated()
                for model in registry.list()
            ],
            "limits": {
                "body_bytes": serving.limits.body_bytes,
                "messages": schema.MAX_MESSAGES,
                "stops": schema.MAX_STOPS,
                "answers": schema.MAX_N,
                "top_logprobs": schema.MAX_TOP_LOGPROBS,
            },
            "defaults": {"temperature": serving.temperature, "top_p": 1.0, "max_tokens": None},
            "runs": runs.is_dir(),
        }

    return api


async def loading(scope: Scope, receive: Receive, send: Send) -> None:
    """The ASGI app while the models load: healthy, not ready, 503 for all other paths."""
    match scope["path"]:
        case "/health":
            answer: Response = JSONResponse({"status": "ok"})
        case "/ready":
            answer = _not_ready()
        case _:
            answer = ApiError(
                503, "the models are being loaded; try again in a moment", code="loading", headers={"Retry-After": "1"}
            ).response
    await answer(scope, receive, send)


def _not_ready() -> Response:
    return JSONResponse({"ready": False}, 503, {"Retry-After": "1"})
