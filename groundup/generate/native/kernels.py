"""Compiles `kernels.c` once for this processor and loads it."""

import ctypes
import os
import platform
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from enum import IntEnum
from functools import cache
from pathlib import Path

from groundup.console import warn
from groundup.files import digest

SOURCE = Path(__file__).with_name("kernels.c")
FLAGS = ("-O3", "-march=native", "-std=gnu11", "-shared", "-fPIC", "-fno-math-errno", "-ffp-contract=fast")
LONG, INT, ADDRESS = ctypes.c_long, ctypes.c_int, ctypes.c_void_p


class Matrix(ctypes.Structure):
    """`Matrix` of kernels.c."""

    _fields_ = (("outputs", LONG), ("inputs", LONG), ("kind", INT), ("group", INT), ("weights", ADDRESS), ("scales", ADDRESS))


class Table(ctypes.Structure):
    """`Table` of kernels.c."""

    _fields_ = (
        *((name, ADDRESS) for name in ("pages", "sequence", "seen", "tiles")),
        *((name, LONG) for name in ("count", "width", "H", "K", "E", "space")),
    )


class Attention(ctypes.Structure):
    """`Attention` of kernels.c."""

    _fields_ = (("table", ctypes.POINTER(Table)), *((name, ADDRESS) for name in ("q", "keys", "values", "o")), ("wide", INT))


class Call(ctypes.Structure):
    """`Call` of kernels.c."""

    _fields_ = (("kind", LONG), ("at", ADDRESS * 5), ("size", LONG * 3), ("epsilon", ctypes.c_float), ("wide", INT))


class Kind(IntEnum):
    """What a call does."""

    LINEAR = 0
    EMBED = 1
    ANGLES = 2
    NORM = 3
    ROTATE = 4
    GATE = 5
    ADD = 6
    BEST = 7
    STORE = 8
    ATTEND = 9


@cache
def library() -> ctypes.CDLL | None:
    """The compiled kernels, or None where there is no C compiler that can make them."""
    compiler = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        return None
    with _folder() as folder:
        target = folder / f"kernels-{digest([SOURCE.read_text(encoding='utf-8'), compiler, FLAGS, _processor()])[:24]}.so"
        if not _is_ours(target) and not _compile(compiler, target):
            return None
        loaded = ctypes.CDLL(str(target))
    loaded.run.argtypes, loaded.run.restype = (ctypes.POINTER(Call), LONG, LONG, INT), None
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
                made.chmod(0o700)
                made.replace(target)
                return True
    return False


@contextmanager
def _folder() -> Iterator[Path]:
    """A folder that only this user may write, for what lies there is run: the cache, or where that is none such, one for this once."""
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "groundup"
    with suppress(OSError):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder.is_dir() and _is_ours(folder) and os.access(folder, os.W_OK):
        yield folder
    else:
        warn(f"{folder}: no folder that you can write and no others can change, so the kernels are compiled at each start; mend it with chmod 700")
        with tempfile.TemporaryDirectory() as once:
            yield Path(once)


def _is_ours(path: Path) -> bool:
    """Whether something is there that belongs to this user, is no link, and cannot be changed by others."""
    try:
        found = path.lstat()
    except OSError:
        return False
    return found.st_uid == os.geteuid() and not stat.S_ISLNK(found.st_mode) and not found.st_mode & 0o022


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    flags = next((line for line in info.read_text().splitlines() if line.startswith(("flags", "Features"))), "") if info.exists() else ""
    return f"{platform.system()} {platform.machine()} {platform.processor()} {flags}"
