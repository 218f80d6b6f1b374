"""Bits per byte: how short a model would write a text, whatever its tokenizer."""

import math
from collections.abc import Callable, Iterable, Iterator

from groundup.codecs.normal import normalise, repair_surrogates
from groundup.core.errors import InputError
from groundup.evaluate.figure import Figure, ratio
from groundup.generate.engine import Engine
from groundup.generate.scoring import ScoredText

CHARACTERS = 1 << 20  # text measured at a time: bounds the memory of its ids


def bits_per_byte(engine: Engine, texts: Iterable[str], advance: Callable[[int], None] = lambda done: None) -> Figure:
    """-log2 p of the texts by the bytes of UTF-8 of their normal form, the texts being cases of which any might have
    been drawn.

    Each text is coded by itself and each of its tokens once. The first has nothing before it, and no training predicts
    it: it costs log2 of the vocabulary. The <|endoftext|> that closes a document in training is not part of the text
    and costs nothing. A text longer than the context is read in windows that overlap by half, so that every token after
    the first window is predicted from at least half a context. `advance` is told of texts done. Raises InputError
    without text.
    """
    bits: list[float] = []
    sizes: list[float] = []
    for group in _groups(texts):
        bits += _bits(engine, [engine.tokenizer.encode(text) for text in group])
        sizes += [len(text.encode()) for text in group]
        advance(len(group))
    if not bits:
        raise InputError("there is no text to measure bits per byte on; keep some held out (heldout_share)")
    return ratio(bits, sizes)


def windows(ids: list[int], context: int) -> Iterator[ScoredText]:
    """Cut a text into rows of which all ids but the first of the text count, each once."""
    if len(ids) > 1:
        yield ScoredText(ids[: context + 1], 1)
    step = max(1, context // 2)
    for start in range(context + 1, len(ids), step):
        stop = min(start + step, len(ids))
        begin = stop - context - 1
        yield ScoredText(ids[begin:stop], start - begin)


def _bits(engine: Engine, texts: list[list[int]]) -> list[float]:
    rows = [list(windows(ids, engine.config.context)) for ids in texts]
    values = iter(engine.scorer.negative_log_likelihoods([row for text in rows for row in text]))
    first = math.log(engine.config.vocab)
    return [(first + sum(next(values) for _ in text)) / math.log(2) for text in rows]


def _groups(texts: Iterable[str]) -> Iterator[list[str]]:
    """The texts in their normal form, those that are not empty, in lists of about CHARACTERS."""
    group: list[str] = []
    for text in filter(None, (normalise(repair_surrogates(text)) for text in texts)):
        group.append(text)
        if sum(map(len, group)) >= CHARACTERS:
            yield group
            group = []
    if group:
        yield group
