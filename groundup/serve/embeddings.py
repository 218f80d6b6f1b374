"""POST /v1/embeddings: texts and images in, the mean of each one's last states out."""

import struct
from base64 import b64encode
from functools import partial
from typing import Any

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, Response

from groundup.generate import look
from groundup.generate.look import Look, View
from groundup.serve import body, errors, pictures, prompts, record
from groundup.serve.schema import ROWS, EmbeddingRequest
from groundup.serve.site import Entry, Site
from groundup.serve.stream import settled, unless_gone

Row = tuple[list[int], tuple[Look, ...]]


def routes(site: Site) -> APIRouter:
    """The endpoint."""
    router = APIRouter()

    @router.post("/v1/embeddings")
    async def embed(request: Request) -> Response:
        asked = await body.read(request, EmbeddingRequest)
        return await site.ask(request, asked.model, partial(_answer, site, request, asked))

    return router


async def _answer(site: Site, request: Request, asked: EmbeddingRequest, entry: Entry) -> Response:
    items, config = prompts.items(asked.input, "input", ROWS), entry.service.config
    shown = [pictures.alone(item, f"input[{place}]") for place, item in enumerate(items) if isinstance(item, dict)]
    views = await site.gallery.look(config, shown)
    rows = await run_in_threadpool(_rows, entry, items, views)
    if (longest := max(len(ids) for ids, _ in rows)) > config.context:
        raise errors.too_long(longest, config.context, "input")
    noted = record.of(request.scope)
    noted.prompt_tokens = sum(len(ids) for ids, _ in rows)
    job = entry.service.embed([ids for ids, _ in rows], [looks for _, looks in rows])
    vectors = await unless_gone(request.receive, noted, settled(entry.service, job))
    data = [
        {"object": "embedding", "index": place, "embedding": _written(asked, vector)}
        for place, vector in enumerate(vectors)
    ]
    usage = {"prompt_tokens": noted.prompt_tokens, "total_tokens": noted.prompt_tokens}
    noted.finish = "stop"
    return JSONResponse({"object": "list", "model": asked.model, "data": data, "usage": usage})


def _rows(entry: Entry, items: list[Any], views: list[View]) -> list[Row]:
    """The ids of each item, and its image if it is one."""
    left, tokenizer = iter(views), entry.service.tokenizer
    with errors.about("input"):
        return [
            look.alone(tokenizer, next(left)) if isinstance(item, dict) else (prompts.prompt(entry, item, "input").ids,
            ())
            for item in items
        ]  # fmt: skip


def _written(asked: EmbeddingRequest, vector: list[float]) -> Any:
    if asked.encoding_format == "float":
        return vector
    return b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
