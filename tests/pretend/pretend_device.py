"""A third kind of device, on any machine: a PrivateUse1 back end in Python whose memory is hidden in the host's.

A tensor of the device has a shape, strides and an empty storage. What the storage would hold lies in `_HELD`, and every
operation runs on host tensors over it. So the device has the host's numbers, while a tensor forgotten on the host is an
error, as on real hardware. It has neither a compiler, nor memory statistics, nor fused attention.
"""

import warnings
import weakref
from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map
from torch.utils.backend_registration import _DummyBackendModule, _setup_privateuseone_for_python_backend

from groundup.core import process

NAME = "pretend"
_HELD: dict[int, torch.UntypedStorage] = {}  # content of the device's storages, by their address
_LIBRARIES: list[torch.library.Library] = []  # registrations last as long as these
_UNCHECKED = torch._C.DispatchKeySet(
    torch._C.DispatchKey.Meta
)  # there, strides are not held against the size of the storage


class _Module(_DummyBackendModule):
    """What torch asks of a device beside its operations."""

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return []


def begin() -> None:
    """What a process does first that is to have the device."""
    process.configure_process()
    torch.set_num_threads(1)
    warnings.simplefilter("error")
    register()


def register() -> None:
    """Make the device known to torch, for the rest of this process."""
    if _LIBRARIES:
        return
    _setup_privateuseone_for_python_backend(NAME, backend_module=_Module())
    everything, aten = torch.library.Library("_", "IMPL"), torch.library.Library("aten", "IMPL")
    everything.fallback(_run, "PrivateUse1")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Warning only once for all operators")  # that kernels of torch are replaced
        for name, operation in _composites():
            aten.impl(name, partial(_run, operation), "PrivateUse1")
    aten.impl("as_strided", _as_strided, "PrivateUse1")
    aten.impl("_copy_from", _copy_from, "PrivateUse1")
    _LIBRARIES.extend((everything, aten))


def _composites() -> Iterator[tuple[str, Any]]:
    """Operations that torch composes of others by resizing an empty tensor, which has no kernel here.

    Views stay torch's, as do copies, which may leave the device.
    """
    for key in ("CompositeExplicitAutograd", "CompositeExplicitAutogradNonFunctional"):
        for full in torch._C._dispatch_get_registrations_for_dispatch_key(key):
            namespace, _, name = full.partition("::")
            if namespace == "aten" and name not in ("copy_", "_to_copy"):
                base, _, overload = name.partition(".")
                operation = getattr(getattr(torch.ops.aten, base), overload or "default")
                if not any(value.alias_info and not value.alias_info.is_write for value in operation._schema.returns):
                    yield name, operation


def _run(operation: Any, *arguments: Any, **options: Any) -> Any:
    """Run an operation on the host and bring its results to the device."""
    hosts: dict[int, tuple[Tensor, Tensor]] = {}  # by identity: a host tensor and the device's tensor it stands for

    def down(value: Any) -> Any:
        if isinstance(value, torch.device):
            return torch.device("cpu")
        if not isinstance(value, Tensor) or (not value.ndim and not _is_ours(value)):
            return value
        if not _is_ours(value):
            raise RuntimeError(
                f"{operation}: expected all tensors on {NAME}, found one of shape {tuple(value.shape)} on"
                f" {value.device}"
            )
        host = _host(value)
        hosts[id(host)] = (host, value)
        return host

    def up(value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        if id(value) in hosts:  # written in place
            return hosts[id(value)][1]
        for host, device in hosts.values():
            if host.untyped_storage()._cdata == value.untyped_storage()._cdata:  # a view
                return _as_strided(device, value.shape, value.stride(), value.storage_offset())
        return _device(value)

    return tree_map(up, operation(*tree_map(down, arguments), **tree_map(down, options)))


def _copy_from(source: Tensor, target: Tensor, non_blocking: bool = False) -> Tensor:
    _host(target).copy_(_host(source))
    return target


def _as_strided(tensor: Tensor, size: Any, stride: Any, storage_offset: int | None = None) -> Tensor:
    offset = tensor.storage_offset() if storage_offset is None else storage_offset
    return torch.ops.aten.as_strided.default.redispatch(_UNCHECKED, tensor, size, stride, offset)  # type: ignore[no-any-return]


def _is_ours(value: Any) -> bool:
    return isinstance(value, Tensor) and value.device.type == NAME


def _host(tensor: Tensor) -> Tensor:
    """The content of a tensor of the device, as a tensor of the host over the same memory."""
    if not _is_ours(tensor):
        return tensor
    held = _HELD[tensor.untyped_storage()._cdata]
    return torch.empty(0, dtype=tensor.dtype).set_(held, tensor.storage_offset(), tensor.shape, tensor.stride())


def _device(host: Tensor) -> Tensor:
    """A tensor of the device that holds the memory of a new tensor of the host."""
    tensor = torch._C._acc.create_empty_tensor(host.shape, host.dtype)
    storage = tensor.untyped_storage()
    _HELD[storage._cdata] = host.untyped_storage()
    weakref.finalize(storage, _HELD.pop, storage._cdata)
    return (
        tensor
        if host.is_contiguous() and not host.storage_offset()
        else _as_strided(tensor, host.shape, host.stride(), host.storage_offset())
    )
