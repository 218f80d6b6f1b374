"""Programs in the sandbox: what they see, what they may use, and that they do no harm."""

import os
import time

import pytest

from groundup.core import sandbox
from groundup.core.errors import InputError
from groundup.core.sandbox import Limits, run

needed = pytest.mark.skipif(sandbox._lack() is not None, reason=f"no sandbox: {sandbox._lack()}")
QUICK = Limits(seconds=20.0)


def python(code: str, limits: Limits = QUICK, stdin: str = "") -> sandbox.Ran:
    return run(["python", "-c", code], stdin=stdin, limits=limits)


@needed
def test_a_program_reads_its_input_and_its_files_and_its_output_comes_back() -> None:
    ran = run(["python", "/given/p.py"], {"p.py": "print(input()[::-1])"}, "été\n")
    assert (ran.end, ran.code, ran.output, ran.errors) == ("exit", 0, "été\n", "")


@needed
def test_it_sees_no_file_process_or_variable_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "1")
    code = """
import os
print(sorted(os.listdir("/")), sorted(os.environ), os.getuid() == 0)
print([name for name in os.listdir("/proc") if name.isdigit() and int(name) > 9])
"""
    files, processes = python(code).output.splitlines()
    shown = "['bin', 'dev', 'given', 'lib', 'lib64', 'proc', 'python', 'tmp', 'usr', 'work']"
    assert files == f"{shown} ['HOME', 'LANG', 'PATH', 'PWD'] {os.getuid() == 0 and False}"
    assert processes == "[]"


@needed
@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("open('/usr/x', 'w')", "Read-only file system"),
        ("open('/x', 'w')", "Read-only file system"),
        ("open('/given/x', 'w')", "Read-only file system"),
        ("open('/etc/passwd')", "No such file"),
        ("import socket; socket.create_connection(('192.0.2.1', 53), 1)", "unreachable"),
        ("import socket; socket.create_connection(('127.0.0.1', 22), 1)", "refused"),
        ("import os; os.kill(os.getppid(), 9) or print('sent'); os.setuid(0)", "not permitted"),
        ("import os; os.mknod('/work/d', 0o60000, os.makedev(8, 0))", "not permitted"),
        ("import ctypes; assert ctypes.CDLL(None).mount(b'x', b'/usr', b'tmpfs', 0, 0) == 0", "Error"),
        ("x = []\nwhile True: x.append(bytearray(10 << 20))", "MemoryError"),
        ("f = open('/work/a', 'wb')\nwhile True: f.write(bytes(1 << 20))", "File too large"),
        ("for i in range(99): open(f'/work/{i}', 'wb').write(bytes(1 << 20))", "No space left"),
        ("for i in range(99): open(f'/dev/shm/{i}', 'wb').write(bytes(1 << 20))", "No space left"),
        ("import os\nfor _ in range(99): os.fork() or __import__('time').sleep(9)", "temporarily unavailable"),
        ("import os; [os.open('/usr', 0) for _ in range(99)]", "Too many open files"),
    ],
)  # fmt: skip
def test_an_attack_ends_in_an_error_inside(code: str, says: str) -> None:
    ran = python(code)
    assert ran.end == "exit" and ran.code != 0 and says in ran.errors


@needed
@pytest.mark.parametrize(
    "code",
    [
        "import time; time.sleep(100)",
        "while True: pass",
        "import os\nwhile True:\n  try: os.fork()\n  except OSError: pass",
        "import signal, time\nfor n in (1, 2, 15): signal.signal(n, signal.SIG_IGN)\ntime.sleep(100)",
    ],
)
def test_a_program_that_does_not_end_is_ended_with_all_its_processes(code: str) -> None:
    ran = python(code, Limits(seconds=1.5))
    assert ran.end == "time" and ran.code is None


@needed
@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_program_that_writes_without_end_is_ended(stream: str) -> None:
    ran = python(f"import sys\nwhile True: sys.{stream}.write('x' * 1000)")
    assert ran.end == "output" and ran.code is None and len(ran.output) <= 64 << 10


@needed
def test_a_process_left_behind_ends_with_the_program() -> None:
    began = time.monotonic()
    ran = python("import os, time\nif os.fork() == 0:\n  os.setsid(); time.sleep(100)\nelse: print('left')")
    assert ran.output == "left\n" and ran.end == "exit" and time.monotonic() - began < 20


@needed
def test_input_that_nobody_reads_does_no_harm() -> None:
    assert python("print('done')", stdin="x" * 10_000_000).output == "done\n"


@needed
def test_a_name_that_leaves_the_folder_is_refused() -> None:
    with pytest.raises(ValueError, match="no plain file name"):
        run(["python", "-c", "0"], {"../x": ""})


def test_where_programs_cannot_be_isolated_none_is_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "TOOLS", ("no-such-tool",))
    sandbox._lack.cache_clear()
    try:
        with pytest.raises(InputError, match="so none is run: no-such-tool missing; install"):
            run(["python", "-c", "print(1)"])
    finally:
        sandbox._lack.cache_clear()
