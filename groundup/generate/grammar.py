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

    def prepare(self, tokenizer: Tokenizer) -> None:
        """Do what a first answer would wait for. It may take seconds, and others need not wait as well: call it in another thread than the
        engine's. Raises InputError for a grammar that is too complex."""
        _begun(self.text, tokenizer)


class Constraint:
    """One answer on its way through a grammar. Raises InputError if it is too complex."""

    def __init__(self, grammar: Grammar, tokenizer: Tokenizer):
        self._matcher = _begun(grammar.text, tokenizer).deep_copy()
        self._bits = np.zeros((1, -(-tokenizer.size // 32)), dtype=np.int32)
        self._size = tokenizer.size

    def allowed(self) -> NDArray[np.bool_]:
        """Which ids may come next, [V]; those that end the answer once the grammar is fulfilled. Raises InputError if it is too complex."""
        _mask(self._matcher, self._bits)
        return np.unpackbits(self._bits.view(np.uint8)[0], bitorder="little")[: self._size].astype(bool)

    def accept(self, id: int) -> None:
        """Go on by one id that was allowed."""
        self._matcher.consume_token(id)


@lru_cache(maxsize=32)
def _begun(text: str, tokenizer: Tokenizer) -> Any:
    """A grammar before the first id, with what may come there known."""
    matcher = _llguidance().LLMatcher(_vocabulary(tokenizer), text, log_level=0)
    _mask(matcher, np.zeros((1, -(-tokenizer.size // 32)), dtype=np.int32))
    return matcher


def _mask(matcher: Any, bits: NDArray[np.int32]) -> None:
    """Fill in which ids may come next, a bit each."""
    matcher.unsafe_compute_mask_ptr(bits.ctypes.data, bits.nbytes)
    if matcher.is_error():
        raise InputError(f"the grammar cannot be followed: {_first(matcher.get_error())}")


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
