"""Decode: the forward of a step in which each sequence computes its newest token.

Shapes: B = 1 row, T sequences (one token each), N sequences, D width, V vocabulary.
"""

import torch
from torch import Tensor

from groundup.kernels.cpu.kv_cache import CpuKVCache
from groundup.kernels.cpu.modules import Tape, Workshop, best
from groundup.kernels.kv_cache import CacheChunk
from groundup.model.transformer import Transformer


class Decoder:
    """The model's own forward, captured once as a graph of kernel calls and replayed for each step.

    Only the Python program around the kernels is left out. Ids below `vocab` may be generated.
    """

    def __init__(self, model: Transformer, cache: CpuKVCache, shop: Workshop, sequences: int, vocab: int):
        self._ids_BT = torch.zeros((1, sequences), dtype=torch.int64)
        self._ids = self._ids_BT.numpy()[0]
        self._tape = shop.tape = Tape()
        with torch.inference_mode():
            x_BTD = model(self._ids_BT, cache.begin([CacheChunk(0, 1, [0])] * sequences), cache=cache)
            logits_NV = model.logits(x_BTD)[0]
            self._best_N = best(shop, logits_NV, vocab)
        self._logits_NV = logits_NV[:, :vocab]
        shop.tape = None
        self._tape.wind(shop)

    def decode(self, ids: list[int]) -> tuple[list[int], Tensor]:
        """The argmax after each id of the step that the cache has begun, and the logits [N, V], until the next call."""
        self._ids[: len(ids)] = ids
        self._tape.play(len(ids))
        return self._best_N[: len(ids)].tolist(), self._logits_NV[: len(ids)]
