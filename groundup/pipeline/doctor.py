"""The capabilities of this machine, for `groundup doctor` and for bug reports."""

import os
import platform
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

from groundup import device
from groundup.core import compilers, extras, ledger
from groundup.train import grid


def examine(name: str | None) -> dict[str, Any]:
    """Device, precision, memory in GiB, measured matrix speed, versions, and missing packages by extra."""
    found = device.pick(name)
    precision = found.precision("auto")
    return {
        "groundup": version("groundup"),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "device": f"{found.kind}: {found.name}",
        "precision": str(precision).removeprefix("torch."),
        "compiler": _compiler(),
        "compiles": "yes" if found.compiles else "no: without a C++ compiler training is slower, with the same results",
        "memory": f"{found.memory() / 2**30:.1f} GiB, {device.free_memory() / 2**30:.1f} GiB free on the host",
        "matrix speed": f"{found.matrix_peak(precision) / 1e9:,.0f} GFLOP/s",
        "energy": "measured" if device.energy() is not None else "cannot be read here",
        "versions": ledger.libraries(),
        "extras": extras.missing(),
    }


def compare(name: str | None, advance: Callable[[float], None]) -> dict[str, str]:
    """Compare compiled with eager code on a grid of shapes; `advance` is called after each."""
    found: dict[str, str] = {}
    for cell, difference in grid.tried(device.pick(name)):
        off = f"gradients within {difference.gradient:.1g}, rounding explains {difference.limit:.1g}"
        found[cell] = f"right: {off}" if difference.right else f"WRONG: {difference}"
        advance(1)
    wrong = sum(text.startswith("WRONG") for text in found.values())
    summary = f"{wrong} of {len(found)} shapes are wrong; training finds such shapes and runs them eager, more slowly"
    return (
        found | {"in all": summary if wrong else f"{len(found)} shapes, all right"}
        if found
        else {"in all": "not tried: nothing is compiled here"}
    )


def cells(name: str | None) -> int:
    """How many shapes `compare` compares."""
    return len(grid.GRID) * len(grid.precisions(device.pick(name)))


def _compiler() -> str:
    """The C++ compiler and its known faults."""
    command = os.environ.get("CXX", "g++")
    faults = [
        f"known to spoil {fault.spoils}; used with {' '.join(fault.flags)}" for fault in compilers.faults(command)
    ]
    return "; ".join([str(compilers.identify(command) or f"{command} is none"), *faults])
