"""What an answer may be: a JSON schema, a regular expression or a grammar, kept to token by token (llguidance).

Shapes: V vocabulary.
"""

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

LARGEST = 64 * 1024  # characters of a grammar


class AnyConstraint(Protocol):
    """One answer on its way through a grammar."""

    def allowed(self) -> NDArray[np.bool_] | None:
        """Which ids may come next, [V]; those that end the answer once the grammar is fulfilled. None while that is not
        known yet.

        Raises InputError if it is too complex.
        """

    def accept(self, id: int) -> None:
        """Go on by one id that was allowed."""

    def fileno(self) -> int:
        """What becomes readable when `allowed` may know more."""

    def close(self) -> None:
        """Nobody asks any more."""


@dataclass(frozen=True)
class Source:
    """A set of texts, as somebody wrote it. Raises InputError for one that is too long, and where llguidance is not
    installed.
    """

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
    """A grammar that a client sent: nothing is known of it but its length. It may take for ever, or all memory, to
    compile or to follow, so it is done in a process of its own: `GrammarPool` makes of it what a `Request` takes.
    """


class Grammar(Source):
    """A grammar that the program itself wrote, compiled and followed in this process, at once and without limits. Never
    one from a client.

    Made by the functions below, which raise InputError for what cannot be kept to.
    """

    @staticmethod
    def json_schema(schema: dict[str, Any]) -> "Grammar":
        """JSON that fits a schema."""
        return _checked(Grammar("json_schema", json.dumps(schema)))

    @staticmethod
    def regex(pattern: str) -> "Grammar":
        """Texts that a regular expression matches as a whole."""
        return _checked(Grammar("regex", pattern))

    @staticmethod
    def lark(grammar: str) -> "Grammar":
        """Texts of a context-free grammar in llguidance's variant of Lark's syntax."""
        return _checked(Grammar("lark", grammar))

    def constraint(self, tokenizer: Tokenizer) -> "AnyConstraint":
        """An answer before its first id. Raises InputError if the grammar is too complex."""
        return Constraint(self, tokenizer)


class Constraint:
    """An answer followed in this process; what is allowed is always known. Raises InputError if the grammar is too
    complex.
    """

    def __init__(self, grammar: Grammar, tokenizer: Tokenizer):
        self._matcher = _begun(grammar, tokenizer).deep_copy()
        self._size = tokenizer.size

    def allowed(self) -> NDArray[np.bool_]:
        """As `AnyConstraint`."""
        try:
            return unpacked(worker.mask(self._matcher), self._size)
        except worker.Refused as error:
            raise InputError(str(error)) from None

    def accept(self, id: int) -> None:
        """As `AnyConstraint`."""
        self._matcher.consume_token(id)

    def fileno(self) -> int:
        """There is nothing to wait for."""
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
    """A mask of bits as one of ids, [V]."""
    return np.unpackbits(np.frombuffer(bits, np.uint8), bitorder="little")[:size].astype(bool)


@lru_cache(maxsize=32)
def _begun(grammar: Grammar, tokenizer: Tokenizer) -> Any:
    """A grammar before the first id, with what may come there known."""
    try:
        made = worker.matcher(grammar.kind, grammar.text, _vocabulary(tokenizer))
        worker.mask(made)
    except worker.Refused as error:
        raise InputError(str(error)) from None
    return made


@lru_cache(maxsize=8)
def _vocabulary(tokenizer: Tokenizer) -> Any:
    return worker.vocabulary(tokenizer.json, tokenizer.size, [tokenizer.im_end, tokenizer.end])
