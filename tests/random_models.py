"""Small models with random weights, for the tests of every room."""

from dataclasses import replace
from typing import Any

import torch

from groundup.model.config import ModelConfig
from groundup.model.rotary import RopeScaling
from groundup.model.transformer import Transformer

CONFIG = ModelConfig(depth=3, width=48, heads=4, kv_heads=2, head_dim=16, ffn=80, vocab=300, context=64)

YARN = RopeScaling("yarn", 4.0, 16, 1.0, 32.0, 1.2)
SCALING = RopeScaling("llama3", 8.0, 32, 1.0, 4.0)
AROUND: dict[str, Any] = {"norms": "around", "activation": "gelu", "embed_scale": 48**0.5}
# changes of CONFIG that make it of a family, by the model_type in which it is saved
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {"qk_norm": "none", "bias": "qkvo", "rope_scaling": SCALING, "tied": False},
    "mistral": {"qk_norm": "none", "layers": ("window",), "window": 7, "rope_scaling": YARN},
    "ministral": {"qk_norm": "none", "layers": ("window", "full"), "window": 7},
    "qwen2": {"qk_norm": "none", "bias": "qkv"},
    "qwen3": {"bias": "qkvo", "layers": ("full", "window"), "window": 7},
    "smollm3": {"qk_norm": "none", "layers": ("full", "full", "unrotated")},
    "olmo2": {"qk_norm": "width", "norms": "after", "bias": "qkvo"},
    "olmo3": {
        "qk_norm": "width",
        "norms": "after",
        "layers": ("window", "full"),
        "window": 7,
        "rope_scaling": YARN,
        "window_rope_base": 10_000.0,
    },
    "gemma3_text": {**AROUND, "layers": ("window", "full"), "window": 7, "window_rope_base": 2e4},
}


def random_model(seed: int = 0, precision: torch.dtype = torch.float32, **changes: object) -> Transformer:
    """A model of CONFIG, with changes, in which every weight matters; a fresh one starts as the identity."""
    model = Transformer(replace(CONFIG, **changes), precision)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in model.parameters():
            noise = torch.randn(weight.shape, generator=generator)
            weight.copy_(1 + 0.2 * noise if weight.dim() == 1 else noise * weight.shape[1] ** -0.5)
    return model.eval()
