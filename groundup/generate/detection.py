"""Detection from per-patch class and box regression. Shapes: N patches, D width, C classes."""

from collections.abc import Sequence

import torch
from torch import Tensor

from groundup.codecs.detections import Detection, Floats, from_predictions
from groundup.codecs.text import Tokenizer
from groundup.core.errors import InputError
from groundup.generate.image_inputs import ImageInput, user_turn
from groundup.generate.packing import PackedRow, patch_states
from groundup.model.transformer import Transformer


class Detector:
    """Runs the detection head of a model, on single images or on the images of a prompt."""

    def __init__(self, model: Transformer, tokenizer: Tokenizer):
        self._model, self._tokenizer = model, tokenizer

    def require(self) -> None:
        """Raise InputError for a model without a detection head."""
        if self._model.vision is None or not self._model.config.classes:
            raise InputError("the model has no detection head; use one that was tuned on a source of boxes")

    def row(self, image: ImageInput) -> PackedRow:
        """The prompt of a user's turn with one image, up to the end of the image."""
        return PackedRow(*user_turn(self._tokenizer, image))

    def detect(self, rows: Sequence[PackedRow]) -> list[list[list[Detection]]]:
        """Detections in each image of each row, sorted by score; raises InputError as `require` does."""
        self.require()
        detections: list[list[list[Detection]]] = [[] for _ in rows]
        for index, states in patch_states(self._model, rows):
            for image, x_ND in zip(rows[index].images, states, strict=True):
                detections[index].append(
                    from_predictions(*self._head(x_ND), image.grid, list(self._model.config.classes))
                )
        return detections

    def per_patch(self, image: ImageInput) -> tuple[Floats, Floats]:
        """Class probabilities [N, 1 + C] and box values [N, 4] of an image's patches. Raises as `require`."""
        self.require()
        [(_, [x_ND])] = patch_states(self._model, [self.row(image)])
        return self._head(x_ND)

    @torch.inference_mode()
    def _head(self, x_ND: Tensor) -> tuple[Floats, Floats]:
        assert self._model.vision is not None, "checked"
        scores, values = self._model.vision.detect(x_ND)
        return scores.softmax(-1).cpu().numpy(), values.cpu().numpy()
