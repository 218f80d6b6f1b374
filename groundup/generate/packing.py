"""Packs rows of tokens, images and continuations into a batch with its attention mask, and runs it without a KV cache.

Shapes: B rows, T tokens and patches, D width, N patches.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from groundup.codecs.patches import Frame
from groundup.generate.image_inputs import ImageInput
from groundup.model.attention import Cache, document_mask
from groundup.model.transformer import Transformer
from groundup.model.vision.encoder import ImageInputs

MAX_TOKENS = 8192  # tokens and patches of one forward, padding included


@dataclass(frozen=True)
class PackedRow:
    """A prompt with its images, and `continuations`, each of which attends to the prompt and to itself (tree mask)."""

    ids: list[int]
    images: tuple[ImageInput, ...] = ()
    continuations: tuple[list[int], ...] = ()

    @property
    def size(self) -> int:
        """Tokens and patches in all."""
        return len(self.ids) + sum(map(len, self.continuations))

    @property
    def runs(self) -> list[tuple[int, list[int]]]:
        """Prompt and continuations, each with the position of its first token."""
        return [(0, self.ids), *((len(self.ids), ids) for ids in self.continuations)]


def batches(sizes: Sequence[int]) -> Iterator[list[int]]:
    """Group rows of these sizes into batches of similar rows and about MAX_TOKENS tokens, longest first; indices."""
    order = sorted(range(len(sizes)), key=lambda index: -sizes[index])
    while order:
        count = max(1, MAX_TOKENS // sizes[order[0]])
        yield order[:count]
        order = order[count:]


@torch.inference_mode()
def hidden_states(model: Transformer, rows: Sequence[PackedRow], cache: Cache | None = None) -> Tensor:
    """Final hidden states [B, T, D], padding included. A `cache` replaces the model's attention and its mask."""
    B, T = len(rows), max(row.size for row in rows)
    ids_BT, positions_BT = torch.zeros(B, T, dtype=torch.long), torch.arange(T).repeat(B, 1)
    for index, row in enumerate(rows):
        ids_BT[index, : row.size] = torch.tensor([id for _, ids in row.runs for id in ids], dtype=torch.long)
        if row.continuations:
            positions = [torch.arange(start, start + len(ids)) for start, ids in row.runs]
            positions_BT[index, : row.size] = torch.cat(positions)
    mask_BTT = attention_mask(rows, T)
    inputs = [each if each is None else each.to(model.device) for each in (ids_BT, positions_BT, mask_BTT)]
    images = [(index * T + image.position, image) for index, row in enumerate(rows) for image in row.images]
    states: Tensor = model(*inputs, cache, image_inputs(images, model.device) if images else None)
    return states


def attention_mask(rows: Sequence[PackedRow], T: int) -> Tensor | None:
    """The attention mask [B, T, T]; None for plain causal attention, as padding comes last.

    Patches of one image attend to each other in both directions; a continuation does not attend to the others.
    """
    if not any(row.images or row.continuations for row in rows):
        return None
    blocks_BT, branches_BT = (torch.full((len(rows), T), value) for value in (0, -1))
    for index, row in enumerate(rows):
        start = 0
        for branch, (_, ids) in enumerate(row.runs):
            branches_BT[index, start : start + len(ids)] = branch
            start += len(ids)
        for number, image in enumerate(row.images, 1):
            blocks_BT[index, image.position : image.end] = number
    own_BTT = (branches_BT[:, :, None] == branches_BT[:, None, :]) | (branches_BT == 0)[:, None, :]
    return document_mask(torch.zeros_like(blocks_BT), blocks_BT) & own_BTT


def image_inputs(images: Sequence[tuple[int, ImageInput]], device: torch.device) -> ImageInputs:
    """The model's inputs for images; each comes with the index of its first patch in the flattened rows."""
    patches_NP = np.concatenate([image.patches for _, image in images])
    index_N = np.concatenate([start + np.arange(image.grid.patches) for start, image in images])
    grid_N2 = np.concatenate([image.grid.coordinates() for _, image in images])
    patches, index, grid = (torch.from_numpy(array).to(device) for array in (patches_NP, index_N, grid_N2))
    frames = tuple(Frame(*image.grid, image.grid.patches) for _, image in images)
    return ImageInputs(patches, index, grid, frames=frames)


def patch_states(model: Transformer, rows: Sequence[PackedRow]) -> Iterator[tuple[int, list[Tensor]]]:
    """Yield the index of each row with the final hidden states [N, D] of each of its images, batch by batch."""
    for batch in batches([row.size for row in rows]):
        for index, states_TD in zip(batch, hidden_states(model, [rows[index] for index in batch]), strict=True):
            yield index, [states_TD[image.position : image.end] for image in rows[index].images]
