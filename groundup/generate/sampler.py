"""Samples the next id of each sequence from its logits and token mask. Shapes: N sequences, V vocabulary."""

import time
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from groundup.codecs.text import Tokenizer
from groundup.generate.grammar_pool import wait
from groundup.generate.request import OutputDelta, TokenLogprob
from groundup.generate.scheduler import Scheduler
from groundup.generate.sequence import SequenceState

MASK_WAIT = 0.005  # seconds a step waits for token masks of grammars while other sequences can continue
MASK_WAIT_IDLE = 0.02  # the same while no other can


class Sampler:
    """Samples ids from logits; ends a sequence at a stop token, a stop string, its limit, or the end of the context."""

    def __init__(self, scheduler: Scheduler, tokenizer: Tokenizer, context: int):
        self._scheduler, self._context = scheduler, context
        self._stop_ids = frozenset(tokenizer.ends)

    def sample(self, sequences: list[SequenceState], best: list[int], logits_NV: Tensor) -> None:
        """Sample the next id of each sequence (`best`: the argmax); sequences that await a mask keep their logits."""
        for index, sequence in enumerate(sequences):
            if sequence.is_greedy:
                self._scheduler.isolated(sequence, partial(self._append, sequence, best[index], ()))
            else:
                sequence.pending_logits = logits_NV[index].float()
        pending = [sequence for sequence in sequences if sequence.pending_logits is not None]
        self.resume(pending, MASK_WAIT)
        for sequence in pending:
            if sequence.pending_logits is not None:
                sequence.pending_logits = sequence.pending_logits.clone()  # the next step writes over the logits

    def resume(self, sequences: list[SequenceState], seconds: float) -> None:
        """Sample from pending logits whose token mask is ready, after waiting for masks at most so many seconds."""
        until = time.monotonic() + seconds
        while True:
            for sequence in sequences:
                if sequence.pending_logits is not None:
                    self._scheduler.isolated(sequence, partial(self._sample, sequence, sequence.pending_logits))
            pending = [sequence for sequence in sequences if sequence.pending_logits is not None]
            waiting = [sequence.constraint for sequence in pending if sequence.constraint is not None]
            if not waiting or (remaining := until - time.monotonic()) <= 0:
                return
            wait(waiting, remaining)

    def _sample(self, sequence: SequenceState, logits_V: Tensor) -> None:
        """Sample the next id, unless its token mask is not ready yet."""
        request, adjusted_V = sequence.request, logits_V
        mask = None if sequence.constraint is None else sequence.constraint.token_mask()
        if sequence.constraint is not None and mask is None:
            return
        sequence.pending_logits = None
        if request.sampling.adjusts_logits:
            adjusted_V = logits_V.clone()
            prompt = sequence.num_prompt_tokens
            request.sampling.adjust(adjusted_V, sequence.ids[:prompt], sequence.ids[prompt:])
        if mask is not None:
            adjusted_V = adjusted_V.masked_fill(~torch.from_numpy(mask).to(logits_V.device), float("-inf"))
        id = request.sampling.sample(adjusted_V, sequence.random)
        if sequence.constraint is not None and id not in self._stop_ids:
            sequence.constraint.accept(id)
        logprobs = () if request.logprobs is None else (token_logprob(logits_V, id, request.logprobs),)
        self._append(sequence, id, logprobs)

    def _append(self, sequence: SequenceState, id: int, logprobs: tuple[TokenLogprob, ...]) -> None:
        """Append an id to a sequence and emit its delta; end the sequence if the id is its last."""
        cached = (sequence.num_prefix_hits or 0) if len(sequence.ids) == sequence.num_prompt_tokens else 0
        prompt_logprobs, sequence.prompt_logprobs = tuple(sequence.prompt_logprobs), []
        if id in self._stop_ids:
            stop, text = logprobs[0] if logprobs else None, sequence.detokenizer.flush()
            self._scheduler.finish(sequence)
            return sequence.on_delta(OutputDelta(text, (), (), prompt_logprobs, "stop", cached, stop))
        sequence.ids.append(id)
        self._scheduler.stats.generated_tokens += 1
        text = sequence.detokenizer.feed(id)
        if not sequence.detokenizer.stopped and not self._is_full(sequence):
            return sequence.on_delta(OutputDelta(text, (id,), logprobs, prompt_logprobs, None, cached))
        text += sequence.detokenizer.flush()
        self._scheduler.finish(sequence)
        reason: Literal["stop", "length"] = "stop" if sequence.detokenizer.stopped else "length"
        return sequence.on_delta(OutputDelta(text, (id,), logprobs, prompt_logprobs, reason, cached))

    def _is_full(self, sequence: SequenceState) -> bool:
        length = len(sequence.ids)
        return length - sequence.num_prompt_tokens >= sequence.request.limit or length >= self._context


def token_logprob(logits_V: Tensor, id: int, top: int) -> TokenLogprob:
    """The log-probability of an id, and of the `top` likeliest ids, sorted."""
    logprobs_V = logits_V.log_softmax(-1)
    best, ids = logprobs_V.topk(top) if top else (logprobs_V[:0], logprobs_V[:0])
    return TokenLogprob(id, float(logprobs_V[id]), tuple(zip(ids.tolist(), best.tolist(), strict=True)))
