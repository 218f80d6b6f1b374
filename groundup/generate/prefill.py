"""Prefill: the forward of a step's prompt tokens. Shapes: R tokens, N sequences or patches, D width, V vocabulary."""

from collections.abc import Mapping
from functools import partial
from math import nan

import torch
from torch import Tensor

from groundup.generate.image_prefill import image_embeddings
from groundup.generate.request import TokenLogprob
from groundup.generate.sampler import token_logprob
from groundup.generate.scheduler import ScheduledChunk, Scheduler
from groundup.generate.sequence import SequenceState
from groundup.kernels.kv_cache import KVCache
from groundup.model.transformer import Transformer

ECHO_CHUNK = 64  # prompt positions whose logits are in memory at a time


class Prefill:
    """Prefills: runs the model over one row that holds the chunks of all sequences of a step, one after the other."""

    def __init__(self, model: Transformer, cache: KVCache, scheduler: Scheduler, vocab: int):
        self._model, self._cache, self._scheduler, self._vocab = model, cache, scheduler, vocab

    def forward(
        self, chunks: list[ScheduledChunk], positions_1R: Tensor, images: Mapping[SequenceState, Tensor]
    ) -> tuple[list[SequenceState], Tensor]:
        """Prefill the chunks of a step; returns the sequences that are fully prefilled, and their next logits [N, V].

        The KV cache has begun the step (`KVCache.begin`).
        """
        ids_1R = torch.tensor([[id for chunk in chunks for id in chunk.ids]], device=self._model.device)
        x_RD = self._model(ids_1R, positions_1R, cache=self._cache, images=image_embeddings(chunks, images))[0]
        ready, last, row = [], [], 0
        for chunk in chunks:
            sequence, states = chunk.sequence, x_RD[row : row + chunk.count]
            row += chunk.count
            if sequence.request.echo and chunk.start < sequence.num_prompt_tokens:
                self._scheduler.isolated(sequence, partial(self._echo, chunk, states))
            if sequence.ended:
                continue
            self._scheduler.mark_computed(chunk)
            if not sequence.num_remaining_tokens:
                ready.append(sequence)
                last.append(row - 1)
        return ready, self._logits(x_RD[last]) if ready else x_RD[:0]

    def _logits(self, x_ND: Tensor) -> Tensor:
        logits_NV: Tensor = self._model.logits(x_ND[None])[0, :, : self._vocab]
        return logits_NV

    def _echo(self, chunk: ScheduledChunk, x_RD: Tensor) -> None:
        """Add the log-probabilities of the prompt ids that these states predict (`echo`); nan for the first id."""
        sequence, start = chunk.sequence, chunk.start
        targets = sequence.ids[start + 1 : min(start + 1 + len(x_RD), sequence.num_prompt_tokens)]
        logprobs = [] if start else [TokenLogprob(sequence.ids[0], nan)]
        for at in range(0, len(targets), ECHO_CHUNK):
            ids = targets[at : at + ECHO_CHUNK]
            logits_NV = self._logits(x_RD[at : at + len(ids)]).float()
            top = sequence.request.logprobs or 0
            logprobs += [token_logprob(logits_V, id, top) for logits_V, id in zip(logits_NV, ids, strict=True)]
        sequence.prompt_logprobs += logprobs
