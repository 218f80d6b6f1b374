"""What is asked of the engine, and what it says while it answers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from groundup.core.errors import InputError
from groundup.generate.grammar import Grammar
from groundup.generate.grammar_pool import CompiledGrammar
from groundup.generate.look import Look
from groundup.generate.sampling import GREEDY, Sampling


@dataclass(frozen=True)
class Request:
    """A prompt to continue.

    The answer has at most `limit` ids and ends before the first of the texts `stops`; `grammar` says what it may be;
    one that a client sent is compiled by a `GrammarPool` first. `number` tells several answers to one prompt apart:
    each has random numbers of its own. `logprobs` asks for the log-probability of each id and for those of that many of
    the likeliest; `echo` for those of the prompt's ids as well. `images` stand in the prompt, in order.
    """

    prompt: Sequence[int]
    limit: int
    sampling: Sampling = GREEDY
    number: int = 0
    stops: tuple[str, ...] = ()
    grammar: Grammar | CompiledGrammar | None = None
    logprobs: int | None = None
    echo: bool = False
    images: tuple[Look, ...] = ()


@dataclass(frozen=True)
class Score:
    """The log-probability (natural) the model gives an id, before temperature and penalties, and the likeliest ids with
    theirs.
    """

    id: int
    logprob: float
    top: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True)
class OutputDelta:
    """What came of a request in one step.

    `text` is certain: whole characters, and nothing that may turn out to be the beginning of a stop. `ids` are those
    generated, without the one that ended the answer, and `scores` theirs. The first piece says how many of the prompt's
    ids were found `cached`, and has the `prompt_scores` if asked for (the first id has none: nan). The last has
    `finish`, with the score of the id that ended the answer as `ending` if one did, or `error` with who is to blame:
    the request, the engine, or nobody, as it closes.
    """

    text: str = ""
    ids: tuple[int, ...] = ()
    scores: tuple[Score, ...] = ()
    prompt_scores: tuple[Score, ...] = ()
    finish: Literal["stop", "length"] | None = None
    cached: int = 0
    ending: Score | None = None
    error: str | None = None
    fault: Literal["request", "engine", "closing"] | None = None

    @staticmethod
    def failed(error: BaseException) -> "OutputDelta":
        """The last piece of an answer that ends as something was raised: an InputError is the request's fault, all else
        the engine's.
        """
        if isinstance(error, InputError):
            return OutputDelta(error=str(error), fault="request")
        return OutputDelta(error=f"the engine failed: {str(error) or type(error).__name__}", fault="engine")
