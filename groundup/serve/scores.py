"""Log-probabilities as clients read them."""

from codecs import getincrementaldecoder
from collections.abc import Iterable
from math import isnan
from typing import Any

from groundup.codecs.text import Tokenizer
from groundup.generate.request import TokenLogprob

LEAST = -9999.0  # instead of minus infinity, which JSON has not


def listed(tokenizer: Tokenizer, scores: Iterable[TokenLogprob]) -> dict[str, Any]:
    """The `logprobs` of a chat's choice."""
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
    return {"token": spelled.decode(errors="replace"), "logprob": max(logprob, LEAST), "bytes": list(spelled)}


class Columns:
    """The `logprobs` of a completion's choice, for one stretch after another: where a token begins counts from the
    first.
    """

    def __init__(self, tokenizer: Tokenizer):
        self._tokenizer, self._offset = tokenizer, 0
        self._decoder = getincrementaldecoder("utf-8")(errors="replace")

    def of(self, scores: Iterable[TokenLogprob]) -> dict[str, Any]:
        """Lists of tokens, log-probabilities (null for the first of all), the likeliest at each place, and offsets in
        characters.
        """
        columns: dict[str, Any] = {"tokens": [], "token_logprobs": [], "top_logprobs": [], "text_offset": []}
        for score in scores:
            unknown = isnan(score.logprob)
            own = {} if unknown else {self._name(score.id): max(score.logprob, LEAST)}
            columns["tokens"].append(self._name(score.id))
            columns["token_logprobs"].append(None if unknown else max(score.logprob, LEAST))
            columns["top_logprobs"].append(
                None if unknown else {self._name(id): max(logprob, LEAST) for id, logprob in score.top} | own
            )
            columns["text_offset"].append(self._offset)
            self._offset += len(self._decoder.decode(self._tokenizer.token_bytes(score.id)))
        return columns

    def _name(self, id: int) -> str:
        spelled = self._tokenizer.token_bytes(id)
        try:
            return spelled.decode()
        except UnicodeDecodeError:  # part of a character: its bytes, so that no two tokens have one name
            return "bytes:" + "".join(f"\\x{byte:02x}" for byte in spelled)
