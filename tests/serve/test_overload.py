"""Whatever clients do with connections, those who run the server reach it and can end it: a program that may open 128
files, and 200 clients.
"""

import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from itertools import cycle, islice

import httpx
import pytest

FILES, CLIENTS, TRIES = 128, 200, 5
STUCK = "stuck in the pool of threads"
GET = "GET {} HTTP/1.1\r\nHost: localhost\r\n\r\n"
POST = (
    "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
)
KINDS = {
    "silent": b"",
    "half a head": b"POST /v1/completions HTTP/1.1\r\nHost: loc",
    "half a body": POST.encode(),
    "a body of an answered request": POST.replace("/v1/completions", "/health").encode(),
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(40),
    "no HTTP": b"GET\r\n\r\n",
    "idle after an answer": GET.format("/health").encode(),
    "pipelined, and takes nothing": GET.format("/health").encode() * 3000,
    "takes nothing of much": GET.format("/vendor/katex.min.js").encode() * 20,
    STUCK: GET.format("/v1/stuck").encode(),
}


@contextmanager
def program(*arguments: str) -> Iterator[tuple[subprocess.Popen, int]]:
    command = [
        "sh",
        "-c",
        f'ulimit -n {FILES} && exec "$@"',
        "sh",
        sys.executable,
        "-m",
        "tests.serve.overload_server",
        *arguments,
    ]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:  # nobody reads what it logs
        try:
            yield process, int(process.stdout.readline())
        finally:
            process.kill()


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with program() as (process, port):
        yield port
        assert process.poll() is None


@contextmanager
def crowd(port: int, sent: Callable[[int], bytes]) -> Iterator[None]:
    """Clients that send something, never read, and stay."""
    with ExitStack() as stack:
        for number in range(CLIENTS):
            wire = stack.enter_context(socket.socket())
            wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            wire.settimeout(60)
            wire.connect(("127.0.0.1", port))
            wire.setblocking(False)
            with suppress(OSError):  # it has ended already, or takes no more for now
                wire.send(sent(number))
        yield


def answers(port: int, path: str, method: str = "GET") -> int:
    with httpx.Client(timeout=60, trust_env=False) as client:
        return client.request(method, f"http://localhost:{port}{path}").status_code


def reachable(port: int) -> None:
    for _ in range(TRIES):
        assert [answers(port, path) for path in ("/health", "/ready", "/metrics")] == [200] * 3


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != STUCK])
def test_operations_are_answered_whatever_users_do(port, kind):
    with crowd(port, lambda number: KINDS[kind]):
        reachable(port)


def test_idle_clients_keep_no_user_out(port):
    for kind in ("silent", "half a head", "TLS", "idle after an answer"):
        with crowd(port, lambda number, kind=kind: KINDS[kind]):
            assert [answers(port, path) for path in ("/", "/api/settings", "/v1/models")] == [200] * 3


@pytest.mark.parametrize("stuck", [[], ["engine"]], ids=["requests", "an engine too"])
def test_a_stop_ends_the_program_whatever_users_do(stuck):
    everything = list(islice(cycle(KINDS.values()), CLIENTS))
    with program(*stuck) as (process, port), crowd(port, everything.__getitem__):
        assert answers(port, "/health") == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0


def test_requests_that_never_end_hold_up_no_operation_and_no_second_stop():
    with program("engine") as (process, port), crowd(port, lambda number: KINDS[STUCK]):
        reachable(port)
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
