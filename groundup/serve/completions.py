"""POST /v1/completions: generates the continuation of a prompt."""

from collections.abc import Sequence
from functools import partial
from typing import Any

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from groundup.codecs.text import Tokenizer
from groundup.generate import request as engine
from groundup.generate.request import OutputDelta, TokenLogprob
from groundup.serve import body, prompts
from groundup.serve.errors import ApiError
from groundup.serve.logprobs import CompletionLogprobs
from groundup.serve.models import ServedModel
from groundup.serve.prompts import Envelope, Prompt
from groundup.serve.schema import MAX_CHOICES, MAX_PROMPTS, CompletionRequest
from groundup.serve.serving import Serving
from groundup.serve.stream import ResponseWriter


def routes(serving: Serving) -> APIRouter:
    """The endpoint."""
    router = APIRouter()

    @router.post("/v1/completions")
    async def complete(request: Request) -> Response:
        payload = await body.read(request, CompletionRequest)
        return await serving.with_model(request, payload.model, partial(_answer, serving, request, payload))

    return router


async def _answer(serving: Serving, request: Request, payload: CompletionRequest, model: ServedModel) -> Response:
    found = await run_in_threadpool(prompts.parse_prompts, model, payload.prompt, "prompt", MAX_PROMPTS)
    engine_requests = await run_in_threadpool(requests, payload, model, found, serving.temperature)
    envelope = Envelope.new("cmpl", "text_completion", payload.model, engine_requests[0].sampling.seed)
    return await serving.respond(
        request,
        model,
        engine_requests,
        CompletionWriter(envelope, payload, found, model.service.tokenizer),
        payload.stream,
    )


def requests(
    payload: CompletionRequest, model: ServedModel, found: list[Prompt], temperature: float
) -> Sequence[engine.Request]:
    """The engine requests of a payload: `n` for the first prompt, then `n` for the next. Raises ApiError (400)."""
    prompts.check_choices(payload, len(found), MAX_CHOICES)
    if payload.max_tokens == 0 and not payload.echo:
        raise ApiError(
            400, "max_tokens is 0, and nothing is echoed; ask for at least 1 token, or set echo", "max_tokens"
        )
    sampling = prompts.sampling(payload, model.service.tokenizer, temperature)
    echo, limit = payload.echo and payload.logprobs is not None, max(1, payload.max_tokens)
    return [
        engine.Request(
            prompts.require_room(model, prompt.ids, "prompt"),
            limit,
            sampling,
            number,
            prompts.stop_texts(payload),
            None,
            payload.logprobs,
            echo,
        )
        for prompt in found
        for number in range(payload.n)
    ]


class CompletionWriter(ResponseWriter):
    """Writes outputs as a completion or its chunks; with max_tokens 0 the one token computed is left out."""

    def __init__(self, envelope: Envelope, payload: CompletionRequest, found: list[Prompt], tokenizer: Tokenizer):
        self._envelope, self._payload = envelope, payload
        self._prompts = [prompt for prompt in found for _ in range(payload.n)]
        self._logprobs = [CompletionLogprobs(tokenizer) for _ in self._prompts]
        self._started: set[int] = set()
        self._usage = payload.stream_options is not None and payload.stream_options.include_usage

    def chunks(self, index: int, delta: OutputDelta) -> list[dict[str, Any]]:
        """The chunk of an output delta."""
        text, found = self._echo(index) if index not in self._started else "", [*delta.prompt_logprobs]
        self._started.add(index)
        if self._payload.max_tokens:
            text, found = text + delta.text, found + _scores(delta)
        if not (text or found or delta.finish):
            return []
        choice = self._choice(index, text, found, delta.finish)
        return [self._envelope.wrap([choice], **({"usage": None} if self._usage else {}))]

    def last_chunks(self, usage: dict[str, Any]) -> list[dict[str, Any]]:
        """The usage chunk, where the client requested it."""
        return [self._envelope.wrap([], usage=self._usage_of(usage))] if self._usage else []

    def response(self, outputs: list[list[OutputDelta]], usage: dict[str, Any]) -> dict[str, Any]:
        """The whole response."""
        choices = []
        for index, deltas in enumerate(outputs):
            text, found = self._echo(index), [score for delta in deltas for score in delta.prompt_logprobs]
            if self._payload.max_tokens:
                text += "".join(delta.text for delta in deltas)
                found += [score for delta in deltas for score in _scores(delta)]
            choices.append(self._choice(index, text, found, deltas[-1].finish))
        return self._envelope.wrap(choices, usage=self._usage_of(usage))

    def _choice(self, index: int, text: str, found: list[TokenLogprob], finish: str | None) -> dict[str, Any]:
        logprobs = None if self._payload.logprobs is None else self._logprobs[index].add(found)
        if finish and not self._payload.max_tokens:
            finish = "length"
        return {"index": index, "text": text, "logprobs": logprobs, "finish_reason": finish}

    def _echo(self, index: int) -> str:
        return self._prompts[index].text if self._payload.echo else ""

    def _usage_of(self, usage: dict[str, Any]) -> dict[str, Any]:
        if self._payload.max_tokens:
            return usage
        return usage | {"completion_tokens": 0, "total_tokens": usage["prompt_tokens"]}


def _scores(delta: OutputDelta) -> list[TokenLogprob]:
    return [*delta.logprobs, *([] if delta.stop_logprob is None else [delta.stop_logprob])]
