"""What training minimises over packed rows: the cross-entropy of the next token, and of images the next patch and what
lies where.

Shapes: B rows, T tokens, D width, N patches.
"""

import os
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from groundup.codecs.patches import frames
from groundup.data.batches import Batch
from groundup.device import Device
from groundup.model.losses import linear_cross_entropy
from groundup.model.transformer import Transformer, dense_attention, document_mask
from groundup.model.vision.encoder import ImageInputs, VisionEncoder, normalised

# compilations of a block: one each for full and last batches, held-out ones, and the last layer's columns, in every
# stage of a run
SIZES = 64
BACKEND: Any = "inductor"


@dataclass(frozen=True)
class ModelInputs:
    """A batch on the device: the arrays of `data.batches.Batch`, and of its images what is seen and what is to be
    found.
    """

    ids_BT: Tensor
    targets_BT: Tensor
    weights_BT: Tensor
    segments_BT: Tensor
    positions_BT: Tensor
    blocks_BT: Tensor
    asked_BA: Tensor | None = None
    sight: ImageInputs | None = None
    wanted: "ImageTargets | None" = None


@dataclass(frozen=True)
class ImageTargets:
    """What is to be found of patches: fields as in `data.views.Views`."""

    ahead: int
    weights_N: Tensor
    labels_N: Tensor
    values_N4: Tensor


class LossModule(nn.Module):
    """A model with its loss, as one module, so that sharding and gradients see all of it.

    Pre-training and instruction tuning differ only in the weights of a batch: every token and patch, or the
    assistant's.
    """

    def __init__(self, model: Transformer):
        super().__init__()
        self.model = model

    def forward(self, given: ModelInputs) -> Tensor:
        """Sum over the batch of weight times loss. Heads are computed only where the weight is not zero."""
        mask_BTT = document_mask(given.segments_BT, None if given.sight is None else given.blocks_BT)
        x_ND = self.model(
            given.ids_BT, given.positions_BT, mask_BTT, sight=given.sight, asked_BA=given.asked_BA
        ).flatten(0, 1)
        chosen_N = given.weights_BT.flatten().nonzero()[:, 0]
        loss = linear_cross_entropy(
            x_ND[chosen_N], self.model.lm_head.weight, given.targets_BT.flatten()[chosen_N],
            given.weights_BT.flatten()[chosen_N]
        )  # fmt: skip
        if self.model.eyes is None:
            return loss
        # every process has gradients for all weights, whether or not it was given an image
        loss = loss + sum(weight.sum() * 0.0 for weight in self.model.eyes.parameters())
        if given.sight is None or given.wanted is None:
            return loss
        return loss + _patches(self.model.eyes, x_ND[given.sight.places_N], given.sight, given.wanted)


def _patches(eyes: VisionEncoder, x_ND: Tensor, sight: ImageInputs, wanted: ImageTargets) -> Tensor:
    """Squared error of the patches predicted, mean over a patch; and for labels cross-entropy, with the error of where
    things lie.
    """
    loss = x_ND.new_zeros((), dtype=torch.float32)
    if len(chosen_N := wanted.weights_N.nonzero()[:, 0]):
        truth_NP = normalised(sight.patches_NP[chosen_N + wanted.ahead])
        loss = (eyes.next(x_ND[chosen_N]).float() - truth_NP).square().mean(1).sum()
    looked_N = (wanted.labels_N >= 0).nonzero()[:, 0]
    if eyes.labels is None or not len(looked_N):
        return loss
    scores_NC, values_N4 = eyes.things(x_ND[looked_N])
    labels_N = wanted.labels_N[looked_N]
    there = labels_N > 0
    off = F.smooth_l1_loss(values_N4[there], wanted.values_N4[looked_N][there], reduction="sum", beta=0.1)
    return loss + F.cross_entropy(scores_NC, labels_N, reduction="sum") + off


def tensors(batch: Batch, device: torch.device) -> ModelInputs:
    """A batch as the argument of `LossModule.forward`, on the device."""

    def move(array: npt.NDArray[Any]) -> Tensor:
        return torch.from_numpy(array).to(device, non_blocking=True)

    ids, targets, weights = move(batch.ids), move(batch.targets), move(batch.weights)
    rows = (ids, targets, weights, move(batch.segments), move(batch.positions), move(batch.blocks))
    asked = None if batch.asked is None else move(batch.asked)
    if (views := batch.views) is None:
        return ModelInputs(*rows, asked)
    images = frames(views.grid, batch.blocks.flatten()[views.places] > 0)
    sight = ImageInputs(move(views.patches), move(views.places), move(views.grid), move(views.hidden), images)
    return ModelInputs(
        *rows, asked, sight, ImageTargets(views.ahead, move(views.weights), move(views.labels), move(views.values))
    )


def speed_up(model: Transformer, device: Device, length: int) -> bool:
    """Compile the blocks where the device can, all layers sharing one compilation; return whether compiled code will
    run.

    Short rows then use dense attention, which compiled is the faster one (`benchmarks/training.py`).
    """
    if not device.compiles:
        return False
    # beyond its limit the compiler leaves code as it is, without a word, and a run that resumes would end in other bits
    torch._dynamo.config.recompile_limit = SIZES
    if length <= device.dense_attention_length:
        model.attend = dense_attention
    for block in model.model.layers:
        block.compile(dynamic=False, backend=BACKEND)
    return not (
        torch._dynamo.config.disable or os.environ.get("TORCHDYNAMO_DISABLE") == "1"
    )  # where the user wants it so
