"""A request to the engine, and the output deltas that answer it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from groundup.core.errors import InputError
from groundup.generate.grammar import Grammar
from groundup.generate.grammar_pool import CompiledGrammar
from groundup.generate.image_inputs import ImageInput, require_vision
from groundup.generate.sampling import GREEDY, Sampling
from groundup.model.config import ModelConfig

MAX_LOGPROBS = 20  # most alternative ids with log-probabilities at a position


@dataclass(frozen=True)
class Request:
    """A prompt to continue by at most `limit` ids, up to the first of the strings `stops`.

    `grammar` constrains the ids; a client's is compiled by a `GrammarPool` first. `number` gives each sequence of a
    prompt its own random numbers. `logprobs` adds the log-probability of each id and of that many of the likeliest,
    with `echo` for the prompt too. `images` are in prompt order.
    """

    prompt: Sequence[int]
    limit: int
    sampling: Sampling = GREEDY
    number: int = 0
    stops: tuple[str, ...] = ()
    grammar: Grammar | CompiledGrammar | None = None
    logprobs: int | None = None
    echo: bool = False
    images: tuple[ImageInput, ...] = ()

    def check(self, config: ModelConfig, vocab: int) -> None:
        """Raise InputError if a model with this config and `vocab` token ids cannot answer it."""
        size = len(self.prompt)
        if self.limit < 1:
            raise InputError(f"the limit of an answer is {self.limit} tokens; ask for at least 1")
        if not size:
            raise InputError("a prompt has no tokens; give it at least one")
        if size >= config.context:
            raise InputError(
                f"a prompt of {size} tokens leaves no room for an answer in a context of {config.context}; shorten it"
            )
        for id in (*self.prompt, *self.sampling.bias):
            if not 0 <= id < vocab:
                raise InputError(f"there is no token with the id {id}; they go from 0 to {vocab - 1}")
        if self.logprobs is not None and not 0 <= self.logprobs <= MAX_LOGPROBS:
            raise InputError(f"log-probabilities of {self.logprobs} ids are asked for; the most is {MAX_LOGPROBS}")
        check_images(self.images, size, config)


def check_images(images: Sequence[ImageInput], size: int, config: ModelConfig) -> None:
    """Raise InputError unless the images are in order in a prompt of `size` ids, with ids after the last."""
    before = 0
    for image in images:
        require_vision(config)
        grid, patches = image.grid, image.patches
        if grid.patches > config.patches or patches.shape != (grid.patches, config.patch_values):
            raise InputError(
                f"an image has {patches.shape} patches; the model takes at most {config.patches} of"
                f" {config.patch_values} values"
            )
        if not before <= image.position < image.end < size:
            raise InputError(
                f"an image stands at {image.position} to {image.end} of a prompt of {size} tokens; it must lie inside,"
                " apart from others"
            )
        before = image.end


@dataclass(frozen=True)
class TokenLogprob:
    """The log-probability (natural) of an id, before temperature and penalties, and the likeliest ids with theirs."""

    id: int
    logprob: float
    top: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True)
class OutputDelta:
    """The output that a step adds to the answer of a request.

    `text` is final: whole characters, no possible beginning of a stop string. `ids` and `logprobs` exclude stop tokens.
    The first delta has `cached_tokens` (prefix cache) and any `prompt_logprobs` (nan for the first id). The last has
    `finish`, with `stop_logprob` for a stop token, or `error` and its `fault`: the request, the engine, or "closing".
    """

    text: str = ""
    ids: tuple[int, ...] = ()
    logprobs: tuple[TokenLogprob, ...] = ()
    prompt_logprobs: tuple[TokenLogprob, ...] = ()
    finish: Literal["stop", "length"] | None = None
    cached_tokens: int = 0
    stop_logprob: TokenLogprob | None = None
    error: str | None = None
    fault: Literal["request", "engine", "closing"] | None = None

    @staticmethod
    def failed(error: BaseException) -> "OutputDelta":
        """The last delta of a request whose work raised; only an InputError is the request's fault."""
        if isinstance(error, InputError):
            return OutputDelta(error=str(error), fault="request")
        return OutputDelta(error=f"the engine failed: {str(error) or type(error).__name__}", fault="engine")
