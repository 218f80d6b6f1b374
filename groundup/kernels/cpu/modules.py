"""The leaves of the model, each with the kernel in its place: `plant` puts them in from outside.

A leaf computes what the module it replaces computes, in the same precision, summed in another order. What a token gets
depends on nothing but its own row. Shapes as in `model.transformer`.
"""

import ctypes
from typing import Any

import torch
from torch import Tensor, nn

from groundup.core.errors import InputError
from groundup.kernels.cpu.kernels import Attention, Call, Kind, Table, library
from groundup.kernels.cpu.matrix import LANES, Packed, Weights, fits
from groundup.model.config import ModelConfig
from groundup.model.linear import Linear, RMSNorm
from groundup.model.transformer import Gate, Rotary, Rotation, Sum, Transformer

GROUP = 8  # query heads that may share a key head


class Workshop:
    """Carries out calls of the kernels, or collects them on a `tape` to be carried out together, again and again.

    Sizes are those of one token; `tokens` says for how many.
    """

    def __init__(self, kernels: ctypes.CDLL):
        self.kernels = kernels
        self.threads = torch.get_num_threads()
        self.tape: Tape | None = None

    def do(
        self,
        kind: Kind,
        tokens: int,
        operands: tuple[Any, ...],
        size: tuple[int, ...],
        wide: bool,
        epsilon: float = 0.0,
    ) -> None:
        """One call; operands are tensors, or addresses of what outlives the call."""
        addresses = [each.data_ptr() if isinstance(each, Tensor) else each for each in operands]
        call = Call(kind, (ctypes.c_void_p * 5)(*addresses), (ctypes.c_long * 3)(*size), epsilon, wide)
        if self.tape is not None:
            self.tape.add(call, operands)
        self.kernels.run(ctypes.byref(call), 1, tokens, self.threads)


class Tape:
    """Calls in the order in which one forward made them, and the tensors they work on."""

    def __init__(self) -> None:
        self._calls: list[Call] = []
        self._kept: list[Any] = []

    def add(self, call: Call, operands: tuple[Any, ...]) -> None:
        """Remember a call."""
        self._calls.append(call)
        self._kept.append(operands)

    def keep(self, what: Any) -> None:
        """Hold on to something the calls need."""
        self._kept.append(what)

    def wind(self, shop: Workshop) -> None:
        """Make it ready to be played."""
        self._shop, self._count = shop, len(self._calls)
        self._row = (Call * self._count)(*self._calls)

    def play(self, tokens: int) -> None:
        """Make the calls again, for the first tokens of those that the forward was made with."""
        self._shop.kernels.run(self._row, self._count, tokens, self._shop.threads)


class _Leaf(nn.Module):
    def __init__(self, shop: Workshop):
        super().__init__()
        self.shop = shop


class _Linear(_Leaf):
    def __init__(self, packed: Packed, shop: Workshop):
        super().__init__(shop)
        self.packed = packed

    def forward(self, x: Tensor) -> Tensor:
        x, packed = x.contiguous(), self.packed
        rows = x.numel() // packed.inputs
        y = torch.empty((*x.shape[:-1], packed.outputs), dtype=x.dtype)
        space = torch.empty(rows * packed.row_bytes, dtype=torch.uint8)
        self.shop.do(Kind.LINEAR, rows, (packed.address, x, y, space), (1,), x.dtype == torch.float32)
        return y


class _Embedding(_Leaf):
    def __init__(self, embedding: nn.Embedding, precision: torch.dtype, shop: Workshop):
        super().__init__(shop)
        self.weight = nn.Parameter(embedding.weight.detach().to(precision).contiguous(), requires_grad=False)

    def forward(self, ids_BT: Tensor) -> Tensor:
        ids_BT = ids_BT.contiguous()
        x_BTD = torch.empty((*ids_BT.shape, self.weight.shape[1]), dtype=self.weight.dtype)
        self.shop.do(
            Kind.EMBED,
            ids_BT.numel(),
            (ids_BT, self.weight, x_BTD),
            (1, self.weight.shape[1]),
            x_BTD.dtype == torch.float32,
        )
        return x_BTD


class _Rotary(_Leaf):
    def __init__(self, rotary: Rotary, context: int, shop: Workshop):
        super().__init__(shop)
        self._rotary = rotary
        self._reach(context)

    def _reach(self, positions: int) -> None:
        cos, sin = self._rotary(torch.arange(positions)[None])
        self._cos_SE, self._sin_SE = cos[0].contiguous(), sin[0].contiguous()

    def forward(self, positions_BT: Tensor) -> tuple[Tensor, Tensor]:
        if (last := int(positions_BT.max())) >= len(
            self._cos_SE
        ):  # evaluation weighs rows beyond the context: answers side by side
            self._reach(last + 1)
        positions_BT, E = positions_BT.contiguous(), self._cos_SE.shape[1]
        cos_BTE, sin_BTE = torch.empty((*positions_BT.shape, E)), torch.empty((*positions_BT.shape, E))
        self.shop.do(
            Kind.ANGLES,
            positions_BT.numel(),
            (positions_BT, self._cos_SE, self._sin_SE, cos_BTE, sin_BTE),
            (1, E),
            True,
        )
        return cos_BTE, sin_BTE


class _Norm(_Leaf):
    def __init__(self, norm: RMSNorm, shop: Workshop):
        super().__init__(shop)
        self._weight, self._epsilon = norm.weight.detach().float().contiguous(), norm.epsilon

    def forward(self, x: Tensor) -> Tensor:
        x, width = x.contiguous(), len(self._weight)
        y = torch.empty_like(x)
        tokens = x.shape[0] * x.shape[1]
        size = (x.numel() // tokens // width, width)
        self.shop.do(Kind.NORM, tokens, (x, self._weight, y), size, x.dtype == torch.float32, self._epsilon)
        return y


class _Rotation(_Leaf):
    def forward(self, x_BTHE: Tensor, cos_BTE: Tensor, sin_BTE: Tensor) -> Tensor:
        B, T, H, E = x_BTHE.shape
        y_BTHE = torch.empty_like(x_BTHE)
        operands = (x_BTHE, cos_BTE.expand(B, T, E).contiguous(), sin_BTE.expand(B, T, E).contiguous(), y_BTHE)
        self.shop.do(Kind.ROTATE, B * T, operands, (1, H, E), x_BTHE.dtype == torch.float32)
        return y_BTHE


class _Gate(_Leaf):
    def forward(self, gate_BTF: Tensor, up_BTF: Tensor) -> Tensor:
        y_BTF = torch.empty_like(gate_BTF)
        width = gate_BTF.shape[-1]
        self.shop.do(
            Kind.GATE, gate_BTF.numel() // width, (gate_BTF, up_BTF, y_BTF), (width,), gate_BTF.dtype == torch.float32
        )
        return y_BTF


class _Sum(_Leaf):
    def forward(self, stream_BTD: Tensor, found_BTD: Tensor) -> Tensor:
        y_BTD, width = torch.empty_like(stream_BTD), stream_BTD.shape[-1]
        self.shop.do(
            Kind.ADD, y_BTD.numel() // width, (stream_BTD, found_BTD, y_BTD), (width,), y_BTD.dtype == torch.float32
        )
        return y_BTD


def best(shop: Workshop, scores_NV: Tensor, width: int) -> Tensor:
    """The likeliest of the first `width` ids of each row, the first of equals, [N]."""
    ids_N = torch.empty(len(scores_NV), dtype=torch.int64)
    shop.do(
        Kind.BEST, len(scores_NV), (scores_NV, ids_N), (1, scores_NV.shape[1], width), scores_NV.dtype == torch.float32
    )
    return ids_N


def store(shop: Workshop, new: tuple[Tensor, Tensor], pages: tuple[Tensor, Tensor], slots_R: Tensor) -> None:
    """Put keys and values [1, R, K, E] of new tokens into their slots."""
    _, R, K, E = new[0].shape
    shop.do(Kind.STORE, R, (*new, *pages, slots_R), (1, K, E), new[0].dtype == torch.float32)


def attend(shop: Workshop, q_BTHE: Tensor, pages: tuple[Tensor, Tensor], table: Table, space: Tensor) -> Tensor:
    """What queries [1, R, H, E] gather from pages, as the table says."""
    o_BTHE, wide = torch.empty_like(q_BTHE), q_BTHE.dtype == torch.float32
    call = ctypes.pointer(
        Attention(
            ctypes.pointer(table), q_BTHE.data_ptr(), pages[0].data_ptr(), pages[1].data_ptr(), o_BTHE.data_ptr(), wide
        )
    )
    address = ctypes.addressof(call.contents)
    shop.do(Kind.ATTEND, q_BTHE.shape[1], (address, space), (1,), wide)
    if shop.tape is not None:
        shop.tape.keep((call, table, q_BTHE, o_BTHE, pages))
    return o_BTHE


def workshop(config: ModelConfig) -> Workshop | None:
    """The workshop for models of a config, or None: no compiler, or rows that are not whole vectors."""
    widths = (config.width, config.ffn, config.head_dim, config.heads * config.head_dim)
    if not all(map(fits, widths)) or config.heads // config.kv_heads > GROUP:
        return None
    kernels = library()
    return None if kernels is None else Workshop(kernels)


@torch.no_grad()
def plant(model: Transformer, weights: Weights, shop: Workshop | None) -> int:
    """Replace the leaves of a model; returns the bytes its matrices take. The model cannot be trained afterwards.

    The head is in whole numbers of 8 bits at least; eyes stay in full. Raises InputError if integers are asked for and
    there is no workshop.
    """
    if shop is None:
        if weights != "full":
            raise InputError(
                f"weights {weights}: needs a C compiler, and layers of whole vectors ({LANES} numbers); serve them in"
                " full"
            )
        return sum(weight.nbytes for weight in model.parameters())
    size = 0
    eyes = (
        list(model.vision.modules()) if model.vision is not None else []
    )  # stay as they are: they see a whole image at a time
    for module in [module for module in model.modules() if module not in eyes]:
        for name, leaf in list(module.named_children()):
            match leaf:
                case Linear():
                    packed = Packed(
                        leaf.weight.to(model.precision), "int8" if module is model and weights == "int4" else weights
                    )
                    setattr(module, name, _Linear(packed, shop))
                    size += packed.bytes
                case nn.Embedding():
                    setattr(module, name, _Embedding(leaf, model.precision, shop))
                case Rotary():
                    setattr(module, name, _Rotary(leaf, model.config.context, shop))
                case RMSNorm():
                    setattr(module, name, _Norm(leaf, shop))
                case Rotation():
                    setattr(module, name, _Rotation(shop))
                case Gate():
                    setattr(module, name, _Gate(shop))
                case Sum():
                    setattr(module, name, _Sum(shop))
    return size + model.model.embed_tokens.weight.nbytes
