"""The device of this machine and its capabilities. The only file that names a type of device."""

import ctypes
import os
import platform
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from groundup.core import inductor
from groundup.core.errors import InputError


@dataclass(frozen=True)
class Device:
    """A device as a value: its handle in torch and its capabilities."""

    kind: str
    index: int = 0

    @property
    def handle(self) -> torch.device:
        """The device as torch names it."""
        return torch.device(self.kind) if self.kind == "cpu" else torch.device(self.kind, self.index)

    @property
    def is_host(self) -> bool:
        """Whether tensors of this device are in the host's memory."""
        return self.kind == "cpu"

    @property
    def name(self) -> str:
        """The model of the device, for the record."""
        if self.is_host:
            return _processor()
        return torch.cuda.get_device_name(self.index) if self.kind == "cuda" else self.kind

    @property
    def multiplies_bf16(self) -> bool:
        """Whether bf16 matrix products run in hardware."""
        match self.kind:
            case "cpu":
                return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
            case "cuda":
                return torch.cuda.is_bf16_supported(including_emulation=False)
            case "xpu":
                return True
            case _:
                return False

    def precision(self, requested: Literal["auto", "bf16", "fp32"]) -> torch.dtype:
        """The dtype to compute in."""
        if requested == "auto":
            return torch.bfloat16 if self.multiplies_bf16 else torch.float32
        return {"bf16": torch.bfloat16, "fp32": torch.float32}[requested]

    @property
    def collectives(self) -> str:
        """The `torch.distributed` backend for tensors of this device."""
        return {"cuda": "nccl", "xpu": "xccl"}.get(self.kind, "gloo")

    @property
    def compiles(self) -> bool:
        """Whether `torch.compile` works for it: on a CPU only with a C++ compiler."""
        if not self.is_host and self.kind not in ("cuda", "xpu"):
            return False
        inductor.settle()
        if not self.is_host:
            return True
        from torch._inductor import config, cpp_builder, exc

        try:
            return bool(cpp_builder.get_cpp_compiler()) and config.cpp.cxx is not None
        except exc.InvalidCxxCompiler:
            return False

    @property
    def dense_attention_length(self) -> int:
        """Longest row for which compiled attention as plain matrix products beats torch's fused kernel."""
        return 512 if self.is_host else 0

    def synchronise(self) -> None:
        """Wait until all work given to the device is done."""
        if self.kind in ("cuda", "xpu"):
            torch.accelerator.synchronize()

    def memory(self) -> int:
        """Bytes of memory the device has."""
        if self.kind == "cuda":
            return int(torch.cuda.get_device_properties(self.index).total_memory)
        return host_memory()

    def memory_growth(self) -> Callable[[], int]:
        """Begin to measure memory; the returned function gives the peak growth since then, in bytes."""
        if self.kind not in ("cuda", "xpu"):
            return _host_growth()
        torch.accelerator.reset_peak_memory_stats(self.index)
        before = torch.accelerator.memory_allocated(self.index)
        return lambda: torch.accelerator.max_memory_allocated(self.index) - before

    def matrix_peak(self, dtype: torch.dtype) -> float:
        """FLOP/s of a square matrix product, the best of five, grown until it takes 2 ms: a reference for training."""
        size = 512
        while (seconds := self._product_seconds(dtype, size)) < 0.002 and size < 8192:
            size *= 2
        return 2 * size**3 / seconds

    def _product_seconds(self, dtype: torch.dtype, size: int) -> float:
        a, b = (torch.randn(size, size, device=self.handle).to(dtype) for _ in range(2))
        times = []
        for _ in range(6):
            self.synchronise()
            start = time.perf_counter()
            a @ b
            self.synchronise()
            times.append(time.perf_counter() - start)
        return min(times[1:])


def pick(name: str | None = None) -> Device:
    """The requested device, or the accelerator, or the CPU. Raises InputError when the requested one is absent."""
    local = _local_rank()
    if name is None:
        accelerator = torch.accelerator.current_accelerator(check_available=True)
        return (
            Device(accelerator.type, local) if accelerator is not None and accelerator.type != "mps" else Device("cpu")
        )
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(
            f"--device {name}: not available here ({str(error).splitlines()[0]}); leave it out for the default device"
        ) from None
    return Device(device.type, device.index if device.index is not None else local)


def host_memory() -> int:
    """Bytes of memory this machine has."""
    return _meminfo("MemTotal")


def free_memory() -> int:
    """Bytes of memory that can be allocated now without swapping."""
    return _meminfo("MemAvailable")


def _host_growth() -> Callable[[], int]:
    if hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
        libc.malloc_trim(0)  # memory that earlier stages freed must not count
    try:
        Path("/proc/self/clear_refs").write_text("5")  # proc(5): the peak starts again
        before = _own_memory("VmRSS")
        return lambda: _own_memory("VmHWM") - before
    except OSError:
        before = _largest_ever()
        return lambda: _largest_ever() - before


def _own_memory(key: str) -> int:
    """Bytes in a line of this process's status, without mapped files, which the system can reclaim."""
    return _bytes_of("/proc/self/status", key) - _bytes_of("/proc/self/status", "RssFile")


def _largest_ever() -> int:
    scale = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale


def energy() -> float | None:
    """Joules on the processor's energy counter, or None if it cannot be read; only differences are meaningful."""
    counters = sorted(Path("/sys/class/powercap").glob("*-rapl:?/energy_uj"))
    try:
        return sum(int(counter.read_text()) for counter in counters) / 1e6 if counters else None
    except OSError:
        return None


def _local_rank() -> int:
    return int(os.environ.get("LOCAL_RANK", 0))


def _meminfo(key: str) -> int:
    if not Path("/proc/meminfo").exists():
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return _bytes_of("/proc/meminfo", key)


def _bytes_of(table: str, key: str) -> int:
    """The value of a line such as `MemTotal: 1024 kB` of a file in /proc, in bytes."""
    line = next(line for line in Path(table).read_text().splitlines() if line.startswith(key))
    return int(line.split()[1]) * 1024


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    names = (
        [line.partition(":")[2].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
        if info.exists()
        else []
    )
    return names[0] if names else platform.processor() or platform.machine()
