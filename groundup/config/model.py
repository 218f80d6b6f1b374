"""The recipe's tables of the tokenizer and the model."""

from typing import Literal

from groundup.config.base import Part, knob


class TokenizerPart(Part):
    """The tokenizer: how text becomes token ids."""

    vocab_size: int = knob(8192, "ids", "bytes, merges and special tokens together", ge=288, le=1_000_000)
    sample_megabytes: int = knob(256, "MB", "text that the merges are learned from; more text changes little", ge=1)
    path: str | None = knob(None, "folder", "folder of a tokenizer.json to use instead of training one")


class ModelPart(Part):
    """The shape of the transformer; `depth` is the main setting, from which the rest is derived."""

    depth: int = knob(4, "layers", "main setting: width, heads, batch and learning rates follow from it", ge=1, le=1024)
    width: int | None = knob(None, "features", "64 a layer", ge=8)
    head_dim: int | None = knob(None, "features", "64, or the width if that is less", ge=2)
    heads: int | None = knob(None, "heads", "width / head_dim", ge=1)
    kv_heads: int | None = knob(None, "heads", "half the heads: half the KV cache for nearly the same loss", ge=1)
    ffn: int | None = knob(
        None, "features", "8/3 of the width, to a multiple of 64: as many weights as an ungated layer of 4x", ge=8
    )
    context: int = knob(512, "tokens", "longest sequence of the model", ge=8)
    tied: bool = knob(True, "flag", "one matrix for embedding and head: suits small models")
    rope_base: float = knob(10_000.0, "number", "base of the rotary wavelengths; raise it for long contexts", gt=1)
    patch: int | None = knob(
        None,
        "pixels",
        "side of an image patch; default: 16 with model.vision_tower, 8 with images, else none",
        ge=2,
        le=64,
    )
    patches: int = knob(
        196, "patches", "most patches of an image: it is scaled to fit, with its aspect ratio kept", ge=1, le=4096
    )
    vision_tower: str | None = knob(
        None,
        "folder",
        "SigLIP 2 (NaFlex) model whose vision tower replaces the patch stem; it is trained with the rest",
    )
    start: str | None = knob(
        None,
        "path",
        "weights to begin with, with their shape and tokenizer: a folder in the Hugging Face layout or a .gguf",
    )
    licence: str | None = knob(
        None, "SPDX id", "of the weights in start; left out: as their README.md or .gguf states it"
    )
    origin: str | None = knob(None, "text", "where the weights in start are from; left out: as they state it")
    precision: Literal["auto", "bf16", "fp32"] = knob(
        "auto", "name", "auto: bf16 if the device multiplies it in hardware, else fp32; master weights stay fp32"
    )

    def dimensions(self) -> dict[str, int]:
        """Width, head_dim, heads, kv_heads and ffn of a model: as set, else derived from the depth."""
        width = self.width or 64 * self.depth
        head_dim = self.head_dim or (width // self.heads if self.heads else min(64, width))
        heads = self.heads or max(1, width // head_dim)
        kv_heads = self.kv_heads or (heads // 2 if heads % 2 == 0 else heads)
        ffn = self.ffn or max(64, round(width * 8 / 3 / 64) * 64)
        return {"width": width, "head_dim": head_dim, "heads": heads, "kv_heads": kv_heads, "ffn": ffn}
