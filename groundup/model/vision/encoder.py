"""The vision encoder: image patches to embeddings, and states to next-patch predictions and detections.

Shapes: N patches of P values, each of Q squares, D width, C scores (no detection, and each class).
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from groundup.codecs.patches import Frame
from groundup.model.config import ModelConfig
from groundup.model.linear import Linear, RMSNorm
from groundup.model.parameters import HEAD, OUTPUT_MATRIX
from groundup.model.vision.tower import VisionTower

WAVES = 64  # patches of the longest wavelength of the position embedding: grids are rarely larger


@dataclass(frozen=True)
class ImageInputs:
    """The patches of one forward, and their positions in its rows."""

    patches_NP: Tensor  # uint8
    index_N: Tensor  # in the flattened rows: row * T + column
    grid_N2: Tensor  # row and column of each patch in its image
    masked_N: Tensor | None = None  # True: pixels are masked, only the position is given
    frames: tuple[Frame, ...] = ()  # the images of the patches, in order; a vision tower needs whole images


@dataclass(frozen=True)
class ImageEmbeddings:
    """Image embeddings of one forward, and their positions in its rows."""

    x_ND: Tensor
    index_N: Tensor


class PatchStem(nn.Module):
    """The patch stem: one matrix for every square of a few pixels in a patch, then SiLU (conv stem, arXiv:2106.14881).

    A ViT's single matrix is linear in the pixels, so features depend on where in a patch an edge lies.
    """

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.side, self.count = config.part, config.patch // config.part
        self.projection = Linear(3 * config.part**2, config.part_features)

    def forward(self, x_NP: Tensor) -> Tensor:
        """Features of each patch's squares, [N, Q * features]."""
        rows = x_NP.view(-1, self.count, self.side, self.count, 3 * self.side)
        return F.silu(self.projection(rows.transpose(2, 3).flatten(3))).flatten(1)


class VisionEncoder(nn.Module):
    """Patch stem or pretrained vision tower, projection to the width, 2-D positions; next-patch and detection heads."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.tower = VisionTower(config.tower) if config.tower is not None else None
        self.stem = PatchStem(config) if config.tower is None else None
        self.embed = Linear(config.seen_values, config.width)
        self.norm = RMSNorm(config.width, config.norm_epsilon)
        self.next_patch = Linear(config.width, config.patch_values, OUTPUT_MATRIX)
        self.detection_head = Linear(config.width, config.label_values, HEAD) if config.classes else None
        self.classes = len(config.classes)

    def forward(self, images: ImageInputs, precision: torch.dtype, recompute: bool = False) -> Tensor:
        """Image embeddings [N, D]; `recompute` the tower's layers in the backward pass to save memory."""
        if self.stem is None:
            assert self.tower is not None, "a vision encoder has a patch stem or a tower"
            x_ND = self.embed(self.tower(images.patches_NP, images.frames, images.masked_N, precision, recompute))
        else:
            x_ND = self.embed(self.stem((images.patches_NP.to(precision) - 127.5) / 64))
            if images.masked_N is not None:
                x_ND = x_ND.masked_fill(images.masked_N[:, None], 0.0)
        return self.norm(x_ND + positions(images.grid_N2, x_ND.shape[1]).to(precision))

    def detect(self, x_ND: Tensor) -> tuple[Tensor, Tensor]:
        """Class scores [N, C] and box regression of each patch: [N, 4], or [N, 7] of rotated boxes."""
        assert self.detection_head is not None, "a model without classes has no detection head"
        found = self.detection_head(x_ND).float()
        return found[:, : 1 + self.classes], found[:, 1 + self.classes :]


def insert_images(
    x_BTD: Tensor, images: ImageInputs | ImageEmbeddings, encoder: VisionEncoder | None, recompute: bool
) -> Tensor:
    """The residual stream with the embeddings of image patches in their positions."""
    if isinstance(images, ImageEmbeddings):
        x_ND = images.x_ND
    else:
        assert encoder is not None, "a model without a vision encoder gets no images"
        x_ND = encoder(images, x_BTD.dtype, recompute)
    return x_BTD.flatten(0, 1).index_copy(0, images.index_N, x_ND).view(x_BTD.shape)


def positions(grid_N2: Tensor, width: int) -> Tensor:
    """Sines and cosines of row and column, half the features each, [N, width] (arXiv:1706.03762, two-dimensional)."""
    count = -(-width // 4)
    waves = torch.exp(torch.arange(count, device=grid_N2.device) * (-math.log(WAVES) / count))
    angles = grid_N2[:, :, None].float() * waves
    return torch.cat((angles.sin(), angles.cos()), -1).flatten(1)[:, :width]


def normalised(patches_NP: Tensor) -> Tensor:
    """Patches with mean 0 and deviation 1 each, in fp32: the targets of patch prediction (as in arXiv:2111.06377)."""
    values = patches_NP.float()
    deviation, mean = torch.std_mean(values, dim=1, keepdim=True, correction=0)
    return (values - mean) / (deviation + 4.0)  # a patch of one colour has only noise
