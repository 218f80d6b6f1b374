"""A step of the engine: one forward (prefill or decode) for all scheduled sequences, then sampling of next ids."""

from functools import partial

import torch

from groundup.codecs.text import Tokenizer
from groundup.core.errors import InputError
from groundup.generate.decode import Decoder
from groundup.generate.image_prefill import ImageEncoder
from groundup.generate.isolation import isolated
from groundup.generate.packing import PackedRow, hidden_states
from groundup.generate.prefill import Prefill
from groundup.generate.sampler import MASK_WAIT_IDLE, Sampler
from groundup.generate.scheduler import MAX_SEQUENCES, MAX_STEP_TOKENS, ScheduledChunk, Scheduler
from groundup.kernels.cpu.backend import CpuBackend
from groundup.kernels.cpu.kv_cache import CpuKVCache
from groundup.kernels.kv_cache import BLOCK_SIZE, KVCache, TorchKVCache
from groundup.model.transformer import Transformer


class StepRunner:
    """Runs a scheduler's chunks through the model: with the C kernels if there is a `backend`, else with torch."""

    def __init__(self, model: Transformer, tokenizer: Tokenizer, scheduler: Scheduler, backend: CpuBackend | None):
        self._model, self._scheduler = model, scheduler
        blocks, config = scheduler.blocks.count, model.config
        self.cache: KVCache
        self._decoder: Decoder | None = None
        if backend is None:
            self.cache = TorchKVCache(model.cache_specs, blocks, model.device, model.precision)
        else:
            tokens = MAX_STEP_TOKENS + config.patches
            self.cache = cpu = CpuKVCache(model.cache_specs, config, blocks, model.precision, backend, tokens)
            self._decoder = Decoder(model, cpu, backend, MAX_SEQUENCES, tokenizer.size)
        self._prefill = Prefill(model, self.cache, scheduler, tokenizer.size)
        self.images = ImageEncoder(model, scheduler)
        self._sampler = Sampler(scheduler, tokenizer, config.context)

    @torch.inference_mode()
    def run(self) -> bool:
        """Run one step, as `Engine.step` documents."""
        pending = [sequence for sequence in self._scheduler.running if sequence.pending_logits is not None]
        chunks = self._scheduler.schedule()
        if not chunks:
            self._sampler.resume(pending, MASK_WAIT_IDLE)
            return bool(pending)
        isolated(partial(self._forward, chunks), partial(self._recover, chunks))
        self._sampler.resume(pending, 0)
        return True

    def _forward(self, chunks: list[ScheduledChunk]) -> None:
        images = self.images.encode_chunks(chunks)
        chunks = [chunk for chunk in chunks if not chunk.sequence.ended]
        if not chunks:
            return
        positions_1R = self.cache.begin(chunks)
        self._scheduler.count(chunks)
        if self._decoder is not None and all(chunk.is_decode for chunk in chunks):
            best, logits_NV = self._decoder.decode([chunk.sequence.ids[-1] for chunk in chunks])
            for chunk in chunks:
                self._scheduler.mark_computed(chunk)
            self._sampler.sample([chunk.sequence for chunk in chunks], best, logits_NV)
        else:
            ready, logits_NV = self._prefill.forward(chunks, positions_1R, images)
            self._sampler.sample(ready, logits_NV.argmax(-1).tolist(), logits_NV)

    def _recover(self, chunks: list[ScheduledChunk], error: Exception) -> None:
        """End the sequences of a step whose forward raised. Raises if a block is lost or a test forward fails too."""
        self._scheduler.check()
        self._model.logits(hidden_states(self._model, [PackedRow([0])]))
        for chunk in chunks:
            self._scheduler.fail(chunk.sequence, error)


def fitting_context(model: Transformer, cache_bytes: int) -> int:
    """The model's context, or as much of it as a KV cache holds."""
    block_bytes = sum(spec.bytes(BLOCK_SIZE, model.precision.itemsize) for spec in model.cache_specs)
    return min(model.config.context, cache_bytes // block_bytes * BLOCK_SIZE)


def cache_blocks(model: Transformer, cache_bytes: int) -> int:
    """Number of blocks of a KV cache: as many as fit, at most the usable ones. Raises InputError for too few."""
    config, size = model.config, model.precision.itemsize
    block_bytes = sum(spec.bytes(BLOCK_SIZE, size) for spec in model.cache_specs)
    blocks = min(MAX_SEQUENCES * -(-config.context // BLOCK_SIZE), cache_bytes // block_bytes)
    if blocks * BLOCK_SIZE < config.context:
        needed = sum(spec.bytes(config.context + BLOCK_SIZE, size) for spec in model.cache_specs)
        raise InputError(
            f"a cache of {cache_bytes:,} bytes does not hold one context of {config.context} tokens; it needs"
            f" {needed:,}"
        )
    return blocks
