"""Compiles `kernels.c` once for this processor and loads it."""

import ctypes
import os
import platform
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

from groundup.files import digest

SOURCE = Path(__file__).with_name("kernels.c")
FLAGS = ("-O3", "-march=native", "-std=gnu11", "-shared", "-fPIC", "-fno-math-errno", "-ffp-contract=fast")
LONG, INT, ADDRESS = ctypes.c_long, ctypes.c_int, ctypes.c_void_p


class Matrix(ctypes.Structure):
    """`Matrix` of kernels.c."""

    _fields_ = (("outputs", LONG), ("inputs", LONG), ("kind", INT), ("group", INT), ("weights", ADDRESS), ("scales", ADDRESS))


class Attention(ctypes.Structure):
    """`Attention` of kernels.c."""

    _fields_ = (
        *((name, ADDRESS) for name in ("q", "keys", "values", "o", "tables", "sequence", "seen")),
        *((name, LONG) for name in ("width", "H", "K", "E")),
        ("wide", INT),
    )


_SIGNATURES = {
    "linear": (ctypes.POINTER(Matrix), ADDRESS, ADDRESS, LONG, INT, INT, ADDRESS),
    "norm": (ADDRESS, ADDRESS, ADDRESS, LONG, LONG, ctypes.c_float, INT),
    "rotate": (ADDRESS, ADDRESS, ADDRESS, LONG, LONG, LONG, INT),
    "gate": (ADDRESS, ADDRESS, ADDRESS, LONG, INT),
    "store": (ADDRESS, ADDRESS, ADDRESS, ADDRESS, ADDRESS, LONG, LONG, LONG, INT),
    "attend": (ctypes.POINTER(Attention), LONG, INT, ADDRESS, LONG),
}


@cache
def library() -> ctypes.CDLL | None:
    """The compiled kernels, or None where there is no C compiler that can make them."""
    compiler = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        return None
    target = _folder() / f"kernels-{digest([SOURCE.read_text(encoding='utf-8'), compiler, FLAGS, _processor()])[:24]}.so"
    if not target.exists() and not _compile(compiler, target):
        return None
    loaded = ctypes.CDLL(str(target))
    for name, signature in _SIGNATURES.items():
        function = getattr(loaded, name)
        function.argtypes, function.restype = signature, None
    return loaded


def _compile(compiler: str, target: Path) -> bool:
    """With OpenMP, or, where the compiler lacks it, for one thread."""
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        made = Path(folder) / target.name
        for threads in (("-fopenmp",), ()):
            try:
                done = subprocess.run([compiler, *FLAGS, *threads, "-o", str(made), str(SOURCE), "-lm"], capture_output=True, check=False)
            except OSError:
                return False
            if done.returncode == 0:
                made.replace(target)
                return True
    return False


def _folder() -> Path:
    """A folder that only this user may write: what lies there is run."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = base / "groundup"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    flags = next((line for line in info.read_text().splitlines() if line.startswith(("flags", "Features"))), "") if info.exists() else ""
    return f"{platform.system()} {platform.machine()} {platform.processor()} {flags}"
