"""Images of a batch with their training targets, and the interface of the image objective that makes them."""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from groundup.codecs.patches import Patches, PatchGrid
from groundup.data.image_shards import ShardImages, TrainingImage


@dataclass(frozen=True, eq=False)
class ImageExample:
    """The patches of an image with their targets. Shapes: N patches of P values."""

    position: int  # of the first patch in its row of tokens
    grid: PatchGrid
    patches: Patches  # [N, P]
    prefix: int  # number of first patches that attend to each other in both directions (bidirectional prefix)
    hidden: npt.NDArray[np.bool_]  # [N], True: masked in the model's input
    ahead: int  # a patch predicts the patch so many positions later
    weights: npt.NDArray[np.float32]  # [N], 1 where the predicted patch counts in the loss
    classes: npt.NDArray[np.int64]  # [N], 0 background, from 1 the classes of the objective, -1 not annotated
    boxes: npt.NDArray[np.float32]  # [N, 4], regression targets (`codecs.detections.to_targets`)

    @property
    def supervised(self) -> npt.NDArray[np.bool_]:
        """The patches with a loss, [N]."""
        return (self.weights > 0) | (self.classes >= 0)

    @property
    def count(self) -> int:
        """How many predictions of patches, and of classes, count in the loss."""
        return int(self.weights.sum()) + int((self.classes >= 0).sum())


class ImageObjective(Protocol):
    """The image objective of a stage: targets and augmentation of images (`train.patch_objective`)."""

    def example(self, image: TrainingImage, images: ShardImages, random: np.random.Generator) -> ImageExample:
        """An image of a shard with its training targets; all randomness comes from `random`."""

    def without_augmentation(self) -> "ImageObjective":
        """The same objective without augmentation, for the held-out loss."""

    def fingerprint(self) -> dict[str, Any]:
        """The fields that decide the examples, as JSON."""
