"""What an answer may be: a JSON schema, a regular expression or a grammar, kept to token by token (llguidance)."""

import json
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from groundup.codecs.text import Tokenizer
from groundup.errors import InputError

LARGEST = 64 * 1024  # characters of a grammar


@dataclass(frozen=True)
class Grammar:
    """A set of texts, in llguidance's own form. Made by the functions below, which raise InputError for what cannot be kept to."""

    text: str

    @staticmethod
    def json_schema(schema: dict[str, Any]) -> "Grammar":
        """JSON that fits a schema."""
        return _checked(_llguidance().LLMatcher.grammar_from_json_schema, json.dumps(schema), "JSON schema")

    @staticmethod
    def json_object() -> "Grammar":
        """Any JSON object."""
        return Grammar.json_schema({"type": "object"})

    @staticmethod
    def regex(pattern: str) -> "Grammar":
        """Texts that a regular expression matches as a whole."""
        return _checked(_llguidance().LLMatcher.grammar_from_regex, pattern, "regular expression")

    @staticmethod
    def lark(grammar: str) -> "Grammar":
        """Texts of a context-free grammar in llguidance's variant of Lark's syntax."""
        return _checked(_llguidance().LLMatcher.grammar_from_lark, grammar, "grammar")


class Constraint:
    """One answer on its way through a grammar."""

    def __init__(self, grammar: Grammar, tokenizer: Tokenizer):
        self._matcher = _llguidance().LLMatcher(_vocabulary(tokenizer), grammar.text, log_level=0)
        self._bits = np.zeros((1, -(-tokenizer.size // 32)), dtype=np.int32)
        self._size = tokenizer.size

    def allowed(self) -> NDArray[np.bool_]:
        """Which ids may come next, [V]; those that end the answer once the grammar is fulfilled. Raises InputError if it is too complex."""
        self._matcher.unsafe_compute_mask_ptr(self._bits.ctypes.data, self._bits.nbytes)
        if self._matcher.is_error():
            raise InputError(f"the grammar cannot be followed: {_first(self._matcher.get_error())}")
        return np.unpackbits(self._bits.view(np.uint8)[0], bitorder="little")[: self._size].astype(bool)

    def accept(self, id: int) -> None:
        """Go on by one id that was allowed."""
        self._matcher.consume_token(id)


def _checked(make: Any, text: str, kind: str) -> Grammar:
    if len(text) > LARGEST:
        raise InputError(f"a {kind} of {len(text):,} characters; the longest is {LARGEST:,}")
    try:
        found = make(text)
    except ValueError as error:
        raise InputError(f"the {kind} cannot be used: {_first(str(error))}") from None
    if problem := _llguidance().LLMatcher.validate_grammar(found):
        raise InputError(f"the {kind} cannot be used: {_first(problem)}")
    return Grammar(found)


def _first(text: str) -> str:
    return text.strip().splitlines()[0][:200]


def _llguidance() -> Any:
    try:
        import llguidance
    except ImportError:
        raise InputError("constrained answers need llguidance: pip install 'groundup[serve]'") from None
    return llguidance


@lru_cache(maxsize=8)
def _vocabulary(tokenizer: Tokenizer) -> Any:
    return _llguidance().LLTokenizer(tokenizer.json, n_vocab=tokenizer.size, eos_token=[tokenizer.im_end, tokenizer.end])
