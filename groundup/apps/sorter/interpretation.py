"""From an operator's sentence to an order: the request to a language model, and its answer with its probability."""

import math
from collections.abc import Iterable, Sequence
from functools import cache
from typing import NamedTuple

from groundup.apps.sorter import orders
from groundup.apps.sorter.policy import ANSWER, END
from groundup.codecs.text import Tokenizer
from groundup.generate.grammar import Grammar
from groundup.generate.image_inputs import prompt
from groundup.generate.request import OutputDelta, Request

MAX_TOKENS = 160  # of an order: four clauses have some fifty, more in the tokens of other models
CERTAIN = 1 - 1e-6  # most that a model is believed: an operator's own line of the order language has 1


class Interpretation(NamedTuple):
    """The order that a sentence means, the probability that it does, and the name of the model that says so."""

    line: str
    probability: float = 1.0
    model: str = ""


def request(tokenizer: Tokenizer, text: str) -> Request:
    """The request for the order that a sentence most likely means: greedy, under the grammar of orders, with
    log-probabilities. Raises InputError without the package llguidance.
    """
    ids, _ = prompt(tokenizer, orders.prompt(text), ())
    return Request(ids, MAX_TOKENS, grammar=_grammar(), logprobs=0)


def of_deltas(text: str, deltas: Sequence[OutputDelta], model: str = "") -> Interpretation:
    """The interpretation of a sentence that a request came to."""
    answer = "".join(delta.text for delta in deltas)
    return of_answer(text, answer, (each.logprob for delta in deltas for each in delta.logprobs), model)


def of_answer(text: str, answer: str, logprobs: Iterable[float], model: str) -> Interpretation:
    """The interpretation of a sentence by a model's answer. Its probability is the product over the answer's tokens.

    It is 0 where the sentence names a class or number that the order lacks (`orders.complete`); an answer that was cut
    off is no order.
    """
    line = answer.removesuffix(END) if answer.endswith(END) else ""
    likely = min(math.exp(math.fsum(logprobs)), CERTAIN)
    return Interpretation(line, likely if orders.complete(text, line) else 0.0, model)


@cache
def _grammar() -> Grammar:
    return Grammar.regex(ANSWER)
