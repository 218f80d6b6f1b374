"""The process mesh: FSDP2 (arXiv:2304.11277) shards the first dimension of each parameter by rank."""

import os
from collections.abc import Iterable
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor

from groundup.core.errors import InputError
from groundup.device import Device
from groundup.train.loss_module import LossModule


@dataclass(frozen=True)
class ProcessMesh:
    """This process in the mesh: its rank and the number of ranks."""

    rank: int = 0
    size: int = 1
    device_mesh: DeviceMesh | None = None

    @property
    def is_main(self) -> bool:
        """Whether this is the process that writes files: rank 0."""
        return self.rank == 0

    def divide(self, rows: int) -> int:
        """Check that the rows of a batch split equally over the processes, and return them."""
        if rows % self.size:
            raise InputError(
                f"a batch of {rows} rows does not split over {self.size} processes; set batch_tokens to a multiple of"
                f" {self.size} rows"
            )
        return rows

    def barrier(self) -> None:
        """Wait for all processes."""
        if self.device_mesh is not None:
            dist.barrier()

    def all_reduce(self, value: Tensor) -> Tensor:
        """The sum of a tensor over all processes."""
        if self.device_mesh is not None:
            dist.all_reduce(value)
        return value

    def average_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Replace gradients that are not sharded by their mean; sharded ones are averaged where they are computed."""
        for parameter in parameters:
            if self.device_mesh is not None and parameter.grad is not None and not isinstance(parameter, DTensor):
                self.all_reduce(parameter.grad).div_(self.size)

    def any_reduce(self, *flags: bool) -> list[bool]:
        """Each flag, True where it is True on any process."""
        if self.device_mesh is None:
            return list(flags)
        return [
            count > 0
            for count in self.all_reduce(
                torch.tensor(flags, dtype=torch.float32, device=self.device_mesh.device_type)
            ).tolist()
        ]


def join(device: Device) -> ProcessMesh:
    """Join the processes that `torchrun` started, or run alone."""
    size = int(os.environ.get("WORLD_SIZE", 1))
    if size == 1:
        return ProcessMesh()
    if not dist.is_initialized():
        dist.init_process_group(device.collectives)
    return ProcessMesh(dist.get_rank(), size, init_device_mesh(device.kind, (size,)))


def shard(learner: LossModule, mesh: ProcessMesh) -> None:
    """Shard every parameter (FSDP2); blocks gather theirs in the compute dtype, embedding and head theirs in fp32."""
    if mesh.device_mesh is None:
        return
    policy = MixedPrecisionPolicy(
        param_dtype=learner.model.precision, reduce_dtype=torch.float32, cast_forward_inputs=False
    )
    for block in learner.model.model.layers:
        fully_shard(block, mesh=mesh.device_mesh, mp_policy=policy)
    fully_shard(learner, mesh=mesh.device_mesh, mp_policy=MixedPrecisionPolicy(cast_forward_inputs=False))


def slice_of(length: int, rank: int, size: int) -> slice:
    """The rows that one of `size` ranks holds of a first dimension: equal slices, the last ones shorter or empty."""
    each = -(-length // size)
    return slice(min(length, rank * each), min(length, (rank + 1) * each))


def local(tensor: Tensor) -> Tensor:
    """This process's slice of a tensor."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def full_tensor(tensor: Tensor) -> Tensor:
    """The full tensor, gathered; every process must call it."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
