"""The n-gram model against a plain one in dictionaries, and what compressors must do."""

import lzma
import math
import zlib
from collections import Counter

import numpy as np
import pytest

from groundup.evaluate.baselines import baselines
from groundup.evaluate.ngram import LEAST, NGram

TRAINING = ["the cat sat on the mat. ", "the dog sat by the door! ", "then three of them 三只猫 sat there. "] * 3 + [
    "on and on they sat",
    "mat door cat",
]
HELDOUT = ["the three cats sat by the mat", "狗 and then 三", "q"]


class Plain:
    """Interpolated modified Kneser-Ney by the formulas of Chen and Goodman (1999), one probability at a time."""

    def __init__(self, documents: list[bytes], order: int):
        texts = [b"\xff" * (order - 1) + document + b"\xff" for document in documents]
        grams = [text[end - order : end] for text in texts for end in range(order, len(text) + 1)]
        self.counts = {order: Counter(grams)}
        for length in range(order - 1, 0, -1):
            self.counts[length] = Counter(gram[1:] for gram in self.counts[length + 1])

    def discount(self, length: int, count: int) -> float:
        number = Counter(self.counts[length].values())
        if not all(number[n] for n in (1, 2, 3, 4)):
            return 0.5
        share = number[1] / (number[1] + 2 * number[2])
        n = min(count, 3)
        return min(max(n - (n + 1) * share * number[n + 1] / number[n], LEAST), n)

    def probability(self, context: bytes, byte: int, length: int) -> float:
        if not length:
            return 1 / 256
        context = context[len(context) - (length - 1) :]
        below = self.probability(context, byte, length - 1)
        following = {gram: count for gram, count in self.counts[length].items() if gram[:-1] == context}
        if not following:
            return below
        taken = {gram: self.discount(length, count) for gram, count in following.items()}
        gram, total = context + bytes([byte]), sum(following.values())
        return (following.get(gram, 0) - taken.get(gram, 0)) / total + sum(taken.values()) / total * below

    def bits(self, document: bytes, order: int) -> float:
        text = b"\xff" * (order - 1) + document
        return -sum(
            math.log2(self.probability(text[: end - 1], text[end - 1], order)) for end in range(order, len(text) + 1)
        )


@pytest.mark.parametrize("order", [1, 2, 4, 6])
def test_bits_equal_those_of_a_plain_model(order):
    training, heldout = ([text.encode() for text in texts] for texts in (TRAINING, HELDOUT))
    plain = Plain(training, order)
    assert NGram(training, order).bits(heldout) == pytest.approx(
        [plain.bits(document, order) for document in heldout], rel=1e-9
    )


@pytest.mark.parametrize("context", [b"", b"the ", b"sat b", b"zzzzzz", "三只".encode()])
def test_probabilities_of_all_next_bytes_sum_to_one(context):
    model = NGram([text.encode() for text in TRAINING])
    before = model.bits([context])[0]
    after = model.bits([context + bytes([byte]) for byte in range(256)])
    assert sum(2 ** (before - bits) for bits in after) == pytest.approx(1, abs=1e-9)


def test_noise_costs_what_is_in_it():
    noise = np.random.default_rng(0).integers(0, 128, 40_000, dtype=np.uint8).tobytes()
    figures = baselines([noise[:20_000].decode()], [noise[20_000:].decode()])
    for name, figure in figures.items():
        assert 7 <= figure.value < 8, name  # 7 bits are in it; headers, and patterns seen by chance, cost the rest


def test_training_text_helps_with_the_same_text():
    text = "".join(TRAINING) * 20
    figures = {name: figure.value for name, figure in baselines([text], [text]).items()}
    assert figures["xz after training"] < figures["xz"]
    assert figures["gzip after training"] < figures["gzip"]
    assert figures["n-gram"] < 1


def test_compressors_are_those_of_the_command_line():
    text = " ".join(HELDOUT * 50 + TRAINING)
    figures = baselines(TRAINING, [text])
    size = len(text.encode())
    compress = zlib.compressobj(9, wbits=31)
    assert figures["gzip"].value == 8 * len(compress.compress(text.encode()) + compress.flush()) / size
    assert figures["xz"].value == 8 * len(lzma.compress(text.encode(), preset=9 | lzma.PRESET_EXTREME)) / size


def test_figures_say_how_many_texts_they_are_of():
    figures = baselines(TRAINING, HELDOUT)
    assert {figure.n for figure in figures.values()} == {3}
    assert {name for name, figure in figures.items() if figure.low is not None} == {"n-gram"}
