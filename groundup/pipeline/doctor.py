"""What this machine can do, for `groundup doctor` and for bug reports."""

import os
import platform
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, requires, version
from importlib.util import find_spec
from typing import Any

from packaging.requirements import Requirement

from groundup import device
from groundup.core import compilers, ledger
from groundup.core.errors import InputError
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
        "extras": missing(),
    }


def compare(name: str | None, advance: Callable[[float], None]) -> dict[str, str]:
    """What compiled code makes of a grid of shapes, beside eager code; `advance` is told of each that is done."""
    found: dict[str, str] = {}
    for cell, difference in grid.tried(device.pick(name)):
        off = f"gradients within {difference.gradient:.1g}, rounding explains {difference.limit:.1g}"
        found[cell] = f"right: {off}" if difference.right else f"WRONG: {difference}"
        advance(1)
    wrong = sum(text.startswith("WRONG") for text in found.values())
    said = f"{wrong} of {len(found)} shapes are wrong; training finds such shapes and runs them eager, more slowly"
    return (
        found | {"in all": said if wrong else f"{len(found)} shapes, all right"}
        if found
        else {"in all": "not tried: nothing is compiled here"}
    )


def cells(name: str | None) -> int:
    """How many shapes `compare` tries."""
    return len(grid.GRID) * len(grid.precisions(device.pick(name)))


def _compiler() -> str:
    """The C++ compiler, and what is known of it."""
    command = os.environ.get("CXX", "g++")
    faults = [
        f"known to spoil {fault.spoils}; used with {' '.join(fault.flags)}" for fault in compilers.faults(command)
    ]
    return "; ".join([str(compilers.identify(command) or f"{command} is none"), *faults])


def missing() -> dict[str, str]:
    """What each extra lacks here."""
    lacking: dict[str, list[str]] = {}
    for line in requires("groundup") or []:
        requirement = Requirement(line)
        extra = str(requirement.marker).partition('extra == "')[2].partition('"')[0] if requirement.marker else ""
        if extra:
            lacking.setdefault(extra, [])
            if not _installed(requirement.name):
                lacking[extra].append(requirement.name)
    return {
        extra: f"missing {', '.join(names)}: pip install 'groundup[{extra}]'" if names else "complete"
        for extra, names in lacking.items()
    }


def require(extra: str) -> None:
    """Raise InputError unless an extra is complete."""
    if (said := missing().get(extra, "complete")) != "complete":
        raise InputError(f"this needs the extra {extra}: {said}")


def _installed(name: str) -> bool:
    try:
        return bool(version(name))
    except PackageNotFoundError:
        return find_spec(name.replace("-", "_")) is not None
