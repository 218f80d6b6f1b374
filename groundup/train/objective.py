"""What training minimises: the weighted cross-entropy of the next token, over packed rows."""

import torch
from torch import Tensor, nn

from groundup.data.batches import Batch
from groundup.device import Device
from groundup.model.loss import linear_cross_entropy
from groundup.model.trunk import Trunk, dense_attention, document_mask


class Learner(nn.Module):
    """A trunk with its loss, as one module, so that sharding and gradients see all of it.

    Pre-training and instruction tuning differ only in the weights of a batch: every token, or the assistant's.
    """

    def __init__(self, trunk: Trunk):
        super().__init__()
        self.trunk = trunk

    def forward(self, ids_BT: Tensor, targets_BT: Tensor, weights_BT: Tensor, segments_BT: Tensor, positions_BT: Tensor) -> Tensor:
        """Sum over the batch of weight times loss in nats. The head is computed only where the weight is not zero."""
        x_ND = self.trunk(ids_BT, positions_BT, document_mask(segments_BT)).flatten(0, 1)
        chosen_N = weights_BT.flatten().nonzero()[:, 0]
        return linear_cross_entropy(
            x_ND[chosen_N], self.trunk.lm_head.weight, targets_BT.flatten()[chosen_N], weights_BT.flatten()[chosen_N]
        )  # fmt: skip


def tensors(batch: Batch, device: torch.device) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """A batch as the arguments of `Learner.forward`, on the device."""
    arrays = (batch.ids, batch.targets, batch.weights, batch.segments, batch.positions)
    ids, targets, weights, segments, positions = (torch.from_numpy(array).to(device, non_blocking=True) for array in arrays)
    return ids, targets, weights, segments, positions


def speed_up(trunk: Trunk, device: Device, length: int) -> bool:
    """Compile the blocks where the device can, all layers sharing one compilation; return whether it does.

    Short rows then use dense attention, which compiled is the faster one (`benchmarks/training.py`).
    """
    if not device.compiles:
        return False
    if length <= device.dense_attention_length:
        trunk.attend = dense_attention
    for block in trunk.model.layers:
        block.compile(dynamic=False)
    return True
