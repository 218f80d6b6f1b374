"""torch's compiler, prepared for this process alone: where it keeps code, and the flags its C++ compiler needs."""

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

CACHES = {"TORCHINDUCTOR_CACHE_DIR": "inductor", "TRITON_CACHE_DIR": "triton"}  # what lies there is loaded and run


@cache
def settle() -> None:
    """Give torch a code cache that no other user can write, and its C++ compiler the flags of `compilers`.

    A cache that the user named stays where that is safe. Call it before anything else imports `torch._inductor`.
    """
    folder = native.folder("torch")
    for variable, name in CACHES.items():
        given = os.environ.get(variable)
        if given is None or not native.is_private(Path(given)):
            os.environ[variable] = str(folder / name)
    already = "torch._inductor.codecache" in sys.modules
    with _temporary(folder):
        from torch._inductor import codecache, config  # noqa: F401 - see _temporary

        with suppress(ImportError):  # a part that not every version has
            from torch._inductor.runtime.caching import memoizers  # noqa: F401
    if already:
        config.cpp_cache_precompile_headers = False
    compiler = shutil.which(config.cpp.cxx[-1] or "")
    if compiler is not None and (flags := compilers.flags(compiler)):
        config.cpp.cxx = (None, str(_with_flags(compiler, flags, folder)))


@contextmanager
def _temporary(folder: Path) -> Iterator[None]:
    """Replace the temporary folder while torch is imported: some of its modules keep code there, variables or not."""
    before, tempfile.tempdir = tempfile.tempdir, str(folder)
    try:
        yield
    finally:
        tempfile.tempdir = before


def _with_flags(compiler: str, flags: tuple[str, ...], folder: Path) -> Path:
    """A wrapper script with our compiler flags, as torch has no setting. Its path, a cache key, holds their hash."""
    script = f'#!/bin/sh\nexec {shlex.join([compiler, *flags])} "$@"\n'
    path = folder / f"compiler-{digest([script, str(compilers.identify(compiler))])[:16]}" / Path(compiler).name
    if not native.is_private(path):
        path.parent.mkdir(mode=0o700, exist_ok=True)
        write_with(path, lambda made: _write_program(made, script))
    return path


def _write_program(path: Path, script: str) -> None:
    path.write_text(script, encoding="utf-8")
    path.chmod(0o700)
