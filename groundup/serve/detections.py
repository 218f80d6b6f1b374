"""POST /v1/detections: images in, what lies where in each one out, by the labels of its patches. No OpenAI endpoint:
they have none for this.
"""

from functools import partial

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response

from groundup.codecs.detections import Detection
from groundup.core.errors import InputError
from groundup.serve import body, pictures, prompts, record
from groundup.serve.errors import ApiError
from groundup.serve.schema import IMAGES, DetectionRequest
from groundup.serve.site import Entry, Site
from groundup.serve.stream import settled, unless_gone


def routes(site: Site) -> APIRouter:
    """The endpoint."""
    router = APIRouter()

    @router.post("/v1/detections")
    async def detect(request: Request) -> Response:
        asked = await body.read(request, DetectionRequest)
        return await site.ask(request, asked.model, partial(_answer, site, request, asked))

    return router


async def _answer(site: Site, request: Request, asked: DetectionRequest, entry: Entry) -> Response:
    items = prompts.items(asked.input, "input", IMAGES)
    shown = [
        pictures.alone(item if isinstance(item, dict) else {}, f"input[{place}]") for place, item in enumerate(items)
    ]
    views = await site.gallery.look(entry.service.config, shown)
    noted = record.of(request.scope)
    noted.prompt_tokens = sum(view.grid.patches for view in views)
    try:
        found = await unless_gone(request.receive, noted, settled(entry.service, entry.service.detect(views)))
    except InputError as error:
        raise ApiError(400, str(error), "input") from None
    noted.finish = "stop"
    data = [
        {"object": "detection", "index": place, "things": _written(things, asked.least)}
        for place, things in enumerate(found)
    ]
    usage = {"prompt_tokens": noted.prompt_tokens, "total_tokens": noted.prompt_tokens}
    return JSONResponse({"object": "list", "model": asked.model, "data": data, "usage": usage})


def _written(things: list[Detection], least: float) -> list[dict[str, object]]:
    return [
        {"kind": thing.class_name, "box": [*thing.box], "score": thing.score}
        for thing in things
        if thing.score >= least
    ]
