"""Peak memory of training, predicted before step 0 without allocating anything."""

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from groundup.model.loss import CHUNK
from groundup.model.shape import Shape
from groundup.model.trunk import Attend, Trunk, document_mask


def predict(shape: Shape, precision: torch.dtype, rows: int, world: int, recompute: bool, attend: Attend) -> int:
    """Bytes a process needs for weights, gradients, optimiser state, and the activations of one forward of `rows` rows.

    The activations are those that autograd keeps, counted by running the forward on the meta device.
    """
    return _parameters(shape, precision) // world + _activations(shape, precision, rows, recompute, attend) + _head(shape, precision, rows)


def _parameters(shape: Shape, precision: torch.dtype) -> int:
    """fp32 weight and gradient, one moment for Muon's matrices and two for the rest, and the copy in the compute precision."""
    counts = shape.parameters()
    matrices = counts["attention"] + counts["feed-forward"]
    return shape.total * (8 + precision.itemsize) + 4 * matrices + 8 * (shape.total - matrices)


def _activations(shape: Shape, precision: torch.dtype, rows: int, recompute: bool, attend: Attend) -> int:
    seen: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        if not isinstance(tensor, torch.nn.Parameter):
            seen[id(tensor.untyped_storage())] = tensor.untyped_storage().nbytes()
            alive.append(tensor)
        return tensor

    alive: list[Tensor] = []
    with torch.device("meta"):
        trunk = Trunk(shape, precision).train()
        trunk.recompute, trunk.attend = recompute, attend
        ids = torch.zeros(rows, shape.context, dtype=torch.long)
        with saved_tensors_hooks(keep, lambda tensor: tensor):
            states = trunk(ids, ids, document_mask(ids))
    return sum(seen.values()) + states.untyped_storage().nbytes()


def _head(shape: Shape, precision: torch.dtype, rows: int) -> int:
    """Gradients of states and head that the loss keeps, and one chunk of scores with its temporaries."""
    states = 2 * rows * shape.context * shape.width * precision.itemsize
    return states + 4 * shape.vocab * shape.width + 4 * 4 * CHUNK * shape.vocab
