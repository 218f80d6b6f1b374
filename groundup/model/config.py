"""The config of a model: every number that fixes it."""

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from groundup.codecs import rotated_boxes
from groundup.codecs.detections import BOX_VALUES
from groundup.model.vision.tower import VisionTowerConfig

if TYPE_CHECKING:
    from groundup.config.model import ModelPart


@dataclass(frozen=True)
class ModelConfig:
    """Every number that fixes a dense decoder in the Qwen3 layout.

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
    patches: int = 0  # most an image has
    classes: tuple[str, ...] = ()  # of detections
    tower: VisionTowerConfig | None = None  # pretrained; None: a patch stem on the pixels
    rotated: bool = False  # the boxes of detections

    @staticmethod
    def of(
        part: "ModelPart",
        vocab: int,
        patch: int = 0,
        classes: tuple[str, ...] = (),
        tower: VisionTowerConfig | None = None,
        rotated: bool = False,
    ) -> "ModelConfig":
        """The config of a recipe's `part`, gaps derived from the depth; with a vision encoder if `patch` is not 0."""
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
        """Pixels a side of the patch stem's squares: 4, or the next more that divides a patch; 0: no image input."""
        return next((side for side in range(min(4, self.patch) or 1, self.patch + 1) if self.patch % side == 0), 0)

    @property
    def part_features(self) -> int:
        """Features of a square of the stem: four a pixel, a third more than its values."""
        return 4 * self.part**2

    @property
    def seen_values(self) -> int:
        """Input features of a patch: those of its stem, or a tower's."""
        return 4 * self.patch**2 if self.tower is None else self.tower.hidden_size

    @property
    def label_values(self) -> int:
        """Outputs of the detection head: class scores (no detection, each class) and a box; 0 without classes."""
        return 1 + len(self.classes) + self.box_values if self.classes else 0

    @property
    def box_values(self) -> int:
        """Values that are regressed of a box."""
        return rotated_boxes.VALUES if self.rotated else BOX_VALUES

    def as_dict(self) -> dict[str, Any]:
        """The fields by name; `rotated` only where it holds, as checkpoints of upright boxes know no such field."""
        return {name: value for name, value in asdict(self).items() if name != "rotated" or value}
