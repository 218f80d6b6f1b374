"""The cost of a config: parameters, FLOPs, bytes of the KV cache, computed without building the model."""

from groundup.model.attention import KVCacheSpec
from groundup.model.config import ModelConfig


def _vision_matrices(config: ModelConfig) -> int:
    """Weights of the matrices between the residual stream and patches, or a vision tower's features."""
    parts = 3 * config.part**2 * config.part_features if config.tower is None else 0
    return parts + config.width * (config.seen_values + config.patch_values)


def parameters(config: ModelConfig) -> dict[str, int]:
    """Parameters by group; the sum of the groups is the total."""
    inner, shared = config.heads * config.head_dim, config.kv_heads * config.head_dim
    biases = {"none": 0, "qkv": inner + 2 * shared, "qkvo": inner + 2 * shared + config.width}[config.bias]
    qk_norms = {"none": 0, "head": 2 * config.head_dim, "width": inner + shared}[config.qk_norm]
    norms = (4 if config.norms == "around" else 2) * config.width
    vision = {"vision": _vision_matrices(config) + config.width * (config.label_values + 1)} if config.patch else {}
    tower = {"tower": config.tower.parameters} if config.tower is not None else {}
    return {
        "embedding": config.vocab * config.width,
        "attention": config.depth * config.width * (2 * inner + 2 * shared),
        "feed-forward": config.depth * 3 * config.width * config.ffn,
        "norms": config.depth * (norms + qk_norms) + config.width,
        "head": 0 if config.tied else config.vocab * config.width,
        **({"biases": config.depth * biases} if biases else {}),
        **vision,
        **tower,
    }


def total(config: ModelConfig) -> int:
    """All parameters."""
    return sum(parameters(config).values())


def matrix_flops(config: ModelConfig) -> int:
    """FLOPs a token of one forward through all matrices, the head included: two a weight."""
    counts = parameters(config)
    return 2 * (counts["attention"] + counts["feed-forward"] + config.vocab * config.width)


def image_flops(config: ModelConfig, length: int) -> int:
    """FLOPs of one forward that embed one patch of an image of `length` patches."""
    before = 2 * config.patch_values * config.part_features if config.tower is None else config.tower.flops(length)
    return before + 2 * config.width * config.seen_values


def attention_flops(config: ModelConfig, length: int) -> int:
    """FLOPs of one forward for one token that attends to `length` others: scores and weighted sum."""
    return 4 * config.depth * config.heads * config.head_dim * length


def training_flops(config: ModelConfig, length: int | None = None) -> int:
    """FLOPs a token in causal rows of `length` tokens: the forward, and twice as many in the backward pass."""
    return 3 * (matrix_flops(config) + attention_flops(config, (length or config.context) // 2))


def decode_flops(config: ModelConfig, length: int) -> int:
    """FLOPs of one generated token with `length` tokens in the cache."""
    return matrix_flops(config) + attention_flops(config, length)


def cache_bytes(config: ModelConfig, tokens: int, bytes_each: int) -> int:
    """Bytes of keys and values for `tokens` tokens."""
    return config.depth * KVCacheSpec(config.kv_heads, config.head_dim).bytes(tokens, bytes_each)
