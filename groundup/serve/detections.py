"""POST /v1/detections: object detection in images (class, box, score, corners). OpenAI has no such endpoint."""

from functools import partial

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response

from groundup.codecs.detections import Detection
from groundup.core.errors import InputError
from groundup.serve import body, images, prompts, request_stats
from groundup.serve.errors import ApiError
from groundup.serve.models import ServedModel
from groundup.serve.schema import MAX_IMAGES, DetectionRequest
from groundup.serve.serving import Serving
from groundup.serve.stream import result_of, unless_disconnected


def routes(serving: Serving) -> APIRouter:
    """The endpoint."""
    router = APIRouter()

    @router.post("/v1/detections")
    async def detect(request: Request) -> Response:
        payload = await body.read(request, DetectionRequest)
        return await serving.with_model(request, payload.model, partial(_answer, serving, request, payload))

    return router


async def _answer(serving: Serving, request: Request, payload: DetectionRequest, model: ServedModel) -> Response:
    items = prompts.as_list(payload.input, "input", MAX_IMAGES)
    refs = [
        images.single(item if isinstance(item, dict) else {}, f"input[{place}]") for place, item in enumerate(items)
    ]
    loaded = await serving.image_loader.load(model.service.config, refs)
    stats = request_stats.of(request.scope)
    stats.prompt_tokens = sum(image.grid.patches for image in loaded)
    try:
        found = await unless_disconnected(
            request.receive, stats, result_of(model.service, model.service.detect(loaded))
        )
    except InputError as error:
        raise ApiError(400, str(error), "input") from None
    stats.finish = "stop"
    data = [
        {"object": "detection", "index": place, "things": _json(detections, payload.least)}
        for place, detections in enumerate(found)
    ]
    usage = {"prompt_tokens": stats.prompt_tokens, "total_tokens": stats.prompt_tokens}
    return JSONResponse({"object": "list", "model": payload.model, "data": data, "usage": usage})


def _json(detections: list[Detection], min_score: float) -> list[dict[str, object]]:
    return [
        {"kind": each.class_name, "box": [*each.box], "score": each.score}
        | ({"corners": each.outline.tolist()} if each.corners else {})
        for each in detections
        if each.score >= min_score
    ]
