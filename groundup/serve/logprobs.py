"""Log-probabilities in OpenAI's JSON formats."""

from codecs import getincrementaldecoder
from collections.abc import Iterable
from math import isnan
from typing import Any

from groundup.codecs.text import Tokenizer
from groundup.generate.request import TokenLogprob

MIN_LOGPROB = -9999.0  # for minus infinity, which JSON cannot express


def chat_logprobs(tokenizer: Tokenizer, scores: Iterable[TokenLogprob]) -> dict[str, Any]:
    """The `logprobs` of a chat choice."""
    return {
        "content": [
            _token(tokenizer, score.id, score.logprob) | {"top_logprobs": _top(tokenizer, score)} for score in scores
        ],
        "refusal": None,
    }


def _top(tokenizer: Tokenizer, score: TokenLogprob) -> list[dict[str, Any]]:
    return [_token(tokenizer, id, logprob) for id, logprob in score.top]


def _token(tokenizer: Tokenizer, id: int, logprob: float) -> dict[str, Any]:
    spelled = tokenizer.token_bytes(id)
    return {"token": spelled.decode(errors="replace"), "logprob": max(logprob, MIN_LOGPROB), "bytes": list(spelled)}


class CompletionLogprobs:
    """The `logprobs` of a completion choice, chunk by chunk; text offsets count from the first chunk."""

    def __init__(self, tokenizer: Tokenizer):
        self._tokenizer, self._offset = tokenizer, 0
        self._decoder = getincrementaldecoder("utf-8")(errors="replace")

    def add(self, scores: Iterable[TokenLogprob]) -> dict[str, Any]:
        """Columns for a chunk: tokens, log-probabilities (null for a prompt's first), top tokens, character offsets."""
        columns: dict[str, Any] = {"tokens": [], "token_logprobs": [], "top_logprobs": [], "text_offset": []}
        for score in scores:
            unknown = isnan(score.logprob)
            own = {} if unknown else {self._name(score.id): max(score.logprob, MIN_LOGPROB)}
            columns["tokens"].append(self._name(score.id))
            columns["token_logprobs"].append(None if unknown else max(score.logprob, MIN_LOGPROB))
            columns["top_logprobs"].append(
                None if unknown else {self._name(id): max(logprob, MIN_LOGPROB) for id, logprob in score.top} | own
            )
            columns["text_offset"].append(self._offset)
            self._offset += len(self._decoder.decode(self._tokenizer.token_bytes(score.id)))
        return columns

    def _name(self, id: int) -> str:
        spelled = self._tokenizer.token_bytes(id)
        try:
            return spelled.decode()
        except UnicodeDecodeError:  # part of a character: named by its bytes, so that names are unique
            return "bytes:" + "".join(f"\\x{byte:02x}" for byte in spelled)
