"""Decode: one new token a sequence. Shapes: B = 1 row, T = N sequences (one token each), D width, V vocabulary."""

import torch
from torch import Tensor

from groundup.kernels.cpu.backend import CapturedGraph, CpuBackend, argmax
from groundup.kernels.cpu.kv_cache import CpuKVCache
from groundup.kernels.kv_cache import CacheChunk
from groundup.model.transformer import Transformer


class Decoder:
    """The model's forward with one token a sequence, captured once as a graph of kernel calls and replayed each step.

    No Python runs between the kernels. Only ids below `vocab` are generated.
    """

    def __init__(self, model: Transformer, cache: CpuKVCache, backend: CpuBackend, sequences: int, vocab: int):
        self._ids_BT = torch.zeros((1, sequences), dtype=torch.int64)
        self._ids = self._ids_BT.numpy()[0]
        self._graph = backend.graph = CapturedGraph()
        with torch.inference_mode():
            x_BTD = model(self._ids_BT, cache.begin([CacheChunk(0, 1, [0])] * sequences), cache=cache)
            logits_NV = model.logits(x_BTD)[0]
            self._best_N = argmax(backend, logits_NV, vocab)
        self._logits_NV = logits_NV[:, :vocab]
        backend.graph = None
        self._graph.instantiate(backend)

    def decode(self, ids: list[int]) -> tuple[list[int], Tensor]:
        """Decode one token a sequence: the argmax after each id, and the logits [N, V], valid until the next call.

        The KV cache has begun the step (`KVCache.begin`).
        """
        self._ids[: len(ids)] = ids
        self._graph.replay(len(ids))
        return self._best_N[: len(ids)].tolist(), self._logits_NV[: len(ids)]
