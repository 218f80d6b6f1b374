"""Embeddings of texts and images: mean-pooled final hidden states. Shapes: T tokens, N patches, D width."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import normalize

from groundup.generate.packing import PackedRow, hidden_states, patch_states
from groundup.model.transformer import Transformer


class Embedder:
    """Computes embeddings from a model's final hidden states."""

    def __init__(self, model: Transformer):
        self._model = model

    @torch.inference_mode()
    def embed(self, row: PackedRow) -> list[float]:
        """The mean state of a row's tokens, or of its patches if it has images, normalised to length 1, [D]."""
        if row.images:
            [(_, images)] = patch_states(self._model, [row])
            x_ND = torch.cat(images)
        else:
            x_ND = hidden_states(self._model, [row])[0]
        vector: list[float] = normalize(x_ND.float().mean(0), dim=0).tolist()
        return vector

    def patches(self, rows: Sequence[PackedRow]) -> list[list[Tensor]]:
        """The final hidden states [N, D] of the patches of each image of each row."""
        states: list[list[Tensor]] = [[] for _ in rows]
        for index, images in patch_states(self._model, rows):
            states[index] = images
        return states
