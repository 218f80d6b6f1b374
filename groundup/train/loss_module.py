"""The training loss of all objectives: cross-entropy of the next token; for images, patch prediction and detection.

The loss mask `weights_BT` makes the difference between pre-training and instruction tuning (`data.batches`).
Shapes: B rows, T tokens, D width, N patches, A selected positions.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from groundup.codecs.patches import Frame
from groundup.data.batches import Batch
from groundup.device import Device
from groundup.kernels.dense_attention import dense_attention
from groundup.model.active_rows import ActiveRows
from groundup.model.attention import document_mask
from groundup.model.losses import linear_cross_entropy
from groundup.model.transformer import Transformer
from groundup.model.vision.encoder import ImageInputs, VisionEncoder, normalised

# most compilations of a block: full, last and held-out batches, and selected positions, in every stage of a run
SIZES = 64
BACKEND: Any = "inductor"


@dataclass(frozen=True)
class ModelInputs:
    """A batch on the device: the arrays of `data.batches.Batch`, its image inputs, and the image targets."""

    ids_BT: Tensor
    targets_BT: Tensor
    weights_BT: Tensor
    segments_BT: Tensor
    positions_BT: Tensor
    blocks_BT: Tensor
    selected_BA: Tensor | None = None
    images: ImageInputs | None = None
    image_targets: "ImageTargets | None" = None


@dataclass(frozen=True)
class ImageTargets:
    """Targets of patches; fields as in `data.image_examples.ImageExample`."""

    ahead: int
    weights_N: Tensor
    classes_N: Tensor
    boxes_N4: Tensor


class LossModule(nn.Module):
    """A model with its loss as one module, so that sharding and autograd treat both together."""

    def __init__(self, model: Transformer):
        super().__init__()
        self.model = model
        self.rows: ActiveRows | None = None  # of a table that is frozen otherwise
        self.figures: dict[str, Tensor] = {}  # of the last forward beside the loss: sums over what `Batch.count` counts

    def forward(self, inputs: ModelInputs) -> Tensor:
        """The loss: the sum over the batch of weight times cross-entropy, plus the image losses.

        The language model head is computed only where the loss mask `weights_BT` is not zero.
        """
        x_ND = self.states(self.model, inputs)
        chosen_N = inputs.weights_BT.flatten().nonzero()[:, 0]
        loss = self.cross_entropy(
            x_ND[chosen_N], inputs.targets_BT.flatten()[chosen_N], inputs.weights_BT.flatten()[chosen_N]
        )
        if self.model.vision is None:
            return loss
        # every process needs gradients of all weights, with or without an image in its rows
        loss = loss + sum(weight.sum() * 0.0 for weight in self.model.vision.parameters())
        if inputs.images is None or inputs.image_targets is None:
            return loss
        return loss + _patches(self.model.vision, x_ND[inputs.images.index_N], inputs.images, inputs.image_targets)

    @staticmethod
    def states(model: Transformer, inputs: ModelInputs) -> Tensor:
        """A model's final hidden states of a batch, [B * T, D]."""
        mask_BTT = document_mask(inputs.segments_BT, None if inputs.images is None else inputs.blocks_BT)
        states: Tensor = model(
            inputs.ids_BT, inputs.positions_BT, mask_BTT, images=inputs.images, selected_BA=inputs.selected_BA
        )
        return states.flatten(0, 1)

    def cross_entropy(self, x_ND: Tensor, targets_N: Tensor, weights_N: Tensor) -> Tensor:
        """Sum of weight times negative log-likelihood of the targets, from the final states."""
        active = None if self.rows is None or not self.rows.scores else (self.rows.weight, self.rows.rows)
        return linear_cross_entropy(x_ND, self.model.lm_head.weight, targets_N, weights_N, active)


def _patches(vision: VisionEncoder, x_ND: Tensor, images: ImageInputs, targets: ImageTargets) -> Tensor:
    """Patch prediction loss (squared error, mean over a patch), or detection loss (cross-entropy plus smooth L1)."""
    loss = x_ND.new_zeros((), dtype=torch.float32)
    if len(chosen_N := targets.weights_N.nonzero()[:, 0]):
        truth_NP = normalised(images.patches_NP[chosen_N + targets.ahead])
        loss = (vision.next_patch(x_ND[chosen_N]).float() - truth_NP).square().mean(1).sum()
    looked_N = (targets.classes_N >= 0).nonzero()[:, 0]
    if vision.detection_head is None or not len(looked_N):
        return loss
    scores_NC, values_N4 = vision.detect(x_ND[looked_N])
    labels_N = targets.classes_N[looked_N]
    there = labels_N > 0
    off = F.smooth_l1_loss(values_N4[there], targets.boxes_N4[looked_N][there], reduction="sum", beta=0.1)
    return loss + F.cross_entropy(scores_NC, labels_N, reduction="sum") + off


def tensors(batch: Batch, device: torch.device) -> ModelInputs:
    """A batch as the argument of `LossModule.forward`, on the device."""

    def move(array: npt.NDArray[Any]) -> Tensor:
        return torch.from_numpy(array).to(device, non_blocking=True)

    ids, targets, weights = move(batch.ids), move(batch.targets), move(batch.weights)
    rows = (ids, targets, weights, move(batch.segments), move(batch.positions), move(batch.blocks))
    selected = None if batch.selected is None else move(batch.selected)
    images = [image for row in batch.images for image in row]
    if not images:
        return ModelInputs(*rows, selected)
    starts = [n * batch.ids.shape[1] + image.position for n, row in enumerate(batch.images) for image in row]
    positions = [start + np.arange(image.grid.patches) for start, image in zip(starts, images, strict=True)]

    def joined(arrays: Iterable[npt.NDArray[Any]]) -> Tensor:
        return move(np.concatenate(list(arrays)))

    inputs = ImageInputs(
        joined(image.patches for image in images),
        joined(positions),
        joined(image.grid.coordinates() for image in images),
        joined(image.hidden for image in images),
        tuple(Frame(*image.grid, image.prefix) for image in images),
    )
    image_targets = ImageTargets(
        images[0].ahead,
        joined(image.weights for image in images),
        joined(image.classes for image in images),
        joined(image.boxes for image in images),
    )
    return ModelInputs(*rows, selected, inputs, image_targets)


def speed_up(model: Transformer, device: Device, length: int) -> bool:
    """Compile the blocks where the device can, one compilation for all layers; return whether compiled code will run.

    Short rows then use dense attention, which is faster when compiled (`benchmarks/training.py`).
    """
    if not device.compiles:
        return False
    # beyond its limit the compiler silently falls back to eager code, and a resumed run would end with other bits
    torch._dynamo.config.recompile_limit = SIZES
    if length <= device.dense_attention_length:
        model.attend = dense_attention
    for block in model.model.layers:
        block.compile(dynamic=False, backend=BACKEND)
    return not (
        torch._dynamo.config.disable or os.environ.get("TORCHDYNAMO_DISABLE") == "1"
    )  # switched off by the user
