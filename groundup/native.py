"""Compiles a C source once for this processor, keeps the library where only its user can write, and loads it."""

import ctypes
import os
import platform
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from groundup.console import warn
from groundup.files import digest, temporary_folder

FLAGS = ("-O3", "-march=native", "-std=gnu11", "-shared", "-fPIC", "-fno-math-errno")


def library(source: Path, choices: Sequence[Sequence[str]], probe: str | None = None) -> ctypes.CDLL | None:
    """The compiled `source`, or None where no C compiler makes it with `FLAGS` and the flags of one of `choices`, of which the first will do.

    `probe` is a module that is run with a new library's path, in a process of its own: if that fails or dies, it counts as not made.
    """
    compiler = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        return None
    with _folder() as folder:
        name = digest([source.read_text(encoding="utf-8"), compiler, FLAGS, choices, _processor()])[:24]
        target = folder / f"{source.stem}-{name}.so"
        if not _is_ours(target) and not _make(target, [[compiler, *FLAGS, *flags, str(source), "-lm"] for flags in choices], probe):
            return None
        return ctypes.CDLL(str(target))


def _make(target: Path, commands: Sequence[Sequence[str]], probe: str | None) -> bool:
    with temporary_folder(target.with_name(f"{target.name}.{platform.node()}")) as folder:  # other machines may share the cache
        made = folder / target.name
        if not any(_runs([*command, "-o", str(made)]) for command in commands):
            return False
        made.chmod(0o700)
        if probe and not _runs([sys.executable, "-m", probe, str(made)]):
            warn(f"{probe}: the compiled library does not do here what it should; the slower way is taken")
            return False
        made.replace(target)
    return True


def _runs(command: Sequence[str]) -> bool:
    paths = os.pathsep.join(path for path in sys.path if path)  # a new interpreter finds what this one found
    try:
        done = subprocess.run(command, capture_output=True, check=False, env=os.environ | {"PYTHONPATH": paths})
    except OSError:
        return False
    return done.returncode == 0


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
