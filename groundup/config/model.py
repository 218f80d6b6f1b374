"""The recipe's tables of the tokenizer and the model."""

from typing import Literal

from groundup.config.base import Part, knob


class TokenizerPart(Part):
    """How text becomes ids."""

    vocab_size: int = knob(8192, "ids", "bytes, merges and special tokens together", ge=288, le=1_000_000)
    sample_megabytes: int = knob(256, "MB", "text the merges are learned from; more changes little", ge=1)
    path: str | None = knob(None, "folder", "take this tokenizer.json instead of training one")


class ModelPart(Part):
    """The shape of the transformer; `depth` is the one dial."""

    depth: int = knob(4, "layers", "the dial: width, heads, batch and rates follow from it", ge=1, le=1024)
    width: int | None = knob(None, "features", "64 a layer", ge=8)
    head_dim: int | None = knob(None, "features", "64, or the width where that is less", ge=2)
    heads: int | None = knob(None, "heads", "width / head_dim", ge=1)
    kv_heads: int | None = knob(None, "heads", "half the heads: half the cache for nearly the same loss", ge=1)
    ffn: int | None = knob(
        None, "features", "8/3 of the width, to a multiple of 64: as many weights as a 4x layer without a gate", ge=8
    )
    context: int = knob(512, "tokens", "longest sequence the model sees", ge=8)
    tied: bool = knob(True, "flag", "one matrix for embedding and head: right for small models")
    rope_base: float = knob(10_000.0, "number", "base of the rotary wavelengths; raise it for long contexts", gt=1)
    patch: int | None = knob(
        None,
        "pixels",
        "side of an image patch; left out: 16 with model.vision_tower, 8 with images, else none",
        ge=2,
        le=64,
    )
    patches: int = knob(
        196, "patches", "most an image may have: it is scaled down to fit, its aspect kept", ge=1, le=4096
    )
    vision_tower: str | None = knob(
        None,
        "folder",
        "see through the vision tower of a SigLIP 2 (NaFlex) model instead of at the pixels; it is trained along",
    )
    start: str | None = knob(None, "folder", "take weights in the Hugging Face layout instead of random ones")
    precision: Literal["auto", "bf16", "fp32"] = knob(
        "auto", "name", "bf16 where the device multiplies it fast; master weights stay fp32"
    )

    def dimensions(self) -> dict[str, int]:
        """Width, head_dim, heads, kv_heads and ffn of a model: as set, else from the depth."""
        width = self.width or 64 * self.depth
        head_dim = self.head_dim or (width // self.heads if self.heads else min(64, width))
        heads = self.heads or max(1, width // head_dim)
        kv_heads = self.kv_heads or (heads // 2 if heads % 2 == 0 else heads)
        ffn = self.ffn or max(64, round(width * 8 / 3 / 64) * 64)
        return {"width": width, "head_dim": head_dim, "heads": heads, "kv_heads": kv_heads, "ffn": ffn}
