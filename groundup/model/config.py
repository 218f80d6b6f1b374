"""The config of a model: every number that fixes it."""

from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from groundup.model.rotary import RopeScaling, Rotary
from groundup.model.vision.config import VisionFields

if TYPE_CHECKING:
    from groundup.config.model import ModelPart


LATER = [
    "rotated",
    "qk_norm",
    "bias",
    "norms",
    "activation",
    "embed_scale",
    "rope_scaling",
    "layers",
    "window",
    "window_rope_base",
]


class LayerKind(NamedTuple):
    """What differs between layers: tokens attended to, the last ones (None: all); rotary embedding (None: without)."""

    window: int | None
    rotary: Rotary | None


@dataclass(frozen=True)
class ModelConfig(VisionFields):
    """Every number that fixes a dense decoder; the defaults are those of the Qwen3 layout.

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
    qk_norm: Literal["head", "width", "none"] = "head"  # over the features of each head, or of all
    bias: Literal["none", "qkv", "qkvo"] = "none"  # of the projections of attention
    norms: Literal["before", "after", "around"] = "before"  # attention and feed-forward, on the residual stream's side
    activation: Literal["silu", "gelu"] = "silu"
    embed_scale: float = 1.0
    rope_scaling: RopeScaling | None = None
    layers: tuple[Literal["full", "window", "unrotated"], ...] = ("full",)  # their attention, repeated over the depth
    window: int = 0  # tokens that a layer of a window attends to
    window_rope_base: float = 0.0  # of layers with a window, unscaled; 0: the rotary embedding of the others

    @staticmethod
    def of(part: "ModelPart", vocab: int, patch: int = 0, **vision: Any) -> "ModelConfig":
        """The config of a recipe's `part`, gaps derived from the depth; with a vision encoder if `patch` is not 0."""
        own = {name: getattr(part, name) for name in ("depth", "context", "tied", "rope_base")} | part.dimensions()
        return ModelConfig(vocab=vocab, patch=patch, patches=part.patches if patch else 0, **own, **vision)

    def kind(self, layer: int) -> LayerKind:
        """Window and rotary embedding of a layer."""
        kind = self.layers[layer % len(self.layers)]
        window = self.window if kind == "window" else None
        if kind == "unrotated":
            return LayerKind(window, None)
        if window is not None and self.window_rope_base:
            return LayerKind(window, Rotary(self.head_dim, self.window_rope_base))
        return LayerKind(window, Rotary(self.head_dim, self.rope_base, self.rope_scaling))

    def as_dict(self) -> dict[str, Any]:
        """The fields by name; those that checkpoints may lack only where they differ from their default."""
        later = {field.name: field.default for field in fields(self) if field.name in LATER}
        return {name: value for name, value in asdict(self).items() if name not in later or value != later[name]}
