"""C and C++ compilers with known code generation bugs, and the flags that avoid them."""

import subprocess
from dataclasses import dataclass
from functools import cache

Version = tuple[int, int, int]


@dataclass(frozen=True)
class Fault:
    """A bug of a compiler: the versions that have it, its effect, and the flags that avoid it."""

    family: str  # "gcc" or "clang"
    first: Version
    fixed: Version  # the first version without the bug
    target: str  # macro that the compiler defines for processors that are affected
    flags: tuple[str, ...]
    spoils: str
    reason: str

    def concerns(self, found: "Compiler") -> bool:
        """Whether this compiler has the bug on this processor."""
        return found.family == self.family and self.first <= found.version < self.fixed and self.target in found.macros


FAULTS = (
    Fault(
        family="gcc",
        first=(12, 0, 0),
        fixed=(13, 0, 0),
        target="__AVX512F__",
        flags=("-fno-tree-slp-vectorize",),
        spoils="the transpose of a tile of bf16 in code that torch.compile generates",
        reason="seen with 12.2 on Sapphire Rapids at -O3 -march=native: NaN gradients at the first step; right without "
        "the vectoriser of straight-line code. What of the processor sets it off is not known, so all with vectors of "
        "512 bits are spared",
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Compiler:
    """Family, version and macros that a compiler reports when it targets this processor."""

    family: str
    version: Version
    macros: frozenset[str]

    def __str__(self) -> str:
        return f"{self.family} {'.'.join(map(str, self.version))}"


@cache
def identify(command: str) -> Compiler | None:
    """The family and version of a compiler, by the macros it defines, not by its name; None if unknown."""
    try:
        done = subprocess.run(
            [command, "-march=native", "-dM", "-E", "-x", "c", "/dev/null"], capture_output=True, check=False,
            text=True, errors="replace"
        )  # fmt: skip
    except OSError:
        return None
    macros = {words[1]: words[2] for line in done.stdout.splitlines() if len(words := line.split(maxsplit=2)) == 3}
    family, names = (
        ("clang", ("__clang_major__", "__clang_minor__", "__clang_patchlevel__"))
        if "__clang__" in macros
        else ("gcc", ("__GNUC__", "__GNUC_MINOR__", "__GNUC_PATCHLEVEL__"))
    )
    numbers = [macros.get(name, "") for name in names]
    if done.returncode or not all(number.isdigit() for number in numbers):
        return None
    major, minor, patch = map(int, numbers)
    return Compiler(family, (major, minor, patch), frozenset(macros))


def faults(command: str) -> list[Fault]:
    """The known bugs of a compiler on this processor."""
    found = identify(command)
    return [fault for fault in FAULTS if found is not None and fault.concerns(found)]


def flags(command: str) -> tuple[str, ...]:
    """The flags that avoid the known bugs of a compiler on this processor."""
    return tuple(dict.fromkeys(flag for fault in faults(command) for flag in fault.flags))
