"""Compilers that are known to be wrong get flags, found by what they say of themselves."""

from pathlib import Path

import pytest

from groundup.core import compilers
from groundup.core.compilers import FAULTS, Compiler, Fault

SAPPHIRE_RAPIDS = {"__x86_64__": "1", "__AVX2__": "1", "__AVX512F__": "1", "__AVX512FP16__": "1", "__AMX_TILE__": "1"}
ZEN_3 = {"__x86_64__": "1", "__AVX2__": "1"}


def pretend(
    folder: Path, family: str, version: tuple[int, int, int], processor: dict[str, str], name: str = "cc"
) -> str:
    """A program that says of itself what such a compiler would say."""
    gcc, clang = (
        ("__GNUC__", "__GNUC_MINOR__", "__GNUC_PATCHLEVEL__"),
        ("__clang_major__", "__clang_minor__", "__clang_patchlevel__"),
    )
    macros = processor | ({"__clang__": "1"} | dict(zip(gcc, "421", strict=True)) if family == "clang" else {})
    macros |= dict(zip(clang if family == "clang" else gcc, map(str, version), strict=True))
    path = folder / name
    path.write_text(
        "#!/bin/sh\ncat <<END\n" + "".join(f"#define {key} {value}\n" for key, value in macros.items()) + "END\n"
    )
    path.chmod(0o700)
    return str(path)


@pytest.mark.parametrize(
    ("family", "version", "processor", "helped"),
    [
        ("gcc", (12, 0, 0), SAPPHIRE_RAPIDS, True),
        ("gcc", (12, 2, 0), SAPPHIRE_RAPIDS, True),
        ("gcc", (12, 9, 9), SAPPHIRE_RAPIDS, True),
        ("gcc", (11, 4, 0), SAPPHIRE_RAPIDS, False),
        ("gcc", (13, 0, 0), SAPPHIRE_RAPIDS, False),
        ("gcc", (12, 2, 0), ZEN_3, False),
        ("clang", (12, 2, 0), SAPPHIRE_RAPIDS, False),
    ],
)
def test_flags_go_to_the_versions_and_processors_concerned(
    tmp_path: Path, family: str, version: tuple[int, int, int], processor: dict[str, str], helped: bool
) -> None:
    command = pretend(tmp_path, family, version, processor)
    assert compilers.identify(command) == Compiler(
        family,
        version,
        frozenset(processor) | compilers.identify(command).macros,  # type: ignore[union-attr]
    )
    assert compilers.flags(command) == (("-fno-tree-slp-vectorize",) if helped else ())


@pytest.mark.parametrize("command", ["/nonexistent", "false", "true"])
def test_what_is_no_compiler_is_not_known(command: str) -> None:
    assert compilers.identify(command) is None
    assert compilers.flags(command) == ()


@pytest.mark.parametrize("fault", FAULTS, ids=str)
def test_a_row_of_the_table_says_all_there_is_to_say(fault: Fault) -> None:
    assert fault.first < fault.fixed
    assert fault.flags
    assert all(flag.startswith("-") for flag in fault.flags)
    assert fault.spoils
    assert fault.reason
