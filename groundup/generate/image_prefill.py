"""Image embeddings of a step: the vision encoder on the patches in the scheduled chunks. Shapes: N patches, D width."""

from collections.abc import Mapping
from functools import partial

import torch
from torch import Tensor

from groundup.generate.image_inputs import ImageInput
from groundup.generate.packing import image_inputs
from groundup.generate.scheduler import ScheduledChunk, Scheduler
from groundup.generate.sequence import SequenceState
from groundup.model.transformer import Transformer
from groundup.model.vision.encoder import ImageEmbeddings


class ImageEncoder:
    """Runs the vision encoder of a model, image by image; a sequence whose image fails is ended."""

    def __init__(self, model: Transformer, scheduler: Scheduler):
        self._model, self._scheduler = model, scheduler

    def encode_chunks(self, chunks: list[ScheduledChunk]) -> dict[SequenceState, Tensor]:
        """The embeddings [N, D] of each sequence with patches in its chunk."""
        encoded = {
            chunk.sequence: self._scheduler.isolated(chunk.sequence, partial(self._chunk, chunk))
            for chunk in chunks
            if chunk.image_spans
        }
        return {sequence: x_ND for sequence, x_ND in encoded.items() if x_ND is not None}

    def _chunk(self, chunk: ScheduledChunk) -> Tensor:
        """The embeddings [N, D] of a chunk's patches: of each image from the first patch that is not in the cache."""
        images = chunk.sequence.images_within(chunk.start, chunk.start + chunk.count)
        return torch.cat([self.encode(image)[max(0, chunk.start - image.position) :] for image in images])

    def encode(self, image: ImageInput) -> Tensor:
        """The embeddings of a whole image, [N, D]: products of fewer rows might differ in bits."""
        assert self._model.vision is not None, "requests with images are checked"
        x_ND: Tensor = self._model.vision(image_inputs([(0, image)], self._model.device), self._model.precision)
        return x_ND


def image_embeddings(chunks: list[ScheduledChunk], encoded: Mapping[SequenceState, Tensor]) -> ImageEmbeddings | None:
    """The embeddings of a step's patches with their positions in the packed row; None without patches."""
    vectors, places, row = [], [], 0
    for chunk in chunks:
        if (x_ND := encoded.get(chunk.sequence)) is not None:
            vectors.append(x_ND)
            places += [
                torch.arange(max(first, chunk.start), end) - chunk.start + row for first, end in chunk.image_spans
            ]
        row += chunk.count
    return ImageEmbeddings(torch.cat(vectors), torch.cat(places).to(vectors[0].device)) if vectors else None
