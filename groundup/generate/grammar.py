"""Constrained decoding: a JSON schema, regular expression or grammar gives token masks [V] (llguidance)."""

import json
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from groundup.codecs.text import Tokenizer
from groundup.core.errors import InputError
from groundup.generate import grammar_worker as worker

LARGEST = 64 * 1024  # most characters of a grammar


class AnyConstraint(Protocol):
    """The state of one sequence in a grammar."""

    def token_mask(self) -> NDArray[np.bool_] | None:
        """The allowed next ids, [V]; None while it is computed. Raises InputError for a grammar that is too complex."""

    def accept(self, id: int) -> None:
        """Advance by an id that the mask allowed."""

    def fileno(self) -> int:
        """A file descriptor that becomes readable when `token_mask` may be ready; -1 if it is always ready."""

    def close(self) -> None:
        """Release the state."""


@dataclass(frozen=True)
class Source:
    """A grammar as text. Raises InputError for one that is too long, and where llguidance is not installed."""

    kind: Literal["json_schema", "regex", "lark"]
    text: str

    def __post_init__(self) -> None:
        if len(self.text) > LARGEST:
            raise InputError(
                f"a {worker.NAMES[self.kind]} of {len(self.text):,} characters; the longest is {LARGEST:,}"
            )
        if find_spec("llguidance") is None:
            raise InputError("constrained answers need llguidance: pip install 'groundup[serve]'")


class UntrustedGrammar(Source):
    """A client's grammar, which may take any time and memory: `GrammarPool` compiles it in a separate process."""


class Grammar(Source):
    """A trusted grammar of the program itself, never a client's: compiled in this process, without limits.

    The constructors below raise InputError for an invalid grammar.
    """

    @staticmethod
    def json_schema(schema: dict[str, Any]) -> "Grammar":
        """JSON that fits a schema."""
        return _checked(Grammar("json_schema", json.dumps(schema)))

    @staticmethod
    def regex(pattern: str) -> "Grammar":
        """Texts that a regular expression matches in full."""
        return _checked(Grammar("regex", pattern))

    @staticmethod
    def lark(grammar: str) -> "Grammar":
        """Texts of a context-free grammar in llguidance's variant of Lark's syntax."""
        return _checked(Grammar("lark", grammar))

    def constraint(self, tokenizer: Tokenizer) -> "AnyConstraint":
        """The state of a new sequence. Raises InputError if the grammar is too complex."""
        return Constraint(self, tokenizer)


class Constraint:
    """The state of a sequence, in this process; its mask is always ready. Raises InputError as `token_mask` does."""

    def __init__(self, grammar: Grammar, tokenizer: Tokenizer):
        self._matcher = _matcher(grammar, tokenizer).deep_copy()
        self._size = tokenizer.size

    def token_mask(self) -> NDArray[np.bool_]:
        """As `AnyConstraint`."""
        try:
            return unpacked(worker.mask(self._matcher), self._size)
        except worker.Refused as error:
            raise InputError(str(error)) from None

    def accept(self, id: int) -> None:
        """As `AnyConstraint`."""
        self._matcher.consume_token(id)

    def fileno(self) -> int:
        """Nothing to wait for."""
        return -1

    def close(self) -> None:
        """Nothing is held."""


def _checked(grammar: Grammar) -> Grammar:
    try:
        worker.check(grammar.kind, grammar.text)
    except worker.Refused as error:
        raise InputError(str(error)) from None
    return grammar


def unpacked(bits: bytes, size: int) -> NDArray[np.bool_]:
    """A bit mask as a boolean one, [V]."""
    return np.unpackbits(np.frombuffer(bits, np.uint8), bitorder="little")[:size].astype(bool)


@lru_cache(maxsize=32)
def _matcher(grammar: Grammar, tokenizer: Tokenizer) -> Any:
    """A compiled grammar, with its first mask."""
    try:
        compiled = worker.matcher(grammar.kind, grammar.text, _vocabulary(tokenizer))
        worker.mask(compiled)
    except worker.Refused as error:
        raise InputError(str(error)) from None
    return compiled


@lru_cache(maxsize=8)
def _vocabulary(tokenizer: Tokenizer) -> Any:
    return worker.vocabulary(tokenizer.json, tokenizer.size, list(tokenizer.ends))
