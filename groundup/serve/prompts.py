"""Prompts, sampling parameters and response envelopes, shared by the endpoints."""

import secrets
import time
from dataclasses import dataclass
from typing import Any

from groundup.codecs.normal import normalise
from groundup.codecs.text import Tokenizer
from groundup.generate.sampling import Sampling
from groundup.serve.errors import ApiError, context_length_exceeded
from groundup.serve.models import ServedModel
from groundup.serve.schema import Generation

MAX_SEED = 2**53  # of random seeds: every JSON parser represents integers up to it exactly


@dataclass(frozen=True)
class Prompt:
    """Token ids and their text."""

    ids: list[int]
    text: str


def parse_prompts(model: ServedModel, value: Any, param: str, most: int) -> list[Prompt]:
    """One prompt or several: a text, ids, or a list of either. Raises ApiError (400) for any other value."""
    return [parse_prompt(model, item, param) for item in as_list(value, param, most)]


def as_list(value: Any, param: str, most: int) -> list[Any]:
    """One item or several, as a list. Raises ApiError (400) for more than `most`."""
    several = isinstance(value, list) and value != [] and not all(_is_id(item) for item in value)
    found = value if several else [value]
    if len(found) > most:
        raise ApiError(400, f"{param} has {len(found)} items; the most is {most}", param)
    return found


def parse_prompt(model: ServedModel, value: Any, param: str) -> Prompt:
    """One prompt: a text or ids. Raises ApiError (400) for any other value, or one longer than the context."""
    tokenizer, context = model.service.tokenizer, model.context
    if isinstance(value, str):
        begin, ids = tokenizer.begin, tokenizer.encode(value)
    elif isinstance(value, list) and all(_is_id(item) for item in value):
        if foreign := next((id for id in value if not 0 <= id < tokenizer.size), None):
            raise ApiError(
                400, f"{param}: there is no token with the id {foreign}; they go from 0 to {tokenizer.size - 1}", param
            )
        begin, ids = (), value
    else:
        raise ApiError(
            400,
            f"{param} holds {type(value).__name__}; it must be a text, ids, or a list of texts or of lists of ids",
            param,
        )
    if not ids:
        raise ApiError(400, f"{param} is empty; it needs at least one token", param)
    if len(begin) + len(ids) > context:  # before decoding: millions of ids hold the interpreter's lock for seconds
        raise context_length_exceeded(len(begin) + len(ids), context, param)
    return Prompt([*begin, *ids], tokenizer.decode(ids))  # the normal form, in which an echo counts offsets


def _is_id(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def require_room(model: ServedModel, ids: list[int], param: str) -> list[int]:
    """The ids, if they leave room for an answer in the context. Raises ApiError (400) otherwise."""
    context = model.context
    if len(ids) >= context:
        raise context_length_exceeded(len(ids), context, param)
    return ids


def sampling(payload: Generation, tokenizer: Tokenizer, temperature: float) -> Sampling:
    """Sampling parameters, by default with the server's temperature and a random seed."""
    return Sampling(
        temperature=temperature if payload.temperature is None else payload.temperature,
        top_k=payload.top_k,
        top_p=payload.top_p,
        min_p=payload.min_p,
        repetition_penalty=payload.repetition_penalty,
        presence_penalty=payload.presence_penalty,
        frequency_penalty=payload.frequency_penalty,
        seed=secrets.randbelow(MAX_SEED) if payload.seed is None else payload.seed,
        bias={_biased(key, tokenizer): value for key, value in payload.logit_bias.items()},
    )


def stop_texts(payload: Generation) -> tuple[str, ...]:
    """Stop strings, as given and in normal form, in which a model writes."""
    return tuple(dict.fromkeys([*payload.stop, *filter(None, map(normalise, payload.stop))]))


def _biased(key: str, tokenizer: Tokenizer) -> int:
    if not (key.isascii() and key.isdigit()) or len(key) > 9 or int(key) >= tokenizer.size:
        raise ApiError(400, f"logit_bias names the token {key!r}; ids go from 0 to {tokenizer.size - 1}", "logit_bias")
    return int(key)


def check_choices(payload: Generation, count: int, most: int) -> None:
    """Raise ApiError (400) for too many choices, or stream_options without stream."""
    if payload.n * count > most:
        raise ApiError(
            400,
            f"{count} prompts with {payload.n} answers each are {count * payload.n} answers; the most in one request is"
            f" {most}",
            "n",
        )
    if payload.stream_options is not None and not payload.stream:
        raise ApiError(400, "stream_options are for a stream; set stream", "stream_options")


@dataclass(frozen=True)
class Envelope:
    """Fields that a response and each of its chunks share. `seed` reproduces the response."""

    id: str
    kind: str
    model: str
    seed: int
    created: int

    @staticmethod
    def new(prefix: str, kind: str, model: str, seed: int) -> "Envelope":
        """An envelope with a new id."""
        return Envelope(f"{prefix}-{secrets.token_hex(12)}", kind, model, seed, int(time.time()))

    def wrap(self, choices: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
        """The JSON of a response or chunk with these choices."""
        return {
            "id": self.id,
            "object": self.kind,
            "created": self.created,
            "model": self.model,
            "seed": self.seed,
            "choices": choices,
        } | more
