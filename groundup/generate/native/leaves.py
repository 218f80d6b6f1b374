"""The leaves of the trunk, each with the kernel in its place: `plant` puts them in from outside.

A leaf computes what the module it replaces computes, in the same precision, summed in another order. What a token gets depends
on nothing but its own row. Shapes as in `model.trunk`.
"""

import ctypes

import torch
from torch import Tensor, nn

from groundup.errors import InputError
from groundup.generate.native.kernels import library
from groundup.generate.native.matrix import LANES, Packed, Weights, fits
from groundup.model.shape import Shape
from groundup.model.trunk import Gate, Linear, RMSNorm, Rotation, Trunk


class Workshop:
    """What the leaves share: the kernels, the number of threads, and room for what they prepare."""

    def __init__(self, kernels: ctypes.CDLL):
        self.kernels = kernels
        self.threads = torch.get_num_threads()
        self._space = torch.empty(1 << 20, dtype=torch.uint8)

    def space(self, size: int) -> int:
        """Address of at least that many bytes."""
        if size > self._space.nbytes:
            self._space = torch.empty(2 * size, dtype=torch.uint8)
        return self._space.data_ptr()


class _Linear(nn.Module):
    def __init__(self, packed: Packed, shop: Workshop):
        super().__init__()
        self.packed, self.shop = packed, shop
        self._call = shop.kernels.linear

    def forward(self, x: Tensor) -> Tensor:
        packed, shop = self.packed, self.shop
        x = x.contiguous()
        rows = x.numel() // packed.inputs
        y = torch.empty((*x.shape[:-1], packed.outputs), dtype=x.dtype)
        self._call(packed.pointer, x.data_ptr(), y.data_ptr(), rows, x.element_size() == 4, shop.threads, shop.space(rows * packed.row_bytes))
        return y


class _Norm(nn.Module):
    def __init__(self, norm: RMSNorm, shop: Workshop):
        super().__init__()
        self._weight, self._epsilon, self._call = norm.weight.detach().float().contiguous(), norm.epsilon, shop.kernels.norm
        self._address, self._width = self._weight.data_ptr(), len(self._weight)

    def forward(self, x: Tensor) -> Tensor:
        x = x.contiguous()
        y = torch.empty_like(x)
        self._call(x.data_ptr(), self._address, y.data_ptr(), x.numel() // self._width, self._width, self._epsilon, x.element_size() == 4)
        return y


class _Rotation(nn.Module):
    def __init__(self, shop: Workshop):
        super().__init__()
        self._call = shop.kernels.rotate

    def forward(self, x_BTHE: Tensor, cos_BTE: Tensor, sin_BTE: Tensor) -> Tensor:
        """In place: what comes in was made for this."""
        B, T, H, E = x_BTHE.shape
        cos_BTE, sin_BTE = cos_BTE.expand(B, T, E).contiguous(), sin_BTE.expand(B, T, E).contiguous()
        self._call(x_BTHE.data_ptr(), cos_BTE.data_ptr(), sin_BTE.data_ptr(), B * T, H, E, x_BTHE.element_size() == 4)
        return x_BTHE


class _Gate(nn.Module):
    def __init__(self, shop: Workshop):
        super().__init__()
        self._call = shop.kernels.gate

    def forward(self, gate_BTF: Tensor, up_BTF: Tensor) -> Tensor:
        y = torch.empty_like(gate_BTF)
        self._call(gate_BTF.data_ptr(), up_BTF.data_ptr(), y.data_ptr(), y.numel(), y.element_size() == 4)
        return y


def workshop(shape: Shape) -> Workshop | None:
    """The workshop for models of a shape, or None: no compiler, or rows that are not whole vectors."""
    widths = (shape.width, shape.ffn, shape.head_dim, shape.heads * shape.head_dim)
    if not all(map(fits, widths)) or shape.heads // shape.kv_heads > 8:
        return None
    kernels = library()
    return None if kernels is None else Workshop(kernels)


@torch.no_grad()
def plant(trunk: Trunk, weights: Weights, shop: Workshop | None) -> int:
    """Replace the leaves of a trunk; returns the bytes its matrices take. The trunk cannot be trained afterwards.

    The head is in whole numbers of 8 bits at least. Raises InputError if integers are asked for and there is no workshop.
    """
    if shop is None:
        if weights != "full":
            raise InputError(f"weights {weights}: needs a C compiler, and layers of whole vectors ({LANES} numbers); serve them in full")
        return sum(weight.nbytes for weight in trunk.parameters())
    size = trunk.model.embed_tokens.weight.nbytes
    for module in list(trunk.modules()):
        for name, leaf in list(module.named_children()):
            if isinstance(leaf, Linear):
                packed = Packed(leaf.weight.to(trunk.precision), "int8" if module is trunk and weights == "int4" else weights)
                setattr(module, name, _Linear(packed, shop))
                size += packed.bytes
            elif isinstance(leaf, RMSNorm):
                setattr(module, name, _Norm(leaf, shop))
            elif isinstance(leaf, Rotation):
                setattr(module, name, _Rotation(shop))
            elif isinstance(leaf, Gate):
                setattr(module, name, _Gate(shop))
    return size
