"""Hundreds of processes rehearsed in one, on fake tensors and a process group that only pretends to talk."""

import torch
import torch.distributed as dist
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.distributed.device_mesh import init_device_mesh
from torch.testing._internal.distributed.fake_pg import FakeStore

from groundup.model.config import ModelConfig
from groundup.model.parameters import matrices_of
from groundup.model.transformer import Transformer
from groundup.train.distributed.mesh import ProcessMesh, local, shard, slice_of
from groundup.train.loss_module import LossModule
from groundup.train.optim.matrix_owners import MatrixShardOwners
from groundup.train.optim.optimizer import Optimizer
from tests.train.train_helpers import SCHEDULE, start

SIZE = 256
LARGE = ModelConfig(
    depth=12, width=4096, heads=32, kv_heads=8, head_dim=128, ffn=11008, vocab=65_536, context=2048, tied=False
)


def _rehearse(rank: int) -> None:
    dist.init_process_group("fake", rank=rank, world_size=SIZE, store=FakeStore())
    mesh = ProcessMesh(rank, SIZE, init_device_mesh("cpu", (SIZE,)))
    with FakeTensorMode(allow_non_fake_inputs=True):
        learner = LossModule(Transformer(LARGE, torch.bfloat16))
        shapes = {name: parameter.shape for name, parameter in learner.named_parameters()}
        matrices = set(matrices_of(learner))
        shard(learner, mesh)
        optimizer = Optimizer(learner, SCHEDULE, 10, mesh)
        optimizer.prepare(0)  # a whole update
        held = {name: local(parameter).numel() for name, parameter in learner.named_parameters()}
        state = sum(local(value).numel() for value in optimizer.state().values())
        owned = [shapes[name].numel() for name in optimizer.owners.full]
    rows = {name: slice_of(shape[0], rank, SIZE) for name, shape in shapes.items()}
    assert held == {name: (rows[name].stop - rows[name].start) * shape[1:].numel() for name, shape in shapes.items()}
    others = [name for name in shapes if name not in matrices]
    assert state == sum(owned) + sum(2 * held[name] + 1 for name in others)  # AdamW counts its steps for each
    assert len(owned) <= 1  # 84 matrices for 256 processes


def test_a_process_of_many_holds_exactly_its_share() -> None:
    children = [start(_rehearse, rank) for rank in (0, SIZE - 1)]
    for child in children:
        child.join()
    assert [child.exitcode for child in children] == [0, 0]


def test_owners_share_out_all_matrices_evenly() -> None:
    with torch.device("meta"):
        matrices = matrices_of(LossModule(Transformer(LARGE)))
    everyone = [MatrixShardOwners(matrices, ProcessMesh(rank, 8)) for rank in range(8)]
    numbers = sorted(number for owners in everyone for number in owners.owned)
    assert numbers == list(range(len(matrices)))
    sizes = [parameter.numel() for parameter in matrices.values()]
    loads = [sum(sizes[number] for number in owners.owned) for owners in everyone]
    assert max(loads) <= sum(loads) / 8 + max(sizes)
