"""Which connection ends first, how many requests are under way, and how many connections a process may have."""

import asyncio
import random
import resource
import socket
import subprocess
import sys
from types import SimpleNamespace

import pytest

from groundup.serve.connections import CONNECTIONS, InFlightLimit, evictable
from groundup.serve.protocol import COUNTED
from tests.serve.serve_helpers import listening


def connection(address="a", since=0.0, made=0.0, busy=False, working=False):
    return SimpleNamespace(address=address, since=since, made=made, busy=busy, working=working)


def test_the_longest_idle_of_the_address_that_has_most_ends_first():
    many = [connection("a", since=5.0), connection("a", since=3.0), connection("a", since=1.0, working=True)]
    one = connection("b", since=0.0)
    busy = connection("a", made=0.0, busy=True)
    assert evictable([one, busy, *many], 4) == [many[1], many[0], one, busy]
    assert evictable([many[2]], 1) == []


def test_whatever_is_under_way_there_is_always_one_that_may_end():
    """Half of the connections at most are working, as no more requests are counted."""
    draw = random.Random(0)
    for _ in range(200):
        most = draw.randint(4, 40)
        found = [
            connection(draw.choice("abc"), draw.random(), draw.random(), busy=draw.random() < 0.5) for _ in range(most)
        ]
        for each in draw.sample(found, draw.randint(0, most // 2)):
            each.working = True
        ended = evictable(found, most - most // 2)
        assert len(ended) == most - most // 2
        assert not any(each.working for each in ended)


def scope(path, address="a"):
    return {"type": "http", "path": path, "client": (address, 1), "headers": [], "method": "GET"}


def test_user_requests_are_bounded_an_address_has_half_and_operations_are_free():
    async def trial():
        gate, refused, inside = asyncio.Event(), [], []

        async def app(scope, receive, send):
            inside.append(scope)
            await gate.wait()

        async def send(message):
            if message["type"] == "http.response.start":
                refused.append(message["status"])

        lanes = InFlightLimit(app, ("/health",), 4)
        payload = [("/x", "a")] * 3 + [("/x", "b")] * 1 + [("/x", "c")] * 2 + [("/health", "a")] * 9
        tasks = [asyncio.create_task(lanes(scope(*each), None, send)) for each in payload]
        await asyncio.sleep(0)
        assert refused == [503] * 2
        assert [COUNTED in each for each in inside] == [True] * 4 + [False] * 9
        gate.set()
        await asyncio.gather(*tasks)
        await lanes(scope("/x"), None, send)
        assert refused == [503] * 2

    asyncio.run(trial())


@pytest.mark.parametrize(
    ("soft", "hard", "wanted"), [(64, 96, 48), (64, 10_000, CONNECTIONS), (9000, 10_000, CONNECTIONS)]
)
def test_the_limit_of_open_files_is_raised_as_far_as_it_goes(soft, hard, wanted):
    if resource.getrlimit(resource.RLIMIT_NOFILE)[1] < hard:
        pytest.skip("the limit of open files cannot be so high here")
    code = f"import resource; resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard}))\n"
    code += "from groundup.serve.connections import max_connections; print(max_connections())"
    assert (
        int(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout) == wanted
    )


def test_pipelined_requests_are_all_answered_in_order():
    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"1")]})
        await send({"type": "http.response.body", "body": scope["path"][1:].encode()})

    payload = (
        "".join(f"GET /{number} HTTP/1.1\r\nHost: x\r\n\r\n" for number in range(9))
        + "GET /9 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    )
    with listening(app) as port, socket.create_connection(("127.0.0.1", port), timeout=60) as wire:
        wire.sendall(payload.encode())
        answer = b""
        while part := wire.recv(65536):
            answer += part
    assert [each[:1] for each in answer.split(b"\r\n\r\n")[1:]] == [str(number).encode() for number in range(10)]
