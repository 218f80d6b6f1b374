"""The fields of a model's config that are of its vision encoder."""

from dataclasses import dataclass

from groundup.codecs import rotated_boxes
from groundup.codecs.detections import BOX_VALUES
from groundup.model.vision.tower import VisionTowerConfig


@dataclass(frozen=True, kw_only=True)
class VisionFields:
    """Every number that fixes a vision encoder; `ModelConfig` has them too."""

    patch: int = 0  # pixels a side of an image's patches; 0: no image input
    patches: int = 0  # most patches of an image
    classes: tuple[str, ...] = ()  # of detections
    tower: VisionTowerConfig | None = None  # pretrained vision tower; None: a patch stem on the pixels
    rotated: bool = False  # whether detections have rotated boxes

    @property
    def patch_values(self) -> int:
        """Values of a patch: red, green and blue of each pixel."""
        return 3 * self.patch**2

    @property
    def part(self) -> int:
        """Pixels a side of the patch stem's squares: 4, or the next larger divisor of the patch; 0: no image input."""
        return next((side for side in range(min(4, self.patch) or 1, self.patch + 1) if self.patch % side == 0), 0)

    @property
    def part_features(self) -> int:
        """Features of a square of the patch stem: four a pixel, a third more than its colour values."""
        return 4 * self.part**2

    @property
    def seen_values(self) -> int:
        """Input features of a patch: those of the patch stem, or of the vision tower."""
        return 4 * self.patch**2 if self.tower is None else self.tower.hidden_size

    @property
    def label_values(self) -> int:
        """Outputs of the detection head: class scores (no detection, each class) and a box; 0 without classes."""
        return 1 + len(self.classes) + self.box_values if self.classes else 0

    @property
    def box_values(self) -> int:
        """Number of box regression values."""
        return rotated_boxes.VALUES if self.rotated else BOX_VALUES
