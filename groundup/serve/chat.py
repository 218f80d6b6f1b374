"""POST /v1/chat/completions: a conversation in, the assistant's next message out."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from groundup.codecs import chat
from groundup.codecs.text import Tokenizer
from groundup.generate import look
from groundup.generate import request as engine
from groundup.generate.look import View
from groundup.generate.request import OutputDelta
from groundup.serve import body, pictures, prompts, record, scores, tools
from groundup.serve.errors import ApiError, about
from groundup.serve.prompts import Frame
from groundup.serve.schema import TOGETHER, ChatRequest
from groundup.serve.site import Entry, Site
from groundup.serve.stream import unless_gone
from groundup.serve.tools import Speech


def routes(site: Site) -> APIRouter:
    """The endpoint."""
    router = APIRouter()

    @router.post("/v1/chat/completions")
    async def complete(request: Request) -> Response:
        asked = await body.read(request, ChatRequest)
        return await site.ask(request, asked.model, partial(_answer, site, request, asked))

    return router


async def _answer(site: Site, request: Request, asked: ChatRequest, entry: Entry) -> Response:
    messages, shown = await run_in_threadpool(pictures.taken, asked.messages)
    views = await site.gallery.look(entry.service.config, shown)
    wanted = await run_in_threadpool(
        requests, asked.model_copy(update={"messages": messages}), entry, site.temperature, views
    )
    wanted = await _formed(request, asked, entry, wanted)
    kind = "chat.completion.chunk" if asked.stream else "chat.completion"
    frame = Frame.of("chatcmpl", kind, asked.model, wanted[0].sampling.seed)
    return await site.answer(request, entry, wanted, ChatWriter(frame, asked, entry.service.tokenizer), asked.stream)


def requests(
    asked: ChatRequest, entry: Entry, temperature: float, views: Sequence[View] = ()
) -> Sequence[engine.Request]:
    """What to ask of the engine, at a temperature if none is asked for, with the images that the messages show; free of
    any form.

    Raises ApiError for what cannot be answered.
    """
    prompts.together(asked, 1, TOGETHER)
    tokenizer = entry.service.tokenizer
    sampling = prompts.sampling(asked, tokenizer, temperature)
    with about("messages"):
        ids, looks = look.prompt(tokenizer, asked.messages, views, _shown(asked))
    prompts.with_room(entry, ids, "messages")
    limit = _limit(asked) or entry.context
    return [
        engine.Request(ids, limit, sampling, number, prompts.stops(asked), None, _logprobs(asked),
        images=looks) for number in range(asked.n)
    ]  # fmt: skip


async def _formed(
    request: Request, asked: ChatRequest, entry: Entry, wanted: Sequence[engine.Request]
) -> Sequence[engine.Request]:
    """The requests with what their answers may be, once that is compiled. Raises ApiError for a form that cannot be
    kept to, and Busy.
    """
    grammar = await run_in_threadpool(tools.grammar, asked, entry.service.tokenizer)
    if grammar is None:
        return wanted
    noted = record.of(request.scope)
    with about("response_format" if tools.chosen(asked).type == "none" else "tools"):
        compiled = await unless_gone(request.receive, noted, entry.service.grammars.compiled(grammar, noted.client))
    return [replace(each, grammar=compiled) for each in wanted]


def _shown(asked: ChatRequest) -> list[dict[str, Any]] | None:
    """The tools as the model sees them; None if it is not to call any."""
    if tools.chosen(asked).type == "none":
        return None
    return [tool.model_dump() for tool in asked.tools]


def _limit(asked: ChatRequest) -> int | None:
    if None not in (asked.max_tokens, asked.max_completion_tokens) and asked.max_tokens != asked.max_completion_tokens:
        raise ApiError(
            400, "max_tokens and max_completion_tokens are the same thing and differ; give one", "max_tokens"
        )
    return asked.max_completion_tokens or asked.max_tokens


def _logprobs(asked: ChatRequest) -> int | None:
    if asked.top_logprobs is not None and not asked.logprobs:
        raise ApiError(400, "top_logprobs needs logprobs: true", "top_logprobs")
    return (asked.top_logprobs or 0) if asked.logprobs else None


class ChatWriter:
    """Puts answers into the form of a chat completion, or of its chunks."""

    def __init__(self, frame: Frame, asked: ChatRequest, tokenizer: Tokenizer):
        self._frame, self._asked, self._tokenizer = frame, asked, tokenizer
        self._calls = tools.chosen(asked).type != "none"
        self._usage = asked.stream_options is not None and asked.stream_options.include_usage
        self._choices = [Deltas(self._calls) for _ in range(asked.n)]

    def hear(self, place: int, piece: OutputDelta) -> list[dict[str, Any]]:
        """The chunks of a piece."""
        logprobs = scores.listed(self._tokenizer, piece.logprobs) if piece.logprobs else None
        deltas = self._choices[place].hear(piece)
        if logprobs and not deltas:
            deltas = [{"content": ""}]
        chunks = [self._chunk(place, delta, logprobs if not number else None) for number, delta in enumerate(deltas)]
        if piece.finish:
            chunks.append(self._chunk(place, {}, None, self._choices[place].finish(piece.finish)))
        return chunks

    def end(self, usage: dict[str, Any]) -> list[dict[str, Any]]:
        """The chunk with the usage, where it is asked for."""
        return [self._frame.around([], usage=usage)] if self._usage else []

    def whole(self, answers: list[list[OutputDelta]], usage: dict[str, Any]) -> dict[str, Any]:
        """The answer in one."""
        return self._frame.around([self._choice(place, pieces) for place, pieces in enumerate(answers)], usage=usage)

    def _chunk(
        self, place: int, delta: dict[str, Any], logprobs: dict[str, Any] | None, finish: str | None = None
    ) -> dict[str, Any]:
        choice = {"index": place, "delta": delta, "logprobs": logprobs, "finish_reason": finish}
        return self._frame.around([choice], **({"usage": None} if self._usage else {}))

    def _choice(self, place: int, pieces: list[OutputDelta]) -> dict[str, Any]:
        text = "".join(piece.text for piece in pieces)
        message: dict[str, Any] = chat.parse_answer(text) if self._calls else {"role": "assistant", "content": text}
        finish = str(pieces[-1].finish)
        if calls := message.get("tool_calls"):
            message |= {"content": message["content"] or None, "tool_calls": [tools.numbered(call) for call in calls]}
            finish = _finish(finish)
        found = [score for piece in pieces for score in piece.logprobs]
        logprobs = scores.listed(self._tokenizer, found) if self._asked.logprobs else None
        return {"index": place, "message": message | {"refusal": None}, "logprobs": logprobs, "finish_reason": finish}


class Deltas:
    """What one answer adds to its message, piece by piece."""

    def __init__(self, calls: bool):
        self._speech = Speech() if calls else None
        self._begun, self._called = False, 0

    def hear(self, piece: OutputDelta) -> list[dict[str, Any]]:
        """The deltas of a piece; the first of all says whose message it is."""
        said, calls = self._split(piece)
        deltas: list[dict[str, Any]] = [{"content": said}] if said else []
        for call in calls:
            deltas.append({"tool_calls": [{"index": self._called} | tools.numbered(call)]})
            self._called += 1
        if not self._begun:
            self._begun = True
            deltas.insert(0, {"role": "assistant", "content": ""})
        return deltas

    def finish(self, reason: str) -> str:
        """Why the answer ended."""
        return _finish(reason) if self._called else reason

    def _split(self, piece: OutputDelta) -> tuple[str, list[dict[str, Any]]]:
        if self._speech is None:
            return piece.text, []
        said, calls = self._speech.hear(piece.text)
        if piece.finish:
            rest, more = self._speech.end()
            return said + rest, calls + more
        return said, calls


def _finish(reason: str) -> str:
    return "tool_calls" if reason == "stop" else reason
