"""llama.cpp as the judge: `xllamacpp`, its prebuilt wheel, loads a GGUF file in this process."""

import json
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest

# of ten scripts: letters (Latin, Cyrillic, Greek, Arabic, Hebrew, Devanagari, Han, kana, Hangul, Thai)
SCRIPTS = ((0x61, 0x7A), (0x430, 0x44F), (0x3B1, 0x3C9), (0x627, 0x63A), (0x5D0, 0x5EA), (0x905, 0x939),
           (0x4E00, 0x9FA5), (0x3041, 0x30F6), (0xAC00, 0xD7A3), (0xE01, 0xE2E))  # fmt: skip
MARKS = (" ", " ", " ", " ", " ", "  ", "\n", "\n\n", "\t", ", ", ". ", "! ", "'s ", "'LL ", " (", ") ", "-", "/", "…")


def texts(count: int = 1000) -> list[str]:
    """Texts in ten scripts: words, numbers, capitals, spaces and marks; all NFC."""
    draw = random.Random(0)
    return [_text(draw, SCRIPTS[number % len(SCRIPTS)]) for number in range(count)]


@cache
def _alphabet(first: int, last: int) -> str:
    return "".join(filter(str.isalpha, map(chr, range(first, last + 1))))


def _text(draw: random.Random, letters: tuple[int, int]) -> str:
    def word() -> str:
        if draw.random() < 0.15:
            return str(draw.randrange(10 ** draw.randrange(1, 9)))
        latin = draw.random() < 0.2
        found = "".join(draw.choices(_alphabet(*(SCRIPTS[0] if latin else letters)), k=draw.randint(1, 9)))
        return found.capitalize() if draw.random() < 0.2 else found

    return "".join(word() + draw.choice(MARKS) for _ in range(draw.randint(1, 8)))


class LlamaCpp:
    """A loaded model."""

    def __init__(self, server: Any):
        self._server = server  # it ends with this object

    def post(self, path: str, body: Any) -> Any:
        """The answer of its HTTP server."""
        head = {"Content-Type": "application/json"}
        with urlopen(Request(self._server.listening_address + path, json.dumps(body).encode(), head)) as answer:
            return json.loads(answer.read())

    def ids(self, text: str, special: bool = False) -> list[int]:
        """The ids of a text; with `special`, control tokens are read in it."""
        found: list[int] = self.post("/tokenize", {"content": text, "add_special": False, "parse_special": special})[
            "tokens"
        ]
        return found

    def greedy(self, ids: Sequence[int], count: int, tops: int = 2) -> tuple[list[int], list[dict[str, Any]]]:
        """The ids that it generates behind a prompt, and `id`, `logprob` and `top_logprobs` of each.

        Tokens that end inside a character have no probabilities there.
        """
        wanted = {"n_predict": count, "temperature": 0, "n_probs": tops, "return_tokens": True, "cache_prompt": False}
        found = self.post("/completion", {"prompt": list(ids), **wanted})
        return found["tokens"], found.get("completion_probabilities", [])


@contextmanager
def llama_cpp(path: Path, context: int = 512) -> Iterator[LlamaCpp]:
    """Load a GGUF file on one thread. Skips the test where xllamacpp is not installed."""
    xllamacpp = pytest.importorskip("xllamacpp")
    wanted = xllamacpp.CommonParams()
    wanted.model.path = str(path)
    wanted.cache_type_k = wanted.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32  # else it rounds keys and values
    wanted.n_ctx, wanted.n_parallel, wanted.n_gpu_layers = context, 1, 0
    wanted.cpuparams.n_threads = wanted.cpuparams_batch.n_threads = 1
    wanted.port, wanted.warmup, wanted.verbosity = 0, False, -1
    yield LlamaCpp(xllamacpp.Server(wanted))
