"""Engines on small random models."""

import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch

from groundup.codecs.text import Tokenizer
from groundup.generate.engine import CACHE_BYTES, Engine
from groundup.generate.request import OutputDelta, Request
from groundup.generate.service import Service
from groundup.kernels.cpu.backend import cpu_backend, pack_weights
from groundup.model.transformer import Transformer
from tests.random_models import CONFIG, random_model


@dataclass
class Ids:
    """All that the engine asks of a tokenizer; the ends are ids that the random model likes to say."""

    size: int = CONFIG.vocab
    im_end: int = 26
    end: int = 40

    @property
    def ends(self) -> tuple[int, ...]:
        return (self.im_end, self.end)

    def token_bytes(self, id: int) -> bytes:
        return f"{id} ".encode()


@dataclass
class Heard:
    """Listens to one answer."""

    pieces: list[OutputDelta] = field(default_factory=list)

    def __call__(self, piece: OutputDelta) -> None:
        self.pieces.append(piece)

    @property
    def ids(self) -> list[int]:
        return [id for piece in self.pieces for id in piece.ids]

    @property
    def text(self) -> str:
        return "".join(piece.text for piece in self.pieces)

    @property
    def logprobs(self) -> list[Any]:
        return [logprob for piece in self.pieces for logprob in piece.logprobs]

    @property
    def finish(self) -> str | None:
        return self.pieces[-1].finish if self.pieces else None


class Waited(Heard):
    """Heard, and told when the end has come."""

    def __init__(self) -> None:
        super().__init__()
        self.ended = threading.Event()

    def __call__(self, piece: OutputDelta) -> None:
        super().__call__(piece)
        if piece.finish or piece.error:
            self.ended.set()


def answers(service: Service, *requests: Request) -> list[Waited]:
    """What a service answers, once all of it has come."""
    heard = [Waited() for _ in requests]
    for request, listen in zip(requests, heard, strict=True):
        service.submit(request, listen)
    assert all(each.ended.wait(120) for each in heard)
    return heard


def native_model(
    precision: torch.dtype = torch.float32, weights: Any = "full", **changes: object
) -> tuple[Transformer, Any]:
    model = random_model(precision=precision, **changes)
    backend = cpu_backend(model.config)
    if backend is None:
        pytest.skip("no C compiler")
    pack_weights(model, weights, backend)
    return model, backend


def engine(
    native: bool = False,
    tokenizer: Any = None,
    cache_bytes: int = CACHE_BYTES,
    precision: torch.dtype = torch.float32,
    **changes: object,
) -> Engine:
    model, backend = (
        native_model(precision, **changes) if native else (random_model(precision=precision, **changes), None)
    )
    return Engine(model, tokenizer or Ids(), backend, cache_bytes)


def ask(engine: Engine, *requests: Request) -> list[Heard]:
    """Add all at once and run to the end."""
    heard = [Heard() for _ in requests]
    for request, listen in zip(requests, heard, strict=True):
        engine.add(request, listen)
    while engine.step():
        pass
    engine.scheduler.check()
    return heard


def random_prompts(count: int, longest: int = 40, seed: int = 11) -> list[list[int]]:
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, longest, (count,), generator=generator).tolist()
    return [torch.randint(0, CONFIG.vocab, (length,), generator=generator).tolist() for length in lengths]


def small_tokenizer(folder: Path) -> Tokenizer:
    tokenizer = Tokenizer.learn(["one two three four five six seven eight nine ten " * 20], 290)
    tokenizer.save(folder)
    return Tokenizer.load(folder)


@torch.no_grad()
def recompute(model: Transformer, prompt: list[int], limit: int) -> list[int]:
    """Greedy continuation without a cache: one forward over the whole text for every id."""
    ids = list(prompt)
    while len(ids) < min(len(prompt) + limit, model.config.context):
        states = model(torch.tensor([ids]), torch.arange(len(ids))[None])
        ids.append(int(model.logits(states[0, -1]).argmax()))
    return ids[len(prompt) :]
