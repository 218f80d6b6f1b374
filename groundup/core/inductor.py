"""Configures torch's inductor for this process: the folder of its code cache, and flags for its C++ compiler."""

import os
import shlex
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from groundup.core import compilers, native
from groundup.core.files import digest, write_with

CACHES = {"TORCHINDUCTOR_CACHE_DIR": "inductor", "TRITON_CACHE_DIR": "triton"}  # the code there is loaded and run


@cache
def settle() -> None:
    """Set torch's code cache to a folder that no other user can write, and add the compiler flags of `compilers`.

    A cache folder that the user named is kept if it is safe. Call this before any import of `torch._inductor`.
    """
    folder = native.folder("torch")
    for variable, name in CACHES.items():
        given = os.environ.get(variable)
        if given is None or not native.is_private(Path(given)):
            os.environ[variable] = str(folder / name)
    already = "torch._inductor.codecache" in sys.modules
    with _temporary(folder):
        from torch._inductor import codecache, config  # noqa: F401 - see _temporary

        with suppress(ImportError):  # not in every version of torch
            from torch._inductor.runtime.caching import memoizers  # noqa: F401
    if already:
        config.cpp_cache_precompile_headers = False
    compiler = shutil.which(config.cpp.cxx[-1] or "")
    if compiler is not None and (flags := compilers.flags(compiler)):
        config.cpp.cxx = (None, str(_with_flags(compiler, flags, folder)))


@contextmanager
def _temporary(folder: Path) -> Iterator[None]:
    """Replace the temporary folder while torch is imported: some modules always cache code there."""
    before, tempfile.tempdir = tempfile.tempdir, str(folder)
    try:
        yield
    finally:
        tempfile.tempdir = before


def _with_flags(compiler: str, flags: tuple[str, ...], folder: Path) -> Path:
    """The path of a wrapper script that adds compiler flags, since torch has no setting for them.

    The path is part of inductor's cache key, so it contains the hash of the flags.
    """
    script = f'#!/bin/sh\nexec {shlex.join([compiler, *flags])} "$@"\n'
    path = folder / f"compiler-{digest([script, str(compilers.identify(compiler))])[:16]}" / Path(compiler).name
    if not native.is_private(path):
        path.parent.mkdir(mode=0o700, exist_ok=True)
        write_with(path, lambda made: _write_program(made, script))
    return path


def _write_program(path: Path, script: str) -> None:
    path.write_text(script, encoding="utf-8")
    path.chmod(0o700)
