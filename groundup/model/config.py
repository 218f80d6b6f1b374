"""The config of a model and what it costs: parameters, FLOPs, bytes of cache. Nothing is built here."""

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from groundup.codecs.detections import BOX_VALUES
from groundup.core.errors import InputError
from groundup.model.vision.tower import VisionTowerConfig

if TYPE_CHECKING:
    from groundup.config.model import ModelPart


@dataclass(frozen=True)
class ModelConfig:
    """Every number that fixes a dense decoder in the Qwen3 layout.

    `width` features in the residual stream, `heads` query heads that share `kv_heads` key and value heads of
    `head_dim` features, `ffn` features inside the gated feed-forward, `vocab` ids, `context` tokens.
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
    patch: int = 0  # pixels a side of an image's patches; 0: no eyes
    patches: int = 0  # most an image has
    classes: tuple[str, ...] = ()  # of things that patches are labelled with
    tower: VisionTowerConfig | None = None  # through which eyes look; None: at the pixels

    @staticmethod
    def of(
        part: "ModelPart",
        vocab: int,
        patch: int = 0,
        classes: tuple[str, ...] = (),
        tower: VisionTowerConfig | None = None,
    ) -> "ModelConfig":
        """The config a recipe asks for, with what it leaves out derived from the depth; with eyes if `patch` is not
        0.
        """
        config = ModelConfig(
            depth=part.depth, vocab=vocab, context=part.context, tied=part.tied, rope_base=part.rope_base,
            classes=classes,
            tower=tower,
            **part.dimensions(),
        )  # fmt: skip
        return replace(config, patch=patch, patches=part.patches) if patch else config

    @property
    def patch_values(self) -> int:
        """Values of a patch: red, green and blue of each pixel."""
        return 3 * self.patch**2

    @property
    def part(self) -> int:
        """Pixels a side of the parts in which a patch is looked at: 4, or the next more that divides it; 0: no eyes."""
        return next((side for side in range(min(4, self.patch) or 1, self.patch + 1) if self.patch % side == 0), 0)

    @property
    def part_features(self) -> int:
        """Features of a part: four a pixel, a third more than it has values."""
        return 4 * self.part**2

    @property
    def seen_values(self) -> int:
        """Features by which a patch comes into the stream: those of its parts, or a tower's."""
        return 4 * self.patch**2 if self.tower is None else self.tower.hidden_size

    @property
    def vision_matrices(self) -> int:
        """Weights of the matrices between patches, or a tower's features, and the stream; 0 without eyes."""
        parts = 3 * self.part**2 * self.part_features if self.tower is None else 0
        return parts + self.width * (self.seen_values + self.patch_values)

    @property
    def label_values(self) -> int:
        """Scores of a patch's label (nothing, and each kind) and the four numbers that say where; 0 without classes."""
        return 1 + len(self.classes) + BOX_VALUES if self.classes else 0

    def parameters(self) -> dict[str, int]:
        """Parameters by group; the groups sum to the whole."""
        inner, shared = self.heads * self.head_dim, self.kv_heads * self.head_dim
        vision = {"vision": self.vision_matrices + self.width * (self.label_values + 1)} if self.patch else {}
        tower = {"tower": self.tower.parameters} if self.tower is not None else {}
        return {
            "embedding": self.vocab * self.width,
            "attention": self.depth * self.width * (2 * inner + 2 * shared),
            "feed-forward": self.depth * 3 * self.width * self.ffn,
            "norms": self.depth * (2 * self.width + 2 * self.head_dim) + self.width,
            "head": 0 if self.tied else self.vocab * self.width,
            **vision,
            **tower,
        }

    @property
    def total(self) -> int:
        """All parameters."""
        return sum(self.parameters().values())

    def matrix_flops(self) -> int:
        """FLOPs a token of one forward through all matrices, the head included: two a weight."""
        counts = self.parameters()
        return 2 * (counts["attention"] + counts["feed-forward"] + self.vocab * self.width)

    def seeing_flops(self, length: int) -> int:
        """FLOPs of one forward that bring one patch of an image of `length` patches into the stream."""
        before = 2 * self.patch_values * self.part_features if self.tower is None else self.tower.flops(length)
        return before + 2 * self.width * self.seen_values

    def attention_flops(self, length: int) -> int:
        """FLOPs of one forward for one token that attends to `length` others: scores and weighted sum."""
        return 4 * self.depth * self.heads * self.head_dim * length

    def training_flops(self, length: int | None = None) -> int:
        """FLOPs a token of forward and backward in rows of `length` tokens, half of them attended to (causal).

        Three times the forward: the backward pass is two products for each one.
        """
        return 3 * (self.matrix_flops() + self.attention_flops((length or self.context) // 2))

    def decode_flops(self, length: int) -> int:
        """FLOPs of one generated token with `length` tokens in the cache."""
        return self.matrix_flops() + self.attention_flops(length)

    def cache_bytes(self, tokens: int, bytes_each: int) -> int:
        """Bytes of keys and values for `tokens` tokens."""
        return 2 * self.depth * self.kv_heads * self.head_dim * tokens * bytes_each

    def hf_config(self, dtype: str, end: int | None) -> dict[str, Any]:
        """The `config.json` of the Hugging Face layout (Qwen3ForCausalLM)."""
        return {
            "architectures": ["Qwen3ForCausalLM"],
            "model_type": "qwen3",
            "vocab_size": self.vocab,
            "hidden_size": self.width,
            "intermediate_size": self.ffn,
            "num_hidden_layers": self.depth,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.kv_heads,
            "head_dim": self.head_dim,
            "hidden_act": "silu",
            "max_position_embeddings": self.context,
            "initializer_range": 0.02,
            "rms_norm_eps": self.norm_epsilon,
            "use_cache": True,
            "tie_word_embeddings": self.tied,
            "rope_theta": self.rope_base,
            "rope_parameters": {"rope_theta": self.rope_base, "rope_type": "default"},
            "attention_bias": False,
            "attention_dropout": 0.0,
            "use_sliding_window": False,
            "bos_token_id": None,
            "eos_token_id": end,
            "dtype": dtype,
        } | ({"groundup": self._vision()} if self.patch else {})

    def _vision(self) -> dict[str, Any]:
        tower = {} if self.tower is None else {"tower": asdict(self.tower)}
        return {"patch": self.patch, "patches": self.patches, "kinds": list(self.classes)} | tower

    @staticmethod
    def from_hf_config(config: dict[str, Any], where: str) -> "ModelConfig":
        """Read a `config.json`; raises InputError for another architecture or one with parts the model lacks."""
        if config.get("model_type") != "qwen3":
            raise InputError(
                f"{where}: model_type is {config.get('model_type')!r}; only 'qwen3' (dense text) is loaded"
            )
        vision = config.get("groundup") or {}
        rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
        if (
            rope.get("rope_type", "default") != "default"
            or config.get("attention_bias")
            or config.get("use_sliding_window")
        ):
            raise InputError(
                f"{where}: scaled rotary positions, attention biases and sliding windows are not supported"
            )
        try:
            return ModelConfig(
                depth=config["num_hidden_layers"],
                width=config["hidden_size"],
                heads=config["num_attention_heads"],
                kv_heads=config["num_key_value_heads"],
                head_dim=config["head_dim"],
                ffn=config["intermediate_size"],
                vocab=config["vocab_size"],
                context=config["max_position_embeddings"],
                tied=config.get("tie_word_embeddings", False),
                rope_base=float(rope.get("rope_theta") or config.get("rope_theta", 10_000.0)),
                norm_epsilon=config.get("rms_norm_eps", 1e-6),
                **(_vision_fields(vision) if vision else {}),
            )
        except KeyError as missing:
            raise InputError(f"{where}: the key {missing} is missing; a Qwen3 config.json has it") from None

    def as_dict(self) -> dict[str, Any]:
        """The fields by name."""
        return asdict(self)


def _vision_fields(stored: dict[str, Any]) -> dict[str, Any]:
    """The fields of the vision encoder, as `ModelConfig` names them."""
    tower = VisionTowerConfig(**stored["tower"]) if "tower" in stored else None
    return {"patch": stored["patch"], "patches": stored["patches"], "classes": tuple(stored["kinds"]), "tower": tower}
