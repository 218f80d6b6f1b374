"""The inference engine: takes requests and gives output deltas, for many sequences at a time (continuous batching)."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal

from torch import nn

from groundup.codecs.detections import Detection
from groundup.codecs.text import Tokenizer
from groundup.core import console
from groundup.core.errors import InputError
from groundup.device import Device
from groundup.generate.detection import Detector
from groundup.generate.embedding import Embedder
from groundup.generate.grammar import Grammar
from groundup.generate.image_inputs import ImageInput
from groundup.generate.packing import PackedRow
from groundup.generate.request import OutputDelta, Request, check_images
from groundup.generate.sampling import GREEDY, Sampling
from groundup.generate.scheduler import Scheduler
from groundup.generate.scoring import Scorer
from groundup.generate.sequence import OnDelta, SequenceState
from groundup.generate.step import StepRunner, cache_blocks, fitting_context
from groundup.kernels.cpu.backend import CpuBackend, cpu_backend, pack_weights
from groundup.kernels.cpu.matrix import Weights
from groundup.model import weights as files
from groundup.model.config import ModelConfig
from groundup.model.linear import Linear
from groundup.model.transformer import Transformer

CACHE_BYTES = 1 << 30  # of the KV cache, by default


class Engine:
    """Generates with a model: `add` requests and `step` until none is left, or `complete` or `stream`. One thread only.

    Raises InputError for a tokenizer with ids that the model lacks, and for a KV cache smaller than one context.
    """

    def __init__(
        self,
        model: Transformer,
        tokenizer: Tokenizer,
        backend: CpuBackend | None = None,
        cache_bytes: int = CACHE_BYTES,
    ):
        if tokenizer.size > model.config.vocab:
            raise InputError(
                f"the tokenizer has {tokenizer.size} ids, the model {model.config.vocab}; they do not belong together"
            )
        self.model, self.tokenizer = model, tokenizer
        self.scheduler = Scheduler(cache_blocks(model, cache_bytes))
        self._steps = StepRunner(model, tokenizer, self.scheduler, backend)
        self.scorer, self.detector, self.embedder = Scorer(model), Detector(model, tokenizer), Embedder(model)

    @staticmethod
    def load(
        folder: Path,
        device: Device,
        precision: Literal["auto", "bf16", "fp32"] = "auto",
        weights: Weights = "full",
        cache_bytes: int = CACHE_BYTES,
    ) -> "Engine":
        """Load the engine of a model folder, with matrices in the precision of the products, or in int8 or int4.

        A context that the cache does not hold is cut to what it holds, with a warning.
        Raises InputError as `weights.load`, `Tokenizer.load` and `pack_weights` do.
        """
        model = files.load(folder, device.handle, device.precision(precision))
        if 0 < (context := fitting_context(model, cache_bytes)) < model.config.context:
            console.warn(
                f"{folder}: of its context of {model.config.context:,} tokens the cache of {cache_bytes:,} bytes holds"
                f" {context:,}; longer prompts are refused"
            )
            model.config = replace(model.config, context=context)
        backend = cpu_backend(model.config) if device.is_host else None
        pack_weights(model, weights, backend)
        for module in model.modules():
            if isinstance(module, Linear | nn.Embedding) and isinstance(module.weight, nn.Parameter):
                module.weight.data = module.weight.data.to(model.precision)
        return Engine(model, Tokenizer.load(folder), backend, cache_bytes)

    @property
    def config(self) -> ModelConfig:
        """The model's config."""
        return self.model.config

    def complete(
        self, prompts: Sequence[list[int]], limit: int, sampling: Sampling = GREEDY, advance: Callable[[int],
        None] = lambda done: None,
        images: Sequence[tuple[ImageInput, ...]] = (), grammar: Grammar | None = None,
    ) -> list[list[int]]:  # fmt: skip
        """Continue each prompt by up to `limit` ids, to an end-of-text id (left out) or the context's end.

        `grammar` constrains each continuation; `images` has the images of each prompt; `advance` is called with the
        number of newly finished prompts. Raises InputError as `Request.check` does.
        """
        requests = [
            Request(prompt, limit, sampling, number, grammar=grammar, images=images[number] if images else ())
            for number, prompt in enumerate(prompts)
        ]
        for request in requests:
            self.check(request)
        continuations: list[list[int]] = [[] for _ in prompts]
        ends: list[OutputDelta] = []

        def on_delta(number: int, delta: OutputDelta) -> None:
            continuations[number] += delta.ids
            if delta.finish or delta.error:
                ends.append(delta)

        sequences = [self.add(request, partial(on_delta, number)) for number, request in enumerate(requests)]
        try:
            while self.step():
                if ends:
                    advance(sum(_sound(delta).finish is not None for delta in ends))
                    ends.clear()
        finally:
            for sequence in sequences:
                self.cancel(sequence)
        return continuations

    def stream(
        self, prompt: list[int], limit: int, sampling: Sampling = GREEDY, images: tuple[ImageInput, ...] = ()
    ) -> Iterator[int]:
        """Continue one prompt; yields each id as it is generated."""
        deltas: list[OutputDelta] = []
        sequence = self.add(Request(prompt, limit, sampling, images=images), deltas.append)
        return self._ids(sequence, deltas)

    def _ids(self, sequence: SequenceState, deltas: list[OutputDelta]) -> Iterator[int]:
        try:
            while self.step():
                for delta in deltas:
                    yield from _sound(delta).ids
                deltas.clear()
        finally:
            self.cancel(sequence)

    def add(self, request: Request, on_delta: OnDelta) -> SequenceState:
        """Queue a request; `on_delta` is called with its output deltas. Raises InputError as `check` does."""
        self.check(request)
        sequence = SequenceState(request, self.tokenizer, on_delta)
        self.scheduler.waiting.append(sequence)
        return sequence

    def cancel(self, sequence: SequenceState) -> None:
        """End a sequence without a further delta; its cache blocks are free at once."""
        self.scheduler.finish(sequence)

    def check(self, request: Request) -> None:
        """Raise InputError for a request that cannot be answered."""
        request.check(self.config, self.tokenizer.size)

    def step(self) -> bool:
        """Run one forward: decode the next id of each sequence and prefill a chunk of prompts. False without work.

        An exception in the work or callback of one sequence ends that sequence; one in the forward ends all sequences
        of the step. Raises only if the engine itself is broken.
        """
        return self._steps.run()

    def embed(self, ids: list[int], images: Sequence[ImageInput] = ()) -> list[float]:
        """The embedding [D] of a text or its images (`Embedder.embed`). Raises InputError for unusable input."""
        if not 0 < len(ids) <= self.config.context:
            raise InputError(f"a text of {len(ids)} tokens cannot be embedded; it must have 1 to {self.config.context}")
        check_images(images, len(ids), self.config)
        return self.embedder.embed(PackedRow(ids, tuple(images)))

    def detect(self, image: ImageInput) -> list[Detection]:
        """The detections in one image, sorted by score; raises InputError for a model without a detection head."""
        self.detector.require()
        row = self.detector.row(image)
        check_images(row.images, len(row.ids), self.config)
        [[detections]] = self.detector.detect([row])
        return detections


def _sound(delta: OutputDelta) -> OutputDelta:
    """The delta if it has no error. Raises InputError for an error of the request, RuntimeError for the engine's."""
    if delta.error is not None:
        raise InputError(delta.error) if delta.fault == "request" else RuntimeError(delta.error)
    return delta
