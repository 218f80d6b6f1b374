"""The optional dependencies of the package, by extra: which are installed and which are missing."""

from importlib.metadata import PackageNotFoundError, requires, version
from importlib.util import find_spec

from packaging.requirements import Requirement

from groundup.core.errors import InputError


def missing() -> dict[str, str]:
    """The missing packages of each extra, or "complete"."""
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
    if (state := missing().get(extra, "complete")) != "complete":
        raise InputError(f"this needs the extra {extra}: {state}")


def _installed(name: str) -> bool:
    try:
        return bool(version(name))
    except PackageNotFoundError:
        return find_spec(name.replace("-", "_")) is not None
