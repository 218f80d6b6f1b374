"""POST /v1/completions: a text in, its continuation out."""

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
from groundup.serve.prompts import Frame, Prompt
from groundup.serve.schema import PROMPTS, TOGETHER, CompletionRequest
from groundup.serve.scores import Columns
from groundup.serve.site import Entry, Site


def routes(site: Site) -> APIRouter:
    """The endpoint."""
    router = APIRouter()

    @router.post("/v1/completions")
    async def complete(request: Request) -> Response:
        asked = await body.read(request, CompletionRequest)
        return await site.ask(request, asked.model, partial(_answer, site, request, asked))

    return router


async def _answer(site: Site, request: Request, asked: CompletionRequest, entry: Entry) -> Response:
    found = await run_in_threadpool(prompts.prompts, entry, asked.prompt, "prompt", PROMPTS)
    wanted = await run_in_threadpool(requests, asked, entry, found, site.temperature)
    frame = Frame.of("cmpl", "text_completion", asked.model, wanted[0].sampling.seed)
    return await site.answer(
        request, entry, wanted, CompletionWriter(frame, asked, found, entry.service.tokenizer), asked.stream
    )


def requests(
    asked: CompletionRequest, entry: Entry, found: list[Prompt], temperature: float
) -> Sequence[engine.Request]:
    """What to ask of the engine: the answers of the first prompt, then those of the next. Raises ApiError for what
    cannot be answered.
    """
    prompts.together(asked, len(found), TOGETHER)
    if asked.max_tokens == 0 and not asked.echo:
        raise ApiError(
            400, "max_tokens is 0, and nothing is echoed; ask for at least 1 token, or set echo", "max_tokens"
        )
    sampling = prompts.sampling(asked, entry.service.tokenizer, temperature)
    echo, limit = asked.echo and asked.logprobs is not None, max(1, asked.max_tokens)
    return [
        engine.Request(
            prompts.with_room(entry, prompt.ids, "prompt"),
            limit,
            sampling,
            number,
            prompts.stops(asked),
            None,
            asked.logprobs,
            echo,
        )
        for prompt in found
        for number in range(asked.n)
    ]


class CompletionWriter:
    """Puts answers into the form of a completion, or of its chunks.

    What ended an answer is the last of its log-probabilities, as an id of no text. With max_tokens 0 one token is
    computed, and left out.
    """

    def __init__(self, frame: Frame, asked: CompletionRequest, found: list[Prompt], tokenizer: Tokenizer):
        self._frame, self._asked = frame, asked
        self._prompts = [prompt for prompt in found for _ in range(asked.n)]
        self._columns = [Columns(tokenizer) for _ in self._prompts]
        self._begun: set[int] = set()
        self._usage = asked.stream_options is not None and asked.stream_options.include_usage

    def hear(self, place: int, piece: OutputDelta) -> list[dict[str, Any]]:
        """The chunk of a piece."""
        text, found = self._echoed(place) if place not in self._begun else "", [*piece.prompt_logprobs]
        self._begun.add(place)
        if self._asked.max_tokens:
            text, found = text + piece.text, found + _scores(piece)
        if not (text or found or piece.finish):
            return []
        choice = self._choice(place, text, found, piece.finish)
        return [self._frame.around([choice], **({"usage": None} if self._usage else {}))]

    def end(self, usage: dict[str, Any]) -> list[dict[str, Any]]:
        """The chunk with the usage, where it is asked for."""
        return [self._frame.around([], usage=self._counted(usage))] if self._usage else []

    def whole(self, answers: list[list[OutputDelta]], usage: dict[str, Any]) -> dict[str, Any]:
        """The answer in one."""
        choices = []
        for place, pieces in enumerate(answers):
            text, found = self._echoed(place), [score for piece in pieces for score in piece.prompt_logprobs]
            if self._asked.max_tokens:
                text += "".join(piece.text for piece in pieces)
                found += [score for piece in pieces for score in _scores(piece)]
            choices.append(self._choice(place, text, found, pieces[-1].finish))
        return self._frame.around(choices, usage=self._counted(usage))

    def _choice(self, place: int, text: str, found: list[TokenLogprob], finish: str | None) -> dict[str, Any]:
        logprobs = None if self._asked.logprobs is None else self._columns[place].of(found)
        if finish and not self._asked.max_tokens:
            finish = "length"
        return {"index": place, "text": text, "logprobs": logprobs, "finish_reason": finish}

    def _echoed(self, place: int) -> str:
        return self._prompts[place].text if self._asked.echo else ""

    def _counted(self, usage: dict[str, Any]) -> dict[str, Any]:
        if self._asked.max_tokens:
            return usage
        return usage | {"completion_tokens": 0, "total_tokens": usage["prompt_tokens"]}


def _scores(piece: OutputDelta) -> list[TokenLogprob]:
    return [*piece.logprobs, *([] if piece.stop_logprob is None else [piece.stop_logprob])]
