"""Training targets of image patches: the next patch, masked patches, or the class and box of each patch."""

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from groundup.codecs import rotated_boxes
from groundup.codecs.detections import BOX_VALUES, to_rotated_targets, to_targets
from groundup.codecs.patches import to_patches
from groundup.data.augment import affine, augment, mixup
from groundup.data.image_examples import ImageExample
from groundup.data.image_shards import ShardImages, TrainingImage

MASKED = 0.6  # fraction of the patches that are hidden where masked ones are predicted (cf. arXiv:2111.06377)


@dataclass(frozen=True)
class PatchObjective:
    """The image objective and augmentation.

    `predict`: "next" patch, after a bidirectional prefix of random length (AIM, arXiv:2401.08541); "masked" patches
    among visible ones; "none", for instruction tuning: the whole image is visible, and its patches learn detection.
    `classes` are the model's detection classes, in order; with `mirror`, augmentation also flips; `rotated`: rotated
    boxes are regressed, else upright ones. `affine` is the strength of random rotations, shifts and scales.
    """

    predict: Literal["next", "masked", "none"]
    augment: float
    classes: tuple[str, ...]
    mirror: bool = False
    rotated: bool = False
    affine: float = 0.0

    def example(self, image: TrainingImage, images: ShardImages, random: np.random.Generator) -> ImageExample:
        """An image of a shard with its training targets; all randomness comes from `random`."""
        if self.affine:
            image = affine(image, self.affine, random)
        if self.augment or self.mirror:
            image = augment(image, self.augment, random, self.mirror)
            if self.predict == "none" and image.detections is None:  # no MixUp for patch prediction and detection
                image = mixup(image, images.random_pixels(random), self.augment, random)
        classes, boxes = self._detection_targets(image)
        N = image.grid.patches
        hidden, weights, prefix = np.zeros(N, bool), np.zeros(N, np.float32), N
        if self.predict == "next":
            prefix = int(random.integers(0, N))
            weights[max(0, prefix - 1) : N - 1] = 1
        elif self.predict == "masked":
            hidden[random.permutation(N)[: round(MASKED * N)]] = True
            weights[hidden] = 1
        patches, ahead = to_patches(image.pixels, image.side), int(self.predict == "next")
        return ImageExample(image.position, image.grid, patches, prefix, hidden, ahead, weights, classes, boxes)

    def _detection_targets(self, image: TrainingImage) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
        N, found = image.grid.patches, image.detections
        if self.predict != "none" or found is None or not self.classes:
            values = rotated_boxes.VALUES if self.rotated else BOX_VALUES
            return np.full(N, -1, np.int64), np.zeros((N, values), np.float32)
        numbers = np.array([self.classes.index(each.class_name) + 1 for each in found], np.int64)
        if self.rotated:
            return to_rotated_targets(np.array([each.outline for each in found]), numbers, image.grid)
        return to_targets(np.array([each.box for each in found], np.float32), numbers, image.grid)

    def without_augmentation(self) -> "PatchObjective":
        """The same objective without augmentation, for the held-out loss."""
        return replace(self, augment=0.0, mirror=False, affine=0.0)

    def fingerprint(self) -> dict[str, Any]:
        """The fields that decide the examples, under the names in checkpoints."""
        variants = {"augment": self.augment} | ({"mirror": True} if self.mirror else {})
        variants |= {"affine": self.affine} if self.affine else {}
        rotated = {"rotated": True} if self.rotated else {}
        return {"predict": self.predict, "kinds": self.classes, **variants, **rotated}
