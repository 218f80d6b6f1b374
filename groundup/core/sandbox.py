"""A sandbox for programs that a model wrote: bubblewrap's namespaces, resource limits, and an unused user id.

A program can read the interpreter and the system's libraries and write to an empty folder. It has no network, sees no
other process and no other file, and gets none of this process's environment. It returns text, which the caller judges:
expected values never enter the sandbox.
"""

import os
import secrets
import selectors
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO, Any, Literal

from groundup.core.errors import InputError

TOOLS = ("bwrap", "prlimit", "setpriv")  # from the packages bubblewrap and util-linux
_SYSTEM = ("/usr", "/bin", "/lib", "/lib64")  # what an interpreter needs
_PYTHON = Path("/python")  # where this interpreter is inside: its own folder may be private to its user
_FIRST_USER = 1 << 24  # ids from here on belong to nobody


@dataclass(frozen=True)
class Limits:
    """Resource limits of a program. Sizes in bytes; `memory` is per process."""

    seconds: float = 5.0
    memory: int = 512 << 20
    processes: int = 8
    files: int = 16 << 20
    output: int = 64 << 10


@dataclass(frozen=True)
class Ran:
    """The outcome of a program: `end` is what ended it, `code` its exit code (negative: a signal), if it exited."""

    end: Literal["exit", "time", "output"]
    code: int | None
    output: str
    errors: str


def require() -> None:
    """Raise InputError if programs cannot be isolated on this machine."""
    if (lack := _lack()) is not None:
        raise InputError(f"programs of a model cannot be isolated here, so none is run: {lack}")


@cache
def _lack() -> str | None:
    """Why there is no sandbox on this machine; None: there is one."""
    if absent := [tool for tool in TOOLS if shutil.which(tool) is None]:
        return f"{', '.join(absent)} missing; install the packages bubblewrap and util-linux (Linux only)"
    tried = _run(["python", "-c", "print(6 * 7)"], {}, b"", Limits())
    if tried.output != "42\n":
        reason = tried.errors.strip().splitlines()[-1:] or [f"ended by {tried.end} with code {tried.code}"]
        return f"bwrap: {reason[0]}"
    return None


def run(
    command: Sequence[str], files: Mapping[str, str] | None = None, stdin: str = "", limits: Limits | None = None
) -> Ran:
    """Run a command in a new sandbox; `python` is this interpreter, with its standard library alone.

    `files` by name lie read-only in `/given`; the working folder is empty and is lost. Raises InputError where programs
    cannot be isolated.
    """
    require()
    return _run(command, files or {}, stdin.encode(), limits or Limits())


def _run(command: Sequence[str], files: Mapping[str, str], stdin: bytes, limits: Limits) -> Ran:
    with _descriptors(files) as given:
        arguments = [*_isolation(limits, given), *_user(), *_limits(limits), *_program(command)]
        process = subprocess.Popen(
            arguments,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=tuple(given.values()),
            env={"PATH": os.environ.get("PATH", os.defpath)},
            start_new_session=True,
        )
    with process:
        return _outcome(process, stdin, limits)


def _isolation(limits: Limits, given: Mapping[str, int]) -> list[str]:
    """bubblewrap with new namespaces of every kind, and a file system of what an interpreter needs."""
    size = str(limits.files)
    system = [each for path in _SYSTEM for each in ("--ro-bind-try", path, path)]
    files = [each for name, number in given.items() for each in _readable(number, f"/given/{name}")]
    return [
        "bwrap", *_namespaces(), "--die-with-parent", "--new-session",
        "--clearenv", "--setenv", "PATH", "/usr/bin:/bin", "--setenv", "LANG", "C.UTF-8", "--setenv", "HOME", "/work",
        *system, "--ro-bind", sys.base_prefix, str(_PYTHON), "--proc", "/proc", "--dev", "/dev",
        "--dir", "/given", *files,
        *(each for path in ("/tmp", "/work", "/dev/shm") for each in _writable(path, size)),
        "--remount-ro", "/", "--chdir", "/work", "--",
    ]  # fmt: skip


def _readable(descriptor: int, path: str) -> list[str]:
    return ["--perms", "0444", "--ro-bind-data", str(descriptor), path]


def _writable(path: str, size: str) -> list[str]:
    return ["--perms", "1777", "--size", size, "--tmpfs", path]


def _namespaces() -> list[str]:
    """Root needs no user namespace, but two capabilities, to become another user inside (`_user`)."""
    if os.geteuid() != 0:
        return ["--unshare-all", "--unshare-user", "--disable-userns"]
    apart = ["--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts", "--unshare-cgroup-try"]
    return [*apart, "--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]


def _user() -> list[str]:
    """Root becomes a user that owns nothing: the kernel counts no processes of root's."""
    if os.geteuid() != 0:
        return []
    user = str(_FIRST_USER + secrets.randbelow(1 << 24))
    return ["setpriv", "--reuid", user, "--regid", user, "--clear-groups", "--no-new-privs", "--"]


def _limits(limits: Limits) -> list[str]:
    """Resource limits, set inside the user namespace, where only its own processes count."""
    seconds = str(int(limits.seconds) + 1)
    return [
        "prlimit", f"--cpu={seconds}", f"--as={limits.memory}", f"--nproc={limits.processes}",
        f"--fsize={limits.files}", "--nofile=64", "--core=0", "--memlock=0", "--msgqueue=0", "--",
    ]  # fmt: skip


def _program(command: Sequence[str]) -> list[str]:
    if command[0] != "python":
        return list(command)
    executable = Path(getattr(sys, "_base_executable", sys.executable)).resolve()
    return [str(_PYTHON / executable.relative_to(Path(sys.base_prefix).resolve())), "-I", "-S", "-B", *command[1:]]


@contextmanager
def _descriptors(files: Mapping[str, str]) -> Iterator[dict[str, int]]:
    """Open descriptors of the files' contents, by name."""
    given: dict[str, int] = {}
    try:
        for name, content in files.items():
            if Path(name).name != name:
                raise ValueError(f"{name!r} is no plain file name")
            given[name] = os.memfd_create(name, 0)
            with os.fdopen(os.dup(given[name]), "wb") as file:
                file.write(content.encode())
            os.lseek(given[name], 0, os.SEEK_SET)
        yield given
    finally:
        for number in given.values():
            os.close(number)


def _outcome(process: "subprocess.Popen[bytes]", stdin: bytes, limits: Limits) -> Ran:
    """Feed a started program and collect its output, until it ends or exceeds its limits of time or output."""
    assert process.stdin is not None and process.stdout is not None and process.stderr is not None
    texts = {process.stdout: bytearray(), process.stderr: bytearray()}
    end: Literal["exit", "time", "output"] = "exit"
    deadline = time.monotonic() + limits.seconds
    with selectors.DefaultSelector() as ready:
        os.set_blocking(process.stdin.fileno(), False)
        for pipe in texts:
            ready.register(pipe, selectors.EVENT_READ)
        ready.register(process.stdin, selectors.EVENT_WRITE)
        while ready.get_map():
            if (left := deadline - time.monotonic()) <= 0:
                end = "time"
                break
            for key, _ in ready.select(left):
                stdin = _transfer(ready, key.fileobj, stdin, texts)
            if sum(map(len, texts.values())) > limits.output:
                end = "output"
                break
    process.kill()  # and with it, its namespace's processes
    code = process.wait()
    output, errors = (text[: limits.output].decode("utf-8", "replace") for text in texts.values())
    return Ran(end, code if end == "exit" else None, output, errors)


def _transfer(ready: selectors.BaseSelector, pipe: Any, stdin: bytes, texts: dict[IO[bytes], bytearray]) -> bytes:
    """Move what a pipe can take or give; returns what is still to be written to the program."""
    if pipe in texts:
        if data := os.read(pipe.fileno(), 1 << 16):
            texts[pipe] += data
            return stdin
    else:
        try:
            stdin = stdin[os.write(pipe.fileno(), stdin[: 1 << 16]) :] if stdin else b""
        except BrokenPipeError:
            stdin = b""
        if stdin:
            return stdin
    ready.unregister(pipe)
    pipe.close()
    return stdin
