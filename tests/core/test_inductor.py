"""Generated code: kept where no other user can write, compiled with the flags its compiler needs. In new processes, as
each is settled once.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.core.test_compilers import SAPPHIRE_RAPIDS

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="no g++")

SETTLE = """
import os
from groundup import device
assert device.pick("cpu").compiles
"""
COMPILE = (
    SETTLE
    + """
import torch
x = torch.arange(40.0, requires_grad=True)
y = torch.compile(lambda x: (x * 2 + 1).sin())(x)
y.sum().backward()
assert torch.allclose(y, (x * 2 + 1).sin())
"""
)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The user's cache, and a temporary folder in which everybody may write."""
    (tmp_path / "tmp").mkdir()
    return tmp_path


def run(home: Path, code: str, **variables: str) -> str:
    """What a new process prints."""
    others = {key: value for key, value in os.environ.items() if not key.startswith(("TORCHINDUCTOR", "TRITON"))}
    own = {"XDG_CACHE_HOME": str(home / "cache"), "TMPDIR": str(home / "tmp"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        env=others | own | variables,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.slow
def test_nothing_that_is_run_lies_in_the_temporary_folder(home: Path) -> None:
    """Libraries, kernels' caches and precompiled headers: all of them are in the user's own folder, with no way in for
    others.
    """
    run(home, COMPILE)
    assert names(home / "tmp") == []
    libraries = list((home / "cache" / "groundup" / "torch").rglob("*.so"))
    assert libraries
    assert (home / "cache" / "groundup").stat().st_mode & 0o077 == 0


SHOW = SETTLE + "print(os.environ['TORCHINDUCTOR_CACHE_DIR'], os.environ['TRITON_CACHE_DIR'])"


def test_a_cache_that_the_user_named_stays_where_that_is_safe(home: Path) -> None:
    for name in ("safe", "loose"):
        (home / name).mkdir(mode=0o700)
    (home / "loose").chmod(0o777)
    own = home / "cache" / "groundup" / "torch"
    given = {"TORCHINDUCTOR_CACHE_DIR": str(home / "safe"), "TRITON_CACHE_DIR": str(home / "loose")}
    assert run(home, SHOW, **given).split() == [str(home / "safe"), str(own / "triton")]
    given = {"TORCHINDUCTOR_CACHE_DIR": str(home / "loose" / "inside"), "TRITON_CACHE_DIR": str(home / "safe")}
    assert run(home, SHOW, **given).split() == [str(own / "inductor"), str(home / "safe")]


def test_where_no_folder_is_safe_one_is_made_for_the_process(home: Path) -> None:
    (home / "cache").mkdir()
    (home / "cache").chmod(0o777)
    folders = run(home, SHOW).split()
    assert all(folder.startswith(str(home / "tmp")) for folder in folders)
    assert names(home / "tmp") == []


@pytest.mark.slow
def test_the_flags_of_a_faulty_compiler_reach_every_call_and_the_key_of_what_is_kept(home: Path) -> None:
    """A g++ that says it is 12.2 on Sapphire Rapids, and writes down how it is called."""
    macros = "".join(f"-D{name}={value} " for name, value in SAPPHIRE_RAPIDS.items() if "AVX512" in name)
    script = (
        '#!/bin/sh\necho "$@" >> calls\n'
        'case " $* " in *" -dM "*) exec REAL "$@" -U__GNUC__ -D__GNUC__=12 MACROS;; esac\nexec REAL "$@"\n'
    )  # fmt: skip
    compiler = home / "g++"
    compiler.write_text(
        script.replace("REAL", shutil.which("g++") or "")
        .replace("MACROS", macros)
        .replace("calls", str(home / "calls"))
    )
    compiler.chmod(0o700)
    out = run(home, COMPILE + "from torch._inductor import config; print(config.cpp.cxx[1])", CXX=str(compiler)).strip()
    calls = [line for line in (home / "calls").read_text().splitlines() if " -o " in line and ".cpp" in line]
    assert calls
    assert all("-fno-tree-slp-vectorize" in line for line in calls)
    assert Path(out).parent.name.startswith("compiler-")
    assert Path(out).name == "g++"
