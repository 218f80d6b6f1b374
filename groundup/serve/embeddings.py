"""POST /v1/embeddings: texts in, the mean of each one's last states out."""

import asyncio
import struct
from base64 import b64encode
from functools import partial
from typing import Any

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, Response

from groundup.serve import body, errors, prompts, record
from groundup.serve.schema import ROWS, EmbeddingRequest
from groundup.serve.site import Entry, Site
from groundup.serve.stream import unless_gone


def routes(site: Site) -> APIRouter:
    """The endpoint."""
    router = APIRouter()

    @router.post("/v1/embeddings")
    async def embed(request: Request) -> Response:
        asked = await body.read(request, EmbeddingRequest)
        return await site.ask(request, asked.model, partial(_answer, request, asked))

    return router


async def _answer(request: Request, asked: EmbeddingRequest, entry: Entry) -> Response:
    found = await run_in_threadpool(prompts.prompts, entry, asked.input, "input", ROWS)
    context, longest = entry.service.engine.trunk.shape.context, max(len(prompt.ids) for prompt in found)
    if longest > context:
        raise errors.too_long(longest, context, "input")
    noted = record.of(request.scope)
    noted.prompt_tokens = sum(len(prompt.ids) for prompt in found)
    vectors = await unless_gone(request.receive, noted, _embedded(entry, [prompt.ids for prompt in found]))
    data = [{"object": "embedding", "index": place, "embedding": _written(asked, vector)} for place, vector in enumerate(vectors)]
    usage = {"prompt_tokens": noted.prompt_tokens, "total_tokens": noted.prompt_tokens}
    noted.finish = "stop"
    return JSONResponse({"object": "list", "model": asked.model, "data": data, "usage": usage})


async def _embedded(entry: Entry, rows: list[list[int]]) -> list[list[float]]:
    """The embeddings; raises ApiError if the engine fails meanwhile."""
    job = asyncio.wrap_future(entry.service.embed(rows))
    try:
        while not (await asyncio.wait({job}, timeout=5))[0]:
            if not entry.service.state().alive:
                raise errors.failed()
        return job.result()
    finally:
        job.cancel()


def _written(asked: EmbeddingRequest, vector: list[float]) -> Any:
    if asked.encoding_format == "float":
        return vector
    return b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
