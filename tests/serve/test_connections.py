"""Connections end by themselves where no whole head comes, or nothing is taken of what is sent."""

import json
import re
import socket
import time
from contextlib import suppress
from typing import ClassVar

import pytest

from groundup.serve.protocol import Protocol
from tests.serve.serve_helpers import serving, small_service, until

GET = b"GET /v1/models HTTP/1.1\r\nHost: here\r\n\r\n"


class Impatient(Protocol):
    header_timeout, send_timeout = 1.5, 0.4  # a head that is sent at once comes in time on a busy machine too
    lost: ClassVar[list] = []

    def connection_lost(self, exc):
        super().connection_lost(exc)
        self.lost.append(self)


@pytest.fixture(scope="module")
def hasty(tokenizer, page):
    service = small_service(tokenizer, context=2048)
    with serving(service, page, protocol=Impatient) as running:
        yield running
    service.close(0)


def connect(server, taking=None):
    wire = socket.socket()
    if taking is not None:
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, taking)
    wire.settimeout(60)
    wire.connect(("127.0.0.1", server.port))
    return wire


def rest(wire):
    """How many bytes come until the server ends the connection."""
    size = 0
    with suppress(ConnectionResetError):
        while part := wire.recv(65536):
            size += len(part)
    return size


def listed(wire):
    """Ask for the models, and read the whole answer."""
    wire.sendall(GET)
    found = b""
    while not found.endswith(b"]}"):
        part = wire.recv(65536)
        assert part, found
        found += part
    assert found.startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("sent", [b"", b"POST /v1/chat/completions HTTP/1.1\r\nHost: he"])
def test_a_head_that_does_not_come_is_not_waited_for(hasty, sent):
    with connect(hasty) as wire:
        wire.sendall(sent)
        assert rest(wire) == 0


def test_a_head_that_drips_is_not_waited_for(hasty):
    with connect(hasty) as wire, pytest.raises(ConnectionError):
        for _ in range(5000):
            wire.sendall(b"x")
            time.sleep(0.02)


def test_a_second_head_that_does_not_come_is_not_waited_for(hasty):
    with connect(hasty) as wire:
        listed(wire)
        wire.sendall(GET[:20])
        assert rest(wire) == 0


def test_a_client_that_takes_its_time_between_requests_is_kept(hasty):
    with connect(hasty) as wire:
        for _ in range(3):
            listed(wire)
            time.sleep(2)


def test_an_answer_that_is_not_taken_leaves_memory(hasty):
    prompt = [
        [number, *([100] * 2000)] for number in range(8)
    ]  # their scores are more than what the system itself keeps for a client
    body = json.dumps({"model": "small", "prompt": prompt, "max_tokens": 1, "echo": True, "logprobs": 20}).encode()
    head = (
        "POST /v1/completions HTTP/1.1\r\nHost: here\r\nContent-Type: application/json\r\nContent-Length:"
        f" {len(body)}\r\n\r\n"
    )
    ended = len(hasty.records)
    with connect(hasty, taking=4096) as wire:
        Impatient.lost.clear()
        wire.sendall(head.encode() + body)
        until(lambda: len(hasty.records) > ended)
        until(lambda: Impatient.lost)
        begin = wire.recv(1024)
        whole = int(re.search(rb"content-length: (\d+)", begin)[1])
        assert rest(wire) < 0.8 * whole
