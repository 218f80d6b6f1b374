"""Compiles a C source for this processor, probes the library, caches it where only its user can write, and loads it."""

import atexit
import ctypes
import os
import platform
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from groundup.core import compilers
from groundup.core.console import warn
from groundup.core.files import digest, temporary_folder

# Two passes of GCC take minutes for 512-bit vectors on a processor without them, and make nothing faster.
SLOW_PASSES = ("-fno-gcse", "-fno-gcse-after-reload")
FLAGS = ("-O3", "-march=native", "-std=gnu11", "-shared", "-fPIC", "-fno-math-errno", *SLOW_PASSES)


def library(source: Path, choices: Sequence[Sequence[str]], probe: str) -> ctypes.CDLL | None:
    """Compile and load `source` with `FLAGS` and the first of `choices` that works; None if no C compiler works.

    `probe` is a module that a separate process runs with a new library's path: if it fails or crashes, the next choice
    is tried. It runs once for each library: a cached library has passed it.
    """
    compiler = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        return None
    always = (*FLAGS, *compilers.flags(compiler))
    with _folder() as folder:
        name = digest([source.read_text(encoding="utf-8"), compiler, always, choices, _processor(), _source_of(probe)])[
            :24
        ]
        target = folder / f"{source.stem}-{name}.so"
        if not _is_ours(target) and not _make(
            target, [[compiler, *always, *flags, str(source), "-lm"] for flags in choices], probe
        ):
            return None
        return ctypes.CDLL(str(target))


def _source_of(module: str) -> str:
    found = find_spec(module)
    assert found is not None and found.origin is not None, f"{module} is no module in a file"
    return Path(found.origin).read_text(encoding="utf-8")


def _make(target: Path, commands: Sequence[Sequence[str]], probe: str) -> bool:
    """Compile by the first command whose library passes its probe."""
    # The cache may be shared with other machines.
    with temporary_folder(target.with_name(f"{target.name}.{platform.node()}")) as folder:
        for number, command in enumerate(commands):
            made = folder / f"{number}.so"
            if not _runs([*command, "-o", str(made)]):
                continue
            made.chmod(0o700)
            if _runs([sys.executable, "-m", probe, str(made)]):
                made.replace(target)
                return True
            warn(
                f"{probe}: {target.stem}, compiled by {command[0]}, gives wrong results here; it is not used, and the"
                " slower code runs instead"
            )
    return False


def _runs(command: Sequence[str]) -> bool:
    paths = os.pathsep.join(path for path in sys.path if path)  # a new interpreter imports the same modules
    try:
        done = subprocess.run(command, capture_output=True, check=False, env=os.environ | {"PYTHONPATH": paths})
    except OSError:
        return False
    return done.returncode == 0


@cache
def folder(name: str) -> Path:
    """A private folder of this name for compiled code; if no safe place exists, a temporary one."""
    stack = ExitStack()
    atexit.register(stack.close)
    made = stack.enter_context(_folder()) / name
    with suppress(OSError):
        made.mkdir(mode=0o700, exist_ok=True)
    if made.is_dir() and is_private(made):
        return made
    warn(f"{made}: other users can change it, so it is not used and compiled code is not kept; fix it with chmod 700")
    return Path(stack.enter_context(tempfile.TemporaryDirectory()))


@contextmanager
def _folder() -> Iterator[Path]:
    """A folder for compiled code that only this user may write: the cache if it is safe, else a temporary one."""
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "groundup"
    with suppress(OSError):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder.is_dir() and is_private(folder) and os.access(folder, os.W_OK):
        yield folder
    else:
        warn(
            f"{folder}: not a folder that you can write and others cannot change, so compiled code is not kept; fix it"
            " with chmod 700"
        )
        with tempfile.TemporaryDirectory() as once:
            yield Path(once)


def is_private(path: Path) -> bool:
    """Whether a file exists, belongs to this user, and nobody else can change or replace it."""
    return _is_ours(path) and all(_holds(parent) for parent in (*path.absolute().parents, *path.resolve().parents))


def _is_ours(path: Path) -> bool:
    """Whether a path exists, belongs to this user, is not a link, and cannot be changed by others."""
    try:
        found = path.lstat()
    except OSError:
        return False
    return found.st_uid == os.geteuid() and not stat.S_ISLNK(found.st_mode) and not found.st_mode & 0o022


def _holds(folder: Path) -> bool:
    """Whether others cannot replace a folder's entries: owned by this user or the system, not writable or sticky."""
    found = folder.stat()
    return found.st_uid in (0, os.geteuid()) and (not found.st_mode & 0o002 or bool(found.st_mode & stat.S_ISVTX))


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    flags = (
        next((line for line in info.read_text().splitlines() if line.startswith(("flags", "Features"))), "")
        if info.exists()
        else ""
    )
    return f"{platform.system()} {platform.machine()} {platform.processor()} {flags}"
