"""The CPU kernel backend: `model.ops.Ops` (shapes there) in C. `pack_weights` gives a model this backend."""

import ctypes
from typing import Any

import torch
from torch import Tensor, nn

from groundup.core.errors import InputError
from groundup.kernels.cpu.kernels import Attention, Call, Kind, Table, library
from groundup.kernels.cpu.matrix import LANES, Packed, Weights, fits
from groundup.model.config import ModelConfig
from groundup.model.linear import Linear, RMSNorm
from groundup.model.ops import Ops
from groundup.model.rotary import Rotary
from groundup.model.transformer import Transformer

GROUP = 8  # query heads that may share a key head


class CpuBackend(Ops):
    """`model.ops.Ops` by the C kernels; batch-invariant: the bits of a row depend on that row alone.

    While `graph` is set, calls are also captured for replay. Rotary angles start as a table of `context` positions.
    """

    def __init__(self, kernels: ctypes.CDLL, context: int = 1):
        self.kernels, self.context = kernels, context
        self.threads = torch.get_num_threads()
        self.graph: CapturedGraph | None = None
        self._angles: dict[Rotary, tuple[Tensor, Tensor]] = {}

    def call(
        self,
        kind: Kind,
        tokens: int,
        operands: tuple[Any, ...],
        size: tuple[int, ...],
        wide: bool,
        epsilon: float = 0.0,
    ) -> None:
        """Run a kernel for `tokens` tokens; operands are tensors, or addresses that outlive the call."""
        addresses = [each.data_ptr() if isinstance(each, Tensor) else each for each in operands]
        call = Call(kind, (ctypes.c_void_p * 5)(*addresses), (ctypes.c_long * 3)(*size), epsilon, wide)
        if self.graph is not None:
            self.graph.add(call, operands)
        self.kernels.run(ctypes.byref(call), 1, tokens, self.threads)

    def embedding(self, ids_BT: Tensor, weight: Tensor, scale: float, precision: torch.dtype) -> Tensor:
        """The table is kept in the precision, times the scale."""
        ids_BT, width = ids_BT.contiguous(), weight.shape[1]
        x_BTD = torch.empty((*ids_BT.shape, width), dtype=precision)
        self.call(Kind.EMBED, ids_BT.numel(), (ids_BT, weight, x_BTD), (1, width), precision == torch.float32)
        return x_BTD

    def linear(self, x: Tensor, weight: Packed, bias: Tensor | None = None) -> Tensor:
        x = x.contiguous()
        rows = x.numel() // weight.inputs
        y = torch.empty((*x.shape[:-1], weight.outputs), dtype=x.dtype)
        space = torch.empty(rows * weight.row_bytes, dtype=torch.uint8)
        self.call(Kind.LINEAR, rows, (weight.address, x, y, space, bias), (1,), x.dtype == torch.float32)
        return y

    def rms_norm(self, x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
        x, width, tokens = x.contiguous(), len(weight), x.shape[0] * x.shape[1]
        y, size = torch.empty_like(x), (x.numel() // tokens // width, width)
        self.call(Kind.NORM, tokens, (x, weight, y), size, x.dtype == torch.float32, epsilon)
        return y

    def rotary_angles(self, positions_BT: Tensor, rotary: Rotary) -> tuple[Tensor, Tensor]:
        positions_BT = positions_BT.contiguous()
        tables = self._tables(max(self.context, int(positions_BT.max()) + 1), rotary)
        cos_BTE, sin_BTE = (torch.empty((*positions_BT.shape, rotary.features)) for _ in tables)
        operands = (positions_BT, *tables, cos_BTE, sin_BTE)
        self.call(Kind.ANGLES, positions_BT.numel(), operands, (1, rotary.features), True)
        return cos_BTE, sin_BTE

    def _tables(self, positions: int, rotary: Rotary) -> tuple[Tensor, Tensor]:
        """Cosines and sines [S, E] of at least so many positions; evaluation scores rows beyond the context."""
        known = self._angles.get(rotary)
        if known is None or len(known[0]) < positions:
            cos, sin = rotary.angles(torch.arange(positions)[None])
            known = self._angles[rotary] = cos[0].contiguous(), sin[0].contiguous()
        return known

    def rotary_embedding(self, x_BTHE: Tensor, cos_BTE: Tensor, sin_BTE: Tensor) -> Tensor:
        B, T, H, E = x_BTHE.shape
        y_BTHE = torch.empty_like(x_BTHE)
        operands = (x_BTHE, cos_BTE.expand(B, T, E).contiguous(), sin_BTE.expand(B, T, E).contiguous(), y_BTHE)
        self.call(Kind.ROTATE, B * T, operands, (1, H, E), x_BTHE.dtype == torch.float32)
        return y_BTHE

    def swiglu(self, gate_BTF: Tensor, up_BTF: Tensor) -> Tensor:
        return self._pairwise(Kind.GATE, gate_BTF, up_BTF)

    def geglu(self, gate_BTF: Tensor, up_BTF: Tensor) -> Tensor:
        return self._pairwise(Kind.GATE, gate_BTF, up_BTF, 1)

    def residual_add(self, residual_BTD: Tensor, x_BTD: Tensor) -> Tensor:
        return self._pairwise(Kind.ADD, residual_BTD, x_BTD)

    def _pairwise(self, kind: Kind, x: Tensor, other: Tensor, variant: int = 0) -> Tensor:
        y, width = torch.empty_like(x), x.shape[-1]
        self.call(kind, x.numel() // width, (x, other, y), (width, variant), x.dtype == torch.float32)
        return y


class CapturedGraph:
    """The kernel calls of one forward, in order, with the tensors that they read and write."""

    def __init__(self) -> None:
        self._calls: list[Call] = []
        self._kept: list[Any] = []

    def add(self, call: Call, operands: tuple[Any, ...]) -> None:
        """Capture a call."""
        self._calls.append(call)
        self._kept.append(operands)

    def keep(self, operand: Any) -> None:
        """Keep an object alive that the calls use."""
        self._kept.append(operand)

    def instantiate(self, backend: CpuBackend) -> None:
        """End the capture: lay the calls out as one array."""
        self._backend, self._count = backend, len(self._calls)
        self._row = (Call * self._count)(*self._calls)

    def replay(self, tokens: int) -> None:
        """Run the captured calls again, for the first `tokens` tokens."""
        self._backend.kernels.run(self._row, self._count, tokens, self._backend.threads)


def argmax(backend: CpuBackend, scores_NV: Tensor, width: int) -> Tensor:
    """The index of the largest of the first `width` logits of each row, the first of equals, [N]."""
    ids_N = torch.empty(len(scores_NV), dtype=torch.int64)
    backend.call(
        Kind.BEST, len(scores_NV), (scores_NV, ids_N), (1, scores_NV.shape[1], width), scores_NV.dtype == torch.float32
    )
    return ids_N


def store(backend: CpuBackend, new: tuple[Tensor, Tensor], blocks: tuple[Tensor, Tensor], slots_R: Tensor) -> None:
    """Store keys and values [1, R, K, E] of new tokens in their slots of the cache."""
    _, R, K, E = new[0].shape
    backend.call(Kind.STORE, R, (*new, *blocks, slots_R), (1, K, E), new[0].dtype == torch.float32)


def paged_attention(
    backend: CpuBackend, q_BTHE: Tensor, blocks: tuple[Tensor, Tensor], table: Table, window: int, space: Tensor
) -> Tensor:
    """Attention of queries [1, R, H, E] over the blocks that a table lists; `window`: of positions, or 0 for all."""
    o_BTHE, wide = torch.empty_like(q_BTHE), q_BTHE.dtype == torch.float32
    addresses = [each.data_ptr() for each in (q_BTHE, *blocks, o_BTHE)]
    call = ctypes.pointer(Attention(ctypes.pointer(table), *addresses, window, wide))
    address = ctypes.addressof(call.contents)
    backend.call(Kind.ATTEND, q_BTHE.shape[1], (address, space), (1,), wide)
    if backend.graph is not None:
        backend.graph.keep((call, table, q_BTHE, o_BTHE, blocks))
    return o_BTHE


def cpu_backend(config: ModelConfig) -> CpuBackend | None:
    """The backend for models of a config; None without a C compiler, or if rows are not whole vectors."""
    widths = (config.width, config.ffn, config.head_dim, config.heads * config.head_dim)
    if not all(map(fits, widths)) or config.heads // config.kv_heads > GROUP:
        return None
    kernels = library()
    return None if kernels is None else CpuBackend(kernels, config.context)


@torch.no_grad()
def pack_weights(model: Transformer, weights: Weights, backend: CpuBackend | None) -> int:
    """Pack a model's matrices for inference only, quantised if requested, and set its backend; returns their bytes.

    With int4 the head is int8; the vision encoder is never quantised. Raises InputError for int8 or int4 without a
    backend.
    """
    if backend is None:
        if weights != "full":
            raise InputError(
                f"weights {weights}: needs a C compiler, and layers of whole vectors ({LANES} numbers); serve them in"
                " full"
            )
        return sum(weight.nbytes for weight in model.parameters())
    size, linears = 0, [each for each in model.model.modules() if isinstance(each, Linear)]
    norms = [each for each in model.model.modules() if isinstance(each, RMSNorm)]
    for vector in (*(each.bias for each in linears if each.bias is not None), *(each.weight for each in norms)):
        vector.data = vector.data.float().contiguous()
    for linear in (*linears, model.lm_head):
        head_of_int4 = linear is model.lm_head and weights == "int4"
        packed = Packed(linear.weight.to(model.precision), "int8" if head_of_int4 else weights)
        del linear.weight
        linear.weight = packed  # type: ignore[assignment]
        size += packed.bytes
    table = model.model.embed_tokens
    scaled = table.weight.detach() * model.config.embed_scale
    table.weight = nn.Parameter(scaled.to(model.precision).contiguous(), requires_grad=False)
    model.ops = backend
    return size + table.weight.nbytes
