"""The config of a model: all hyperparameters of its shape."""

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from groundup.codecs import rotated_boxes
from groundup.codecs.detections import BOX_VALUES
from groundup.model.vision.tower import VisionTowerConfig

if TYPE_CHECKING:
    from groundup.config.model import ModelPart


@dataclass(frozen=True)
class ModelConfig:
    """The shape of a dense decoder in the Qwen3 layout.

    `width` of the residual stream, `heads` query heads that share `kv_heads` key/value heads of `head_dim` features,
    `ffn` features of the feed-forward, `vocab` ids, `context` tokens.
    """

    depth: int
    width: int
    heads: int
    kv_heads: int
    head_dim: int
    ffn: int
    vocab: int
    context: int
    tied: bool = True
    rope_base: float = 10_000.0
    norm_epsilon: float = 1e-6
    patch: int = 0  # pixels a side of an image's patches; 0: no image input
    patches: int = 0  # most patches of an image
    classes: tuple[str, ...] = ()  # of detections
    tower: VisionTowerConfig | None = None  # pretrained vision tower; None: a patch stem on the pixels
    rotated: bool = False  # whether detections have rotated boxes

    @staticmethod
    def of(
        part: "ModelPart",
        vocab: int,
        patch: int = 0,
        classes: tuple[str, ...] = (),
        tower: VisionTowerConfig | None = None,
        rotated: bool = False,
    ) -> "ModelConfig":
        """The config of a recipe's `[model]`; values not set follow from the depth; `patch` > 0: vision encoder."""
        config = ModelConfig(
            depth=part.depth, vocab=vocab, context=part.context, tied=part.tied, rope_base=part.rope_base,
            classes=classes,
            tower=tower,
            rotated=rotated,
            **part.dimensions(),
        )  # fmt: skip
        return replace(config, patch=patch, patches=part.patches) if patch else config

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

    def as_dict(self) -> dict[str, Any]:
        """The fields by name; `rotated` only if true, as older checkpoints of upright boxes lack the field."""
        return {name: value for name, value in asdict(self).items() if name != "rotated" or value}
