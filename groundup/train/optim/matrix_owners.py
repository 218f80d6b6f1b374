"""Muon's updates need full matrices, but each process holds only some rows of each.

Each matrix has one owner process. The owner receives all rows, updates the full matrix, and sends the rows back, in one
message a peer. The update has the same bits as on a single process, and the work is divided.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import Tensor, nn

from groundup.train.distributed.mesh import ProcessMesh, local, slice_of


class MatrixShardOwners:
    """Matrices by name, and `full`, the full ones that this process owns; `gathered` fills them if they are sharded."""

    def __init__(self, matrices: dict[str, nn.Parameter], mesh: ProcessMesh):
        self.matrices, self.mesh = list(matrices.values()), mesh
        self.by_owner = _shares([matrix.numel() for matrix in self.matrices], mesh.size)
        self.owned = self.by_owner[mesh.rank]
        names = list(matrices)
        self.full = (
            matrices
            if mesh.device_mesh is None
            else {names[number]: _empty_copy(self.matrices[number]) for number in self.owned}
        )

    @contextmanager
    def gathered(self) -> Iterator[None]:
        """A context in which `full` has weights and gradients; then each rank gets its updated rows. All call it."""
        if self.mesh.device_mesh is None or not self.matrices:
            yield
            return
        rows = [local(matrix).detach() for matrix in self.matrices]
        gradients = [local(matrix.grad) for matrix in self.matrices if matrix.grad is not None]
        for copy, weight, gradient in zip(self.full.values(), self._gather(rows), self._gather(gradients), strict=True):
            copy.detach().copy_(weight)
            copy.grad = gradient
        yield
        for row, updated in zip(rows, self._scatter([copy.detach() for copy in self.full.values()]), strict=True):
            row.copy_(updated)

    def _gather(self, rows: Sequence[Tensor]) -> list[Tensor]:
        """Gather each owned matrix in full from all processes' rows."""
        sent = [[rows[number] for number in numbers] for numbers in self.by_owner]
        received = self._exchange(
            sent, [[self._shape(number, peer) for number in self.owned] for peer in range(self.mesh.size)]
        )
        return [torch.cat(parts) for parts in zip(*received, strict=True)]

    def _scatter(self, full: Sequence[Tensor]) -> list[Tensor]:
        """Scatter the owned full matrices; return this process's rows of every matrix."""
        sent = [
            [matrix[self._rows(number, peer)] for number, matrix in zip(self.owned, full, strict=True)]
            for peer in range(self.mesh.size)
        ]
        received = self._exchange(
            sent, [[self._shape(number, self.mesh.rank) for number in numbers] for numbers in self.by_owner]
        )
        parts = {
            number: part
            for peer in zip(self.by_owner, received, strict=True)
            for number, part in zip(*peer, strict=True)
        }
        return [parts[number] for number in range(len(self.matrices))]

    def _exchange(self, sent: list[list[Tensor]], shapes: list[list[tuple[int, int]]]) -> list[list[Tensor]]:
        """All-to-all: send `sent[peer]` to each peer, receive tensors of `shapes[peer]` from it."""
        sizes = [[rows * columns for rows, columns in peer] for peer in shapes]
        nothing = local(self.matrices[0]).new_empty(0)  # for a process that owns no matrix
        packed = torch.cat([nothing, *(tensor.flatten() for tensors in sent for tensor in tensors)])
        buffer = packed.new_empty(sum(map(sum, sizes)))
        dist.all_to_all_single(
            buffer,
            packed,
            [sum(peer) for peer in sizes],
            [sum(tensor.numel() for tensor in tensors) for tensors in sent],
        )
        parts = iter(torch.split(buffer, [size for peer in sizes for size in peer]))
        return [[next(parts).view(shape) for shape in peer] for peer in shapes]

    def _rows(self, number: int, rank: int) -> slice:
        return slice_of(self.matrices[number].shape[0], rank, self.mesh.size)

    def _shape(self, number: int, rank: int) -> tuple[int, int]:
        rows = self._rows(number, rank)
        return rows.stop - rows.start, self.matrices[number].shape[1]


def _shares(sizes: list[int], owners: int) -> list[list[int]]:
    """Indices of each owner's matrices: the largest first, each to the owner with the smallest load."""
    result: list[list[int]] = [[] for _ in range(owners)]
    loads = [0] * owners
    for number in sorted(range(len(sizes)), key=lambda number: -sizes[number]):
        owner = loads.index(min(loads))
        loads[owner] += sizes[number]
        result[owner].append(number)
    return result


def _empty_copy(matrix: nn.Parameter) -> nn.Parameter:
    return nn.Parameter(torch.empty(matrix.shape, dtype=matrix.dtype, device=matrix.device))
