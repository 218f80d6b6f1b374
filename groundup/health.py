"""What this machine can do, for `groundup doctor` and for bug reports."""

import platform
from importlib.metadata import PackageNotFoundError, requires, version
from importlib.util import find_spec
from typing import Any

from packaging.requirements import Requirement

from groundup import device, ledger
from groundup.errors import InputError


def examine(name: str | None) -> dict[str, Any]:
    """Device, precision, memory in GiB, measured matrix speed, versions, and missing packages by extra."""
    found = device.pick(name)
    precision = found.precision("auto")
    return {
        "groundup": version("groundup"),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "device": f"{found.kind}: {found.name}",
        "precision": str(precision).removeprefix("torch."),
        "compiles": "yes" if found.compiles else "no: without a C++ compiler training is slower, with the same results",
        "memory": f"{found.memory() / 2**30:.1f} GiB, {device.free_memory() / 2**30:.1f} GiB free on the host",
        "matrix speed": f"{found.matrix_peak(precision) / 1e9:,.0f} GFLOP/s",
        "energy": "measured" if device.energy() is not None else "cannot be read here",
        "versions": ledger.libraries(),
        "extras": missing(),
    }


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
    return {extra: f"missing {', '.join(names)}: pip install 'groundup[{extra}]'" if names else "complete" for extra, names in lacking.items()}


def require(extra: str) -> None:
    """Raise InputError unless an extra is complete."""
    if (said := missing().get(extra, "complete")) != "complete":
        raise InputError(f"this needs the extra {extra}: {said}")


def _installed(name: str) -> bool:
    try:
        return bool(version(name))
    except PackageNotFoundError:
        return find_spec(name.replace("-", "_")) is not None
