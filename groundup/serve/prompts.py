"""What a request's prompt comes to, and how its answer is sampled: the same for all endpoints."""

import secrets
import time
from dataclasses import dataclass
from typing import Any

from groundup.codecs.normal import normalise
from groundup.codecs.text import Tokenizer
from groundup.generate.sampling import Sampling
from groundup.serve.errors import ApiError, too_long
from groundup.serve.schema import Generation
from groundup.serve.site import Entry

SEEDS = 2**53  # those drawn here: whole numbers that every reader of JSON keeps


@dataclass(frozen=True)
class Prompt:
    """Ids, and the text they are of."""

    ids: list[int]
    text: str


def prompts(entry: Entry, value: Any, param: str, most: int) -> list[Prompt]:
    """One prompt or several: a text, ids, or a list of either. Raises ApiError for anything else."""
    return [prompt(entry, item, param) for item in items(value, param, most)]


def items(value: Any, param: str, most: int) -> list[Any]:
    """One item or several, as a list. Raises ApiError for more than the most."""
    several = isinstance(value, list) and value != [] and not all(_is_id(item) for item in value)
    found = value if several else [value]
    if len(found) > most:
        raise ApiError(400, f"{param} has {len(found)} items; the most is {most}", param)
    return found


def prompt(entry: Entry, value: Any, param: str) -> Prompt:
    """A text or ids. Raises ApiError for anything else, and for more than the model's context."""
    tokenizer, context = entry.service.tokenizer, entry.context
    if isinstance(value, str):
        ids = tokenizer.encode(value)
    elif isinstance(value, list) and all(_is_id(item) for item in value):
        if foreign := next((id for id in value if not 0 <= id < tokenizer.size), None):
            raise ApiError(
                400, f"{param}: there is no token with the id {foreign}; they go from 0 to {tokenizer.size - 1}", param
            )
        ids = value
    else:
        raise ApiError(
            400,
            f"{param} holds {type(value).__name__}; it must be a text, ids, or a list of texts or of lists of ids",
            param,
        )
    if not ids:
        raise ApiError(400, f"{param} is empty; it needs at least one token", param)
    if len(ids) > context:  # to decode millions holds the interpreter's lock for seconds
        raise too_long(len(ids), context, param)
    return Prompt(ids, tokenizer.decode(ids))  # the normal form: it is what an echo counts its offsets in


def _is_id(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def with_room(entry: Entry, ids: list[int], param: str) -> list[int]:
    """The ids of a prompt that leaves room for an answer; raises ApiError for one that does not."""
    context = entry.context
    if len(ids) >= context:
        raise too_long(len(ids), context, param)
    return ids


def sampling(asked: Generation, tokenizer: Tokenizer, temperature: float) -> Sampling:
    """How to sample: at this temperature, and with a seed that is drawn, where none is given."""
    return Sampling(
        temperature=temperature if asked.temperature is None else asked.temperature,
        top_k=asked.top_k,
        top_p=asked.top_p,
        min_p=asked.min_p,
        repetition_penalty=asked.repetition_penalty,
        presence_penalty=asked.presence_penalty,
        frequency_penalty=asked.frequency_penalty,
        seed=secrets.randbelow(SEEDS) if asked.seed is None else asked.seed,
        bias={_biased(key, tokenizer): value for key, value in asked.logit_bias.items()},
    )


def stops(asked: Generation) -> tuple[str, ...]:
    """What ends an answer: each text as it is given, and in its normal form, in which a model writes."""
    return tuple(dict.fromkeys([*asked.stop, *filter(None, map(normalise, asked.stop))]))


def _biased(key: str, tokenizer: Tokenizer) -> int:
    if not (key.isascii() and key.isdigit()) or len(key) > 9 or int(key) >= tokenizer.size:
        raise ApiError(400, f"logit_bias names the token {key!r}; ids go from 0 to {tokenizer.size - 1}", "logit_bias")
    return int(key)


def together(asked: Generation, count: int, most: int) -> None:
    """Raise ApiError for a request with too many answers, or options of a stream without one."""
    if asked.n * count > most:
        raise ApiError(
            400,
            f"{count} prompts with {asked.n} answers each are {count * asked.n} answers; the most in one request is"
            f" {most}",
            "n",
        )
    if asked.stream_options is not None and not asked.stream:
        raise ApiError(400, "stream_options are for a stream; set stream", "stream_options")


@dataclass(frozen=True)
class Frame:
    """What an answer and each of its chunks begin with. `seed` gives the same answer when asked with again."""

    id: str
    kind: str
    model: str
    seed: int
    created: int

    @staticmethod
    def of(prefix: str, kind: str, model: str, seed: int) -> "Frame":
        """A frame with an id of its own."""
        return Frame(f"{prefix}-{secrets.token_hex(12)}", kind, model, seed, int(time.time()))

    def around(self, choices: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
        """The JSON of an answer or a chunk."""
        return {
            "id": self.id,
            "object": self.kind,
            "created": self.created,
            "model": self.model,
            "seed": self.seed,
            "choices": choices,
        } | more
