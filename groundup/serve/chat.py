"""POST /v1/chat/completions: generates the assistant's next message."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Any

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from groundup.codecs.answers import message_of, parser_of
from groundup.codecs.text import Tokenizer
from groundup.data.chat_formats import with_reasoning
from groundup.generate import image_inputs
from groundup.generate import request as engine
from groundup.generate.image_inputs import ImageInput
from groundup.generate.request import OutputDelta
from groundup.serve import body, images, prompts, request_stats, tools
from groundup.serve.errors import ApiError, invalid_request
from groundup.serve.logprobs import chat_logprobs
from groundup.serve.models import ServedModel
from groundup.serve.prompts import Envelope
from groundup.serve.schema import MAX_CHOICES, ChatRequest
from groundup.serve.serving import Serving
from groundup.serve.stream import ResponseWriter, unless_disconnected


def routes(serving: Serving) -> APIRouter:
    """The endpoint."""
    router = APIRouter()

    @router.post("/v1/chat/completions")
    async def complete(request: Request) -> Response:
        payload = await body.read(request, ChatRequest)
        return await serving.with_model(request, payload.model, partial(_answer, serving, request, payload))

    return router


async def _answer(serving: Serving, request: Request, payload: ChatRequest, model: ServedModel) -> Response:
    engine_requests = await prepare(serving, request, payload, model)
    kind = "chat.completion.chunk" if payload.stream else "chat.completion"
    envelope = Envelope.new("chatcmpl", kind, payload.model, engine_requests[0].sampling.seed)
    return await serving.respond(
        request, model, engine_requests, ChatWriter(envelope, payload, model.service.tokenizer), payload.stream
    )


async def prepare(
    serving: Serving, request: Request, payload: ChatRequest, model: ServedModel
) -> Sequence[engine.Request]:
    """One engine request for each choice, with images and compiled grammar. Raises ApiError (400) and Busy."""
    messages, refs = await run_in_threadpool(images.extract, [_reasoned(each) for each in payload.messages])
    loaded = await serving.image_loader.load(model.service.config, refs)
    engine_requests = await run_in_threadpool(
        requests, payload.model_copy(update={"messages": messages}), model, serving.temperature, loaded
    )
    return await _with_grammar(request, payload, model, engine_requests)


def requests(
    payload: ChatRequest, model: ServedModel, temperature: float, loaded: Sequence[ImageInput] = ()
) -> Sequence[engine.Request]:
    """One engine request for each choice of a payload, with images, without the grammar. Raises ApiError (400)."""
    prompts.check_choices(payload, 1, MAX_CHOICES)
    tokenizer = model.service.tokenizer
    sampling = prompts.sampling(payload, tokenizer, temperature)
    with invalid_request("messages"):
        ids, placed = image_inputs.prompt(tokenizer, payload.messages, loaded, _visible_tools(payload), datetime.now())
    prompts.require_room(model, ids, "messages")
    limit = _limit(payload) or model.context
    return [
        engine.Request(ids, limit, sampling, number, prompts.stop_texts(payload), None, _logprobs(payload),
        images=placed) for number in range(payload.n)
    ]  # fmt: skip


async def _with_grammar(
    request: Request, payload: ChatRequest, model: ServedModel, engine_requests: Sequence[engine.Request]
) -> Sequence[engine.Request]:
    """The engine requests with the compiled grammar of tools or response format. Raises ApiError (400) and Busy."""
    grammar = await run_in_threadpool(tools.grammar, payload, model.service.tokenizer)
    if grammar is None:
        return engine_requests
    stats = request_stats.of(request.scope)
    with invalid_request("response_format" if tools.resolve_tool_choice(payload).type == "none" else "tools"):
        compiled = await unless_disconnected(
            request.receive, stats, model.service.grammars.compiled(grammar, stats.client)
        )
    return [replace(each, grammar=compiled) for each in engine_requests]


def _reasoned(message: dict[str, Any]) -> dict[str, Any]:
    """A message of an earlier turn, with `reasoning_content` (which other servers use) moved into the content."""
    return with_reasoning(message) if message.get("role") == "assistant" else message


def _visible_tools(payload: ChatRequest) -> list[dict[str, Any]] | None:
    """The tools that the template shows to the model; None for tool_choice none."""
    if tools.resolve_tool_choice(payload).type == "none":
        return None
    return [tool.model_dump() for tool in payload.tools]


def _limit(payload: ChatRequest) -> int | None:
    if (
        None not in (payload.max_tokens, payload.max_completion_tokens)
        and payload.max_tokens != payload.max_completion_tokens
    ):
        raise ApiError(
            400, "max_tokens and max_completion_tokens are the same thing and differ; give one", "max_tokens"
        )
    return payload.max_completion_tokens or payload.max_tokens


def _logprobs(payload: ChatRequest) -> int | None:
    if payload.top_logprobs and not payload.logprobs:
        raise ApiError(400, "top_logprobs needs logprobs: true", "top_logprobs")
    return (payload.top_logprobs or 0) if payload.logprobs else None


class ChatWriter(ResponseWriter):
    """Writes outputs as a chat completion, or as its chunks."""

    def __init__(self, envelope: Envelope, payload: ChatRequest, tokenizer: Tokenizer):
        self._envelope, self._payload, self._tokenizer = envelope, payload, tokenizer
        self._calls = tools.resolve_tool_choice(payload).type != "none"
        self._usage = payload.stream_options is not None and payload.stream_options.include_usage
        self._choices = [MessageDeltas(tokenizer, self._calls) for _ in range(payload.n)]

    def chunks(self, index: int, delta: OutputDelta) -> list[dict[str, Any]]:
        """The chunks of an output delta."""
        logprobs = chat_logprobs(self._tokenizer, delta.logprobs) if delta.logprobs else None
        deltas = self._choices[index].add(delta)
        if logprobs and not deltas:
            deltas = [{"content": ""}]
        chunks = [self._chunk(index, delta, logprobs if not number else None) for number, delta in enumerate(deltas)]
        if delta.finish:
            chunks.append(self._chunk(index, {}, None, self._choices[index].finish(delta.finish)))
        return chunks

    def last_chunks(self, usage: dict[str, Any]) -> list[dict[str, Any]]:
        """The usage chunk, where the client requested it."""
        return [self._envelope.wrap([], usage=usage)] if self._usage else []

    def response(self, outputs: list[list[OutputDelta]], usage: dict[str, Any]) -> dict[str, Any]:
        """The whole response."""
        return self._envelope.wrap([self._choice(index, deltas) for index, deltas in enumerate(outputs)], usage=usage)

    def _chunk(
        self, index: int, delta: dict[str, Any], logprobs: dict[str, Any] | None, finish: str | None = None
    ) -> dict[str, Any]:
        choice = {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": finish}
        return self._envelope.wrap([choice], **({"usage": None} if self._usage else {}))

    def _choice(self, index: int, deltas: list[OutputDelta]) -> dict[str, Any]:
        message = message_of(self._tokenizer, "".join(delta.text for delta in deltas), self._calls)
        finish = str(deltas[-1].finish)
        if calls := message.get("tool_calls"):
            message |= {"content": message["content"] or None, "tool_calls": [tools.with_id(call) for call in calls]}
            finish = _finish(finish)
        found = [score for delta in deltas for score in delta.logprobs]
        logprobs = chat_logprobs(self._tokenizer, found) if self._payload.logprobs else None
        return {"index": index, "message": message | {"refusal": None}, "logprobs": logprobs, "finish_reason": finish}


class MessageDeltas:
    """Turns output deltas of one choice into message deltas."""

    def __init__(self, tokenizer: Tokenizer, calls: bool):
        self._parser = parser_of(tokenizer, calls)
        self._begun, self._called = False, 0

    def add(self, delta: OutputDelta) -> list[dict[str, Any]]:
        """The message deltas of an output delta; the very first has the role."""
        text, calls = self._split(delta)
        thought = self._parser.reasoning() if self._parser else ""
        deltas: list[dict[str, Any]] = [{"reasoning_content": thought}] if thought else []
        deltas += [{"content": text}] if text else []
        for call in calls:
            deltas.append({"tool_calls": [{"index": self._called} | tools.with_id(call)]})
            self._called += 1
        if not self._begun:
            self._begun = True
            deltas.insert(0, {"role": "assistant", "content": ""})
        return deltas

    def finish(self, reason: str) -> str:
        """The finish reason."""
        return _finish(reason) if self._called else reason

    def _split(self, delta: OutputDelta) -> tuple[str, list[dict[str, Any]]]:
        if self._parser is None:
            return delta.text, []
        text, calls = self._parser.feed(delta.text)
        if delta.finish:
            rest, more = self._parser.close()
            return text + rest, calls + more
        return text, calls


def _finish(reason: str) -> str:
    return "tool_calls" if reason == "stop" else reason
