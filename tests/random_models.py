"""Small models with random weights, for the tests of every room."""

from dataclasses import replace

import torch

from groundup.model.config import ModelConfig
from groundup.model.transformer import Transformer

CONFIG = ModelConfig(depth=3, width=48, heads=4, kv_heads=2, head_dim=16, ffn=80, vocab=300, context=64)


def random_model(seed: int = 0, precision: torch.dtype = torch.float32, **changes: object) -> Transformer:
    """A model of CONFIG, with changes, in which every weight matters; a fresh one starts as the identity."""
    model = Transformer(replace(CONFIG, **changes), precision)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in model.parameters():
            noise = torch.randn(weight.shape, generator=generator)
            weight.copy_(1 + 0.2 * noise if weight.dim() == 1 else noise * weight.shape[1] ** -0.5)
    return model.eval()
