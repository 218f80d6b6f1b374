"""Peak memory of training, predicted before step 0: bytes of one forward and backward pass on fake tensors."""

import weakref
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from groundup.codecs.patches import Frame
from groundup.device import Device
from groundup.model.attention import document_mask
from groundup.model.parameters import matrices_of
from groundup.model.transformer import Transformer
from groundup.model.vision.encoder import ImageInputs, normalised
from groundup.train.blocks import STORED, Block, activate, partition, stored
from groundup.train.distributed.mesh import ProcessMesh
from groundup.train.loss_module import LossModule

# Bytes that a host process holds for each byte in use, as its allocator keeps freed memory. Measured: 1.1 to 2.3, most
# with recomputation; compiled code stores fewer activations: 1.1.
HOLDS, COMPILED_HOLDS = 1.7, 1.2
BLOCKS_HOLD = 1.4  # where blocks train in turn. Measured: 0.9, and 2.1 with recomputation
COMPILER = 128 << 20  # bytes of the compiler's own modules


def predict(
    model: Transformer,
    size: tuple[int, int],
    mesh: ProcessMesh,
    device: Device,
    saves: bool,
    blocks: int = 1,
    muon: bool = True,
    reference: bool = False,
) -> int:
    """Predict the peak bytes of training on one process, without the program itself; accurate within a factor of 1.6.

    Weights, optimiser state, gradients, activations and temporaries of a forward of `size` rows and tokens; on the host
    also the copy of a checkpoint being written, if the run `saves`. With a `reference`, its weights too. Where `blocks`
    train in turn, of the first layers, as the backward pass goes furthest there.
    """
    if blocks == 1:
        held, used = _held(model, mesh, muon), _used(_fake(model), size, mesh) + _gathered(model, mesh)
        held *= 2 if saves and device.is_host else 1
        held += model.precision.itemsize * _count(model.parameters()) if reference else 0
        return _on(device, held, used, model.recompute)
    learner = _fake(model, next(block for block in partition(model, blocks) if block.modules))
    used = _used(learner, size, ProcessMesh())
    return _on(device, _held_of_block(learner, muon), used, model.recompute, BLOCKS_HOLD)


def _on(device: Device, held: int, used: int, recompute: bool, holds: float = HOLDS) -> int:
    """Bytes that a device needs for those that are held and those in use meanwhile."""
    if not device.is_host:
        return held + used
    compiles = device.compiles
    return int(held + used * (COMPILED_HOLDS if compiles and not recompute else holds) + COMPILER * compiles)


def _held_of_block(learner: LossModule, muon: bool) -> int:
    """Bytes of bf16 weights, and of a block's fp32 masters with one moment for Muon's matrices and two for the rest."""
    active = {name: each for name, each in learner.named_parameters() if each.requires_grad}
    matrices = [each for name, each in matrices_of(learner).items() if name in active]
    saved = _count(matrices) if muon else 0
    return STORED.itemsize * _count(learner.model.parameters()) + 4 * (3 * _count(active.values()) - saved)


def _fake(model: Transformer, block: Block | None = None) -> LossModule:
    """The model with its loss on fake tensors, all of it or a block getting gradients."""
    with FakeTensorMode():
        if block is None:
            fake = Transformer(model.config, model.precision)
        else:
            fake = stored(model.config, model.precision, torch.device("cpu"))
        fake.recompute, fake.attend = model.recompute, model.attend
        learner = LossModule(fake.train())
        if block is not None:
            activate(learner, block)
    return learner


def _held(model: Transformer, mesh: ProcessMesh, muon: bool = True) -> int:
    """Bytes of fp32 weights with one moment for Muon's matrices and two for the rest."""
    saved = _count(matrices_of(model).values()) if muon else 0
    return 4 * (3 * _count(model.parameters()) - saved) // mesh.size


def _gathered(model: Transformer, mesh: ProcessMesh) -> int:
    """Bytes that sharding adds: two full blocks, all outside the blocks, gradient rows, owners' copies of matrices."""
    if mesh.device_mesh is None:
        return 0
    total, matrices = _count(model.parameters()), _count(matrices_of(model).values())
    of_blocks = _count(matrices_of(model.model.layers).values())
    blocks = 2 * of_blocks // model.config.depth
    return model.precision.itemsize * blocks + 4 * (total - of_blocks) + 4 * (total + 2 * matrices) // mesh.size


def _count(parameters: Iterable[Tensor]) -> int:
    return sum(each.numel() for each in parameters)


def _used(learner: LossModule, size: tuple[int, int], mesh: ProcessMesh) -> int:
    """Most bytes in use during a forward and backward on fake tensors: gradients, activations and temporaries."""
    fake = learner.model
    with _mode_of(fake):
        if mesh.device_mesh is not None:
            for parameter in fake.parameters():
                parameter.register_post_accumulate_grad_hook(_drop_gradient)  # type: ignore[no-untyped-call]
        ids_BT = torch.zeros(size, dtype=torch.long)
        with _InUse() as in_use:
            images = _full_of_images(fake, ids_BT)
            x_ND = fake(
                ids_BT, ids_BT, document_mask(ids_BT, None if images is None else ids_BT), images=images
            ).flatten(0, 1)
            loss = learner.cross_entropy(x_ND, ids_BT.flatten(), torch.ones(ids_BT.numel()))
            if fake.vision is not None and images is not None:
                loss = (
                    loss
                    + (fake.vision.next_patch(x_ND[images.index_N]).float() - normalised(images.patches_NP))
                    .square()
                    .sum()
                )
            loss.backward()  # type: ignore[no-untyped-call]
    return in_use.most


def _mode_of(model: Transformer) -> FakeTensorMode:
    """The mode in which a model's tensors are fake."""
    weight: Any = model.model.embed_tokens.weight.data
    mode: FakeTensorMode = weight.fake_mode
    return mode


def _full_of_images(model: Transformer, ids_BT: Tensor) -> ImageInputs | None:
    """As many patches as the rows hold, in images of the largest size; None for a model without a vision encoder."""
    if model.vision is None:
        return None
    N, most = ids_BT.numel(), model.config.patches
    images = tuple(Frame(1, size, size) for size in (min(most, N - start) for start in range(0, N, most)))
    return ImageInputs(
        torch.zeros(N, model.config.patch_values, dtype=torch.uint8), torch.arange(N), torch.zeros(N, 2,
        dtype=torch.long), frames=images
    )  # fmt: skip


def _drop_gradient(parameter: Tensor) -> None:
    """Free a sharded gradient at once."""
    parameter.grad = None


class _InUse(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up the bytes of all tensors that operations return, while they live."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = self.most = 0
        self.known: set[int] = set()

    def __torch_dispatch__(self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for value in tree_leaves(result):
            if isinstance(value, Tensor) and value.untyped_storage()._cdata not in self.known:
                self._add(value.untyped_storage())
        return result

    def _add(self, storage: torch.UntypedStorage) -> None:
        self.known.add(storage._cdata)
        self.now += storage.nbytes()
        self.most = max(self.most, self.now)
        weakref.finalize(storage, self._remove, storage._cdata, storage.nbytes())

    def _remove(self, key: int, size: int) -> None:
        self.known.discard(key)
        self.now -= size
