"""Scores given continuations: their log-probabilities (natural), and the last token's attention weights.

Shapes: B rows, T tokens, D width, H query heads, E features a head, N positions, C continuations, V vocabulary.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from groundup.generate.packing import PackedRow, attention_mask, batches, hidden_states
from groundup.model.attention import KVCacheSpec, fused_attention, window_mask
from groundup.model.transformer import Transformer

CHUNK = 1024  # positions whose logits are in memory at a time
TREE_TOKENS = 1024  # tokens of continuations of one prompt in a row: more of them take several rows


@dataclass(frozen=True)
class ScoredText:
    """At most context + 1 ids, of which those from index `first` (1 or more) are scored."""

    ids: list[int]
    first: int


class Scorer:
    """Log-probabilities under a model, many rows a forward."""

    def __init__(self, model: Transformer):
        self._model = model

    @torch.inference_mode()
    def negative_log_likelihoods(
        self, texts: Sequence[ScoredText], advance: Callable[[int], None] = lambda done: None
    ) -> list[float]:
        """-log p(ids[first:] | ids[:first]) of each text. `advance` is called with numbers of finished texts."""
        sums = [0.0] * len(texts)
        for batch in batches([len(text.ids) for text in texts]):
            for index, value in zip(batch, self._batch([texts[index] for index in batch]), strict=True):
                sums[index] = value
            advance(len(batch))
        return sums

    def _batch(self, texts: list[ScoredText]) -> list[float]:
        longest, device = max(len(text.ids) for text in texts), self._model.device
        ids_BT = torch.tensor([text.ids + [0] * (longest - len(text.ids)) for text in texts], device=device)
        index_T = torch.arange(1, longest, device=device)
        first_B1, length_B1 = (
            torch.tensor(values, device=device)[:, None]
            for values in ([text.first for text in texts], [len(text.ids) for text in texts])
        )
        scored_BT = (index_T >= first_B1) & (index_T < length_B1)
        x_BTD = hidden_states(self._model, [PackedRow(text.ids[:-1]) for text in texts])
        nll_N = self._negative_log_likelihood(x_BTD[scored_BT], ids_BT[:, 1:][scored_BT])
        sums_B = torch.zeros(len(texts), device=device).index_add_(0, scored_BT.nonzero()[:, 0], nll_N)
        return sums_B.tolist()

    def _negative_log_likelihood(self, x_ND: Tensor, targets_N: Tensor) -> Tensor:
        """-log p of each target, [N], fp32; chunked over positions."""
        chunks = [slice(start, start + CHUNK) for start in range(0, len(x_ND), CHUNK)]
        return torch.cat(
            [
                F.cross_entropy(self._model.logits(x_ND[each]).float(), targets_N[each], reduction="none")
                for each in chunks
            ]
        )

    @torch.inference_mode()
    def log_probabilities(self, rows: Sequence[PackedRow], continuations: Sequence[list[int]]) -> Tensor:
        """log p(continuation | row) for each row and each of the same continuations, [B, C], fp32."""
        groups = [continuations[start:stop] for start, stop in _groups([len(ids) for ids in continuations])]
        return torch.cat([self._tree(rows, group) for group in groups], 1)

    def _tree(self, rows: Sequence[PackedRow], continuations: Sequence[list[int]]) -> Tensor:
        branches = tuple(ids[:-1] for ids in continuations)  # the last id predicts nothing
        targets_N = torch.tensor([id for ids in continuations for id in ids], device=self._model.device)
        owner_N = torch.tensor([index for index, ids in enumerate(continuations) for _ in ids])
        sums_BC = torch.zeros(len(rows), len(continuations))
        trees = [replace(row, continuations=branches) for row in rows]
        for batch in batches([tree.size for tree in trees]):
            x_BTD = hidden_states(self._model, [trees[index] for index in batch])
            for index, x_TD in zip(batch, x_BTD, strict=True):
                x_ND = x_TD[_predicting(len(rows[index].ids), branches)]
                sums_BC[index].index_add_(0, owner_N, -self._negative_log_likelihood(x_ND, targets_N).cpu())
        return sums_BC

    @torch.inference_mode()
    def attention_weights(self, row: PackedRow) -> list[npt.NDArray[np.float32]]:
        """Attention weights of a row's last token in the last layer, mean of the heads: for each image [N]."""
        row = replace(row, continuations=())
        mask_BTT = attention_mask([row], row.size)
        recorder = _AttentionRecorder(
            None if mask_BTT is None else mask_BTT.to(self._model.device), self._model.cache_specs
        )
        hidden_states(self._model, [row], recorder)
        weights_T = recorder.weights()
        return [weights_T[image.position : image.end].cpu().numpy() for image in row.images]


class _AttentionRecorder:
    """A `Cache` without past tokens: it attends under a mask, and records queries and keys of the last layer called."""

    def __init__(self, mask_BTT: Tensor | None, specs: Sequence[KVCacheSpec]):
        self._mask_BTT, self._specs = mask_BTT, specs

    def attend(self, layer: int, q_BTHE: Tensor, k_BTKE: Tensor, v_BTKE: Tensor) -> Tensor:
        """Plain attention within the row."""
        self._q_HE, self._k_TKE, window = q_BTHE[0, -1].float(), k_BTKE[0].float(), self._specs[layer].window
        self._beyond = slice(0, -window if window else 0)  # keys that the last query does not attend to
        positions_1T = torch.arange(k_BTKE.shape[1], device=k_BTKE.device)[None]
        return fused_attention(q_BTHE, k_BTKE, v_BTKE, window_mask(positions_1T, window, self._mask_BTT))

    def weights(self) -> Tensor:
        """Attention weights of the last query, mean of the heads, [T]."""
        heads, E = self._q_HE.shape
        k_THE = self._k_TKE.repeat_interleave(heads // self._k_TKE.shape[1], 1)
        scores_HT = torch.einsum("he,the->ht", self._q_HE, k_THE) * E**-0.5
        scores_HT[:, self._beyond] = float("-inf")
        weights_T: Tensor = scores_HT.softmax(-1).mean(0)
        return weights_T


def _groups(sizes: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Group neighbouring continuations of at most TREE_TOKENS tokens in all; a longer one is alone."""
    start, total = 0, 0
    for index, size in enumerate(sizes):
        if index > start and total + size > TREE_TOKENS:
            yield start, index
            start, total = index, 0
        total += size
    yield start, len(sizes)


def _predicting(prompt: int, branches: Sequence[list[int]]) -> list[int]:
    """Positions whose states predict the ids: a continuation's first at the prompt's end, the rest in its branch."""
    positions, start = [], prompt
    for branch in branches:
        positions += [prompt - 1, *range(start, start + len(branch))]
        start += len(branch)
    return positions
