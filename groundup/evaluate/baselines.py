"""Baselines without a neural network: general compressors and an n-gram model, on the same held-out text."""

import gzip
import lzma
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from groundup.evaluate.figure import Figure, ratio
from groundup.evaluate.ngram import NGram

TRAINING_BYTES = 4 << 20  # training text for the baselines: xz -9e takes seconds for each MB
ORDER = 6  # bytes of a gram


def _gzip(text: bytes) -> int:
    return len(gzip.compress(text, 9, mtime=0))


def _xz(text: bytes) -> int:
    return len(lzma.compress(text, preset=9 | lzma.PRESET_EXTREME))


COMPRESSORS: dict[str, Callable[[bytes], int]] = {"gzip": _gzip, "xz": _xz}


def baselines(
    training: list[str], heldout: list[str], advance: Callable[[int], None] = lambda done: None
) -> dict[str, Figure]:
    """Bits per byte of the held-out texts by method: single measurements without an interval.

    `gzip` (-9) and `xz` (-9e) compress the joined texts, which favours them over one by one; `... after training` uses
    the training texts as a dictionary (gzip: the last 32 KB). `n-gram` is a byte model (order 6, modified Kneser-Ney)
    of the training texts that predicts each text by itself.
    """
    before, after = ("".join(texts).encode() for texts in (training, heldout))
    figures = {}
    with ThreadPoolExecutor() as pool:  # compressors work outside the interpreter's lock
        sizes = {name: pool.map(compress, (after, before, before + after)) for name, compress in COMPRESSORS.items()}
        figures["n-gram"] = _ngram([text.encode() for text in training], [text.encode() for text in heldout])
        for name, (alone, start, both) in sizes.items():
            figures[name] = Figure(8 * alone / len(after), None, None, len(heldout))
            figures[f"{name} after training"] = Figure(8 * (both - start) / len(after), None, None, len(heldout))
            advance(1)
    advance(1)
    return figures


def _ngram(training: list[bytes], heldout: list[bytes]) -> Figure:
    return ratio(NGram(training, ORDER).bits(heldout), [len(text) for text in heldout])
