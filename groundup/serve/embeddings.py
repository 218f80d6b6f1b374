"""POST /v1/embeddings: one vector for each text or image, the mean of the last hidden states."""

import struct
from base64 import b64encode
from functools import partial
from typing import Any

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, Response

from groundup.generate import image_inputs
from groundup.generate.image_inputs import ImageInput
from groundup.serve import body, errors, images, prompts, request_stats
from groundup.serve.models import ServedModel
from groundup.serve.schema import MAX_EMBEDDINGS, EmbeddingRequest
from groundup.serve.serving import Serving
from groundup.serve.stream import result_of, unless_disconnected

Row = tuple[list[int], tuple[ImageInput, ...]]


def routes(serving: Serving) -> APIRouter:
    """The endpoint."""
    router = APIRouter()

    @router.post("/v1/embeddings")
    async def embed(request: Request) -> Response:
        payload = await body.read(request, EmbeddingRequest)
        return await serving.with_model(request, payload.model, partial(_answer, serving, request, payload))

    return router


async def _answer(serving: Serving, request: Request, payload: EmbeddingRequest, model: ServedModel) -> Response:
    items, config = prompts.as_list(payload.input, "input", MAX_EMBEDDINGS), model.service.config
    refs = [images.single(item, f"input[{place}]") for place, item in enumerate(items) if isinstance(item, dict)]
    loaded = await serving.image_loader.load(config, refs)
    rows = await run_in_threadpool(_rows, model, items, loaded)
    if (longest := max(len(ids) for ids, _ in rows)) > config.context:
        raise errors.context_length_exceeded(longest, config.context, "input")
    stats = request_stats.of(request.scope)
    stats.prompt_tokens = sum(len(ids) for ids, _ in rows)
    job = model.service.embed([ids for ids, _ in rows], [images for _, images in rows])
    vectors = await unless_disconnected(request.receive, stats, result_of(model.service, job))
    data = [
        {"object": "embedding", "index": place, "embedding": _encode(payload, vector)}
        for place, vector in enumerate(vectors)
    ]
    usage = {"prompt_tokens": stats.prompt_tokens, "total_tokens": stats.prompt_tokens}
    stats.finish = "stop"
    return JSONResponse({"object": "list", "model": payload.model, "data": data, "usage": usage})


def _rows(model: ServedModel, items: list[Any], loaded: list[ImageInput]) -> list[Row]:
    """Token ids of each item, and its image inputs."""
    left, tokenizer = iter(loaded), model.service.tokenizer
    with errors.invalid_request("input"):
        return [
            image_inputs.alone(tokenizer, next(left))
            if isinstance(item, dict)
            else (prompts.parse_prompt(model, item, "input").ids, ())
            for item in items
        ]


def _encode(payload: EmbeddingRequest, vector: list[float]) -> Any:
    if payload.encoding_format == "float":
        return vector
    return b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
