"""A pretrained vision tower, SigLIP 2 in its NaFlex form (arXiv:2502.14786): patch features for the vision encoder.

Parameter names are those of `transformers`' Siglip2VisionModel, without its pooling head.
Shapes: N patches of P values, I images of at most L patches, W features, H heads.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from math import isqrt
from pathlib import Path
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from torch.utils.checkpoint import checkpoint

from groundup.codecs.patches import Frame
from groundup.core.errors import InputError
from groundup.core.files import read_json
from groundup.model.config_file import ConfigFile
from groundup.model.linear import Linear
from groundup.model.parameters import BIAS, NORM, POSITIONS

NAMES = {
    "siglip2": "vision_config",
    "siglip2_vision_model": None,
}  # model_type, and the key of the tower in its config.json
ONLY = {"hidden_act": "gelu_pytorch_tanh", "num_channels": 3}  # the only supported values


@dataclass(frozen=True)
class VisionTowerConfig:
    """The shape of a vision tower, named as in its config.json; defaults are the published base model's."""

    hidden_size: int = 768
    intermediate_size: int = 3072
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    patch_size: int = 16
    num_patches: int = 256  # cells of the square grid on which positions were learnt
    layer_norm_eps: float = 1e-6

    @staticmethod
    def of(folder: Path) -> "VisionTowerConfig":
        """The vision tower in the folder of a SigLIP 2 model or its vision part. Raises InputError for any other."""
        where = folder / "config.json"
        if not where.exists():
            raise InputError(f"{where}: no such file; give the folder of a SigLIP 2 (NaFlex) model")
        config = read_json(where)
        kind = config.get("model_type") if isinstance(config, dict) else None
        if kind not in NAMES:
            raise InputError(
                f"{where}: model_type is {kind!r}; only {' and '.join(map(repr, NAMES))} are loaded as vision towers"
            )
        part = ConfigFile(config, str(where))
        if (inner := NAMES[kind]) is not None:
            part = part.part(inner)
        for name, wanted in ONLY.items():
            if part.table.get(name, wanted) != wanted:
                raise InputError(f"{where}: {name} is {part.table[name]!r}; only {wanted!r} is loaded")
        return VisionTowerConfig.read(part)

    @staticmethod
    def read(file: ConfigFile) -> "VisionTowerConfig":
        """The vision tower of a config.json's object. Raises InputError for a value of another type or range."""
        values: dict[str, Any] = {
            field.name: file.count(field.name) if isinstance(field.default, int) else file.number(field.name, 0)
            for field in fields(VisionTowerConfig)
            if field.name in file.table
        }
        config = VisionTowerConfig(**values)
        if config.hidden_size % config.num_attention_heads:
            raise InputError(
                f"{file.where}: hidden_size {config.hidden_size} does not divide into num_attention_heads"
                f" {config.num_attention_heads}"
            )
        if isqrt(config.num_patches) ** 2 != config.num_patches:
            raise InputError(
                f"{file.where}: num_patches is {config.num_patches}, which is no square; positions were learnt on a"
                " square grid"
            )
        return config

    @property
    def matrices(self) -> int:
        """Weights of all matrices."""
        W = self.hidden_size
        return 3 * self.patch_size**2 * W + self.num_hidden_layers * (4 * W + 2 * self.intermediate_size) * W

    @property
    def parameters(self) -> int:
        """All weights: matrices, positions, biases and norms."""
        W = self.hidden_size
        return self.matrices + (self.num_patches + 3) * W + self.num_hidden_layers * (9 * W + self.intermediate_size)

    def flops(self, length: int) -> int:
        """FLOPs of one forward for one patch of an image of `length` patches."""
        return 2 * self.matrices + 4 * self.num_hidden_layers * self.hidden_size * length


class Norm(nn.LayerNorm):
    """Layer norm (arXiv:1607.06450), in fp32."""

    roles: ClassVar = {"weight": NORM, "bias": BIAS}

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.float()).to(x.dtype)


class Positions(nn.Module):
    """Learnt vectors of the cells of a square grid, [S * S, W], resized to the grid of an image."""

    roles: ClassVar = {"weight": POSITIONS}

    def __init__(self, config: VisionTowerConfig):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(config.num_patches, config.hidden_size))
        self.side = isqrt(config.num_patches)

    def forward(self, rows: int, columns: int) -> Tensor:
        """Bilinear, antialiased [N, W] in fp32, as two matrix products: the same bits in each run on every device."""
        down_RS, across_CS = (self._resizing(size).to(self.weight.device) for size in (rows, columns))
        return torch.einsum(
            "rs,ct,stw->rcw", down_RS, across_CS, self.weight.float().view(self.side, self.side, -1)
        ).flatten(0, 1)

    def _resizing(self, size: int) -> Tensor:
        """The matrix that resizes `side` values to `size`: its columns are the resized unit vectors."""
        units = torch.eye(self.side, device="cpu")[None, None]
        return F.interpolate(units, size=(size, self.side), mode="bilinear", align_corners=False, antialias=True)[0, 0]


class Embeddings(nn.Module):
    """The embedding of each patch's pixels plus that of its position."""

    def __init__(self, config: VisionTowerConfig):
        super().__init__()
        self.patch_embedding = Linear(3 * config.patch_size**2, config.hidden_size, bias=True)
        self.position_embedding = Positions(config)

    def forward(self, values_NP: Tensor, frames: Sequence[Frame], masked_N: Tensor | None) -> Tensor:
        x_NW = self.patch_embedding(values_NP)
        if masked_N is not None:
            x_NW = x_NW.masked_fill(masked_N[:, None], 0.0)
        places = {
            size: self.position_embedding(*size)
            for size in dict.fromkeys((frame.rows, frame.columns) for frame in frames)
        }
        return x_NW + torch.cat([places[frame.rows, frame.columns] for frame in frames]).to(x_NW.dtype)


class Attention(nn.Module):
    """Attention of all heads, with biases."""

    def __init__(self, config: VisionTowerConfig):
        super().__init__()
        self.heads = config.num_attention_heads
        self.k_proj, self.v_proj, self.q_proj, self.out_proj = (
            Linear(config.hidden_size, config.hidden_size, bias=True) for _ in range(4)
        )

    def forward(self, x_ILW: Tensor, mask_ILL: Tensor) -> Tensor:
        q, k, v = (
            matrix(x_ILW).unflatten(2, (self.heads, -1)).transpose(1, 2)
            for matrix in (self.q_proj, self.k_proj, self.v_proj)
        )
        found = F.scaled_dot_product_attention(q, k, v, attn_mask=mask_ILL[:, None])
        return self.out_proj(found.transpose(1, 2).flatten(2))


class FeedForward(nn.Module):
    """fc2(gelu(fc1(x))), with gelu's approximation by tanh."""

    def __init__(self, config: VisionTowerConfig):
        super().__init__()
        self.fc1 = Linear(config.hidden_size, config.intermediate_size, bias=True)
        self.fc2 = Linear(config.intermediate_size, config.hidden_size, bias=True)

    def forward(self, x_ILW: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x_ILW), approximate="tanh"))


class Block(nn.Module):
    """One layer: attention, then feed-forward, each on a normalised copy of the residual stream."""

    def __init__(self, config: VisionTowerConfig):
        super().__init__()
        self.layer_norm1, self.layer_norm2 = (Norm(config.hidden_size, config.layer_norm_eps) for _ in range(2))
        self.self_attn, self.mlp = Attention(config), FeedForward(config)

    def forward(self, x_ILW: Tensor, mask_ILL: Tensor) -> Tensor:
        x_ILW = x_ILW + self.self_attn(self.layer_norm1(x_ILW), mask_ILL)
        return x_ILW + self.mlp(self.layer_norm2(x_ILW))


class Encoder(nn.Module):
    """The layers, one after the other."""

    def __init__(self, config: VisionTowerConfig):
        super().__init__()
        self.layers = nn.ModuleList(Block(config) for _ in range(config.num_hidden_layers))

    def forward(self, x_ILW: Tensor, mask_ILL: Tensor, recompute: bool) -> Tensor:
        for block in self.layers:
            x_ILW = checkpoint(block, x_ILW, mask_ILL, use_reentrant=False) if recompute else block(x_ILW, mask_ILL)
        return x_ILW


class VisionTower(nn.Module):
    """The vision tower: features of patches, with a final layer norm."""

    def __init__(self, config: VisionTowerConfig):
        super().__init__()
        self.embeddings, self.encoder = Embeddings(config), Encoder(config)
        self.post_layernorm = Norm(config.hidden_size, config.layer_norm_eps)

    def forward(
        self, patches_NP: Tensor, frames: Sequence[Frame], masked_N: Tensor | None, precision: torch.dtype,
        recompute: bool = False
    ) -> Tensor:  # fmt: skip
        """Features [N, W] of uint8 patches, image after image as in `frames`; masked ones keep only their position."""
        x_NW = self.embeddings((patches_NP.to(precision) - 127.5) / 127.5, frames, masked_N)
        sizes = [frame.patches for frame in frames]
        x_ILW = self.encoder(pad_sequence(x_NW.split(sizes), batch_first=True), _mask(frames, x_NW.device), recompute)
        return self.post_layernorm(torch.cat([x_LW[:size] for x_LW, size in zip(x_ILW, sizes, strict=True)]))


def _mask(frames: Sequence[Frame], device: torch.device) -> Tensor:
    """The attention mask [I, L, L], as in the model: patches after the bidirectional prefix stay causal."""
    place_L = torch.arange(max(frame.patches for frame in frames), device=device)
    together_I1 = torch.tensor([[frame.together] for frame in frames], device=device)
    seen_IL = torch.where(place_L < together_I1, together_I1, place_L + 1)
    return place_L < seen_IL[..., None]
