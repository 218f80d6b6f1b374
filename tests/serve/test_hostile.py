"""Clients that send too much, too slowly or nonsense, do not read, or leave."""

import asyncio
import json
import socket
import time
from contextlib import closing, suppress

import pytest

from groundup.serve.body import BodyLimit
from groundup.serve.errors import ApiError
from groundup.serve.serving import Limits
from tests.serve.serve_helpers import Server, serving, small_service, until

HEAD = "POST /v1/chat/completions HTTP/1.1\r\nHost: here\r\nContent-Type: application/json\r\n"


@pytest.fixture(scope="module")
def strict(tokenizer, page):
    service = small_service(tokenizer, context=8192)
    with serving(service, page, Limits(body_bytes=20_000, body_seconds=300, backlog=16)) as running:
        yield running
    service.close(0)


@pytest.fixture(scope="module")
def hasty(strict, page):
    with serving(strict.service, page, Limits(body_seconds=0.5)) as running:
        yield running


def talk(server: Server, *parts: bytes, pause: float = 0) -> bytes:
    """Send the parts and read until the server ends the connection."""
    with closing(socket.create_connection(("127.0.0.1", server.port), timeout=60)) as wire:
        answer = b""
        with suppress(BrokenPipeError, ConnectionResetError):  # it closed while more was on its way
            for part in parts:
                wire.sendall(part)
                time.sleep(pause)
        with suppress(ConnectionResetError):
            while more := wire.recv(65536):
                answer += more
    return answer


def request(fields: dict, **more: str) -> bytes:
    body = json.dumps({"model": "small", "messages": [{"role": "user", "content": "one"}]} | fields).encode()
    return (HEAD + f"Content-Length: {len(body)}\r\n\r\n").encode() + body


def endless(server: Server) -> dict:
    tokenizer = server.service.tokenizer
    return {"logit_bias": {str(id): -100 for id in (tokenizer.im_end, tokenizer.end)}}


def refusal(answer: bytes) -> tuple[int, str]:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"\r\nconnection: close" in head.lower()
    return int(head.split()[1]), json.loads(body)["error"]["message"]


def test_a_body_that_says_it_is_too_large_is_not_read(strict):
    assert refusal(talk(strict, (HEAD + "Content-Length: 20001\r\n\r\n").encode())) == (
        413,
        "the body has 20,001 bytes; the most is 20,000",
    )
    assert refusal(talk(strict, (HEAD + f"Content-Length: {10**12}\r\n\r\n").encode()))[0] == 413


def test_a_body_of_unknown_size_is_read_no_further_than_allowed(strict):
    chunk = b"1000\r\n" + b" " * 4096 + b"\r\n"
    answer = talk(strict, (HEAD + "Transfer-Encoding: chunked\r\n\r\n").encode(), *[chunk] * 5)
    assert refusal(answer) == (413, "the body has more than 20,000 bytes")


def test_a_body_in_tiny_chunks_is_not_read_to_its_end(tokenizer, page, strict):
    head = (HEAD + "Transfer-Encoding: chunked\r\n\r\n").encode()
    with serving(strict.service, page) as patient:
        assert talk(patient, head, *[b"1\r\n \r\n" * 1000] * 1000) == b""
        body = b"".join(b"80\r\n" + b" " * 128 + b"\r\n" for _ in range(10_000)) + b"0\r\n\r\n"
        assert (
            b" 400 "
            in talk(patient, head.replace(b"Host: here", b"Host: here\r\nConnection: close"), body).splitlines()[0]
        )


@pytest.mark.parametrize("declared", [True, False])
def test_a_body_a_little_too_long_is_read_to_its_end_and_one_far_too_long_is_not(declared):
    """A connection that ends with bytes unread may cost its client the answer."""

    def taken(size: int) -> int:
        left = size

        async def receive() -> dict:
            nonlocal left
            left -= 10_000
            return {"type": "http.request", "body": bytes(10_000), "more_body": left > 0}

        async def app(scope, receive, send) -> None:
            while (await receive())["more_body"]:
                pass

        scope = {"type": "http", "headers": [(b"content-length", b"%d" % size)] if declared else []}
        with pytest.raises(ApiError, match="the body has"):
            asyncio.run(BodyLimit(app, 20_000, 5)(scope, receive, None))
        return size - left

    assert taken(30_000) == 30_000
    assert taken(10**9) <= 100_000


def test_a_body_just_small_enough_is_read(strict):
    body = json.dumps({"model": "small", "messages": [{"role": "user", "content": "one"}], "max_tokens": 1}).encode()
    answer = strict.client.post(
        strict.url + "/v1/chat/completions", content=body.ljust(20_000), headers={"content-type": "application/json"}
    )
    assert answer.status_code == 200
    answer = strict.client.post(
        strict.url + "/v1/chat/completions", content=body.ljust(20_001), headers={"content-type": "application/json"}
    )
    assert answer.status_code == 413


@pytest.mark.parametrize("sent", [b"", b'{"model": '])
def test_a_body_that_does_not_come_is_not_waited_for(hasty, sent):
    assert refusal(talk(hasty, (HEAD + "Content-Length: 100\r\n\r\n").encode(), sent)) == (
        408,
        "the body did not come within 0.5 seconds",
    )


def test_a_body_that_drips_is_not_waited_for(hasty):
    with closing(socket.create_connection(("127.0.0.1", hasty.port), timeout=60)) as wire:
        wire.sendall((HEAD + "Content-Length: 1000000\r\n\r\n").encode())
        wire.setblocking(False)
        answer = b""
        for _ in range(6000):  # drips until it is refused
            with suppress(OSError):
                wire.send(b" ")
            with suppress(BlockingIOError, ConnectionResetError):
                answer += wire.recv(65536)
            if b"}}" in answer:
                break
            time.sleep(0.01)
    assert refusal(answer)[0] == 408


def test_a_client_that_leaves_in_the_middle_of_its_body_harms_nobody(strict):
    with closing(socket.create_connection(("127.0.0.1", strict.port))) as wire:
        wire.sendall((HEAD + "Content-Length: 100\r\n\r\n{").encode())
    assert strict.chat(max_tokens=1).status_code == 200


@pytest.mark.parametrize(
    "nonsense",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET\r\n\r\n",
        b"A" * 100_000 + b"\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
    ],
)
def test_what_is_no_http_ends_the_connection(strict, nonsense):
    answer = talk(strict, nonsense)
    assert answer == b"" or b" 400 " in answer.splitlines()[0]
    assert strict.chat(max_tokens=1).status_code == 200


# --- leaving ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True])
def test_the_answer_of_a_client_that_leaves_is_given_up(strict, stream):
    before = len(strict.records)
    with closing(socket.create_connection(("127.0.0.1", strict.port))) as wire:
        wire.sendall(request(endless(strict) | {"stream": stream, "n": 2}))
        until(lambda: strict.service.stats().running == 2)
    strict.idle()
    until(lambda: len(strict.records) > before)
    assert strict.records[-1].finish == "gone"
    assert strict.records[-1].generated_tokens < 8000


def test_a_client_that_leaves_while_it_waits_is_forgotten(strict):
    before, held = len(strict.records), []
    strict.service._enqueue(lambda: until(lambda: held))
    with closing(socket.create_connection(("127.0.0.1", strict.port))) as wire:
        wire.sendall(request(endless(strict)))
        until(lambda: strict.service.stats().waiting == 1)
    until(lambda: len(strict.records) > before)
    held.append(True)
    strict.idle()
    assert strict.records[-1].generated_tokens == 0


def test_a_client_that_leaves_while_texts_are_embedded_is_forgotten(strict):
    before, held = len(strict.records), []
    strict.service._enqueue(lambda: until(lambda: held))
    body = json.dumps({"model": "small", "input": ["one"] * 50}).encode()
    head = HEAD.replace("chat/completions", "embeddings") + f"Content-Length: {len(body)}\r\n\r\n"
    with closing(socket.create_connection(("127.0.0.1", strict.port))) as wire:
        wire.sendall(head.encode() + body)
        until(lambda: strict.service.stats().waiting == 50)
    until(lambda: len(strict.records) > before)
    held.append(True)
    strict.idle()
    assert strict.records[-1].finish == "gone"


def test_a_client_that_does_not_read_loses_its_answer(strict):
    before = len(strict.records)
    with closing(socket.socket()) as wire:
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        wire.connect(("127.0.0.1", strict.port))
        wire.sendall(request(endless(strict) | {"stream": True, "n": 16, "logprobs": True, "top_logprobs": 20}))
        until(lambda: strict.service.stats().running == 16)
        strict.idle()
        until(lambda: len(strict.records) > before)
        assert strict.records[-1].finish == "slow"
        assert strict.records[-1].generated_tokens < 16 * 8000
        assert strict.chat(max_tokens=1).status_code == 200


# --- files --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        "/../secret.txt",
        "/parts/../../secret.txt",
        "/%2e%2e/secret.txt",
        "/..%2fsecret.txt",
        "//etc/passwd",
        "/notes.bak",
        "/parts",
        "/parts/",
    ],
)
def test_nothing_but_the_page_is_served(server, path):
    answer = talk(server, f"GET {path} HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n".encode())
    assert b" 404 " in answer.splitlines()[0]
    assert b"told to nobody" not in answer


@pytest.mark.parametrize(
    ("path", "kind"),
    [("/", "text/html"), ("/index.html", "text/html"), ("/parts/app.js", "text/javascript"), ("/look.css", "text/css")],
)
def test_the_page_is_served_under_headers_that_let_nothing_else_in(server, path, kind):
    answer = server.client.get(server.url + path)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == f"{kind}; charset=utf-8"
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
    assert "unsafe" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["cache-control"] == "no-cache"
    again = server.client.get(server.url + path, headers={"If-None-Match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert server.client.head(server.url + path).headers["content-length"] == answer.headers["content-length"]
    assert server.client.post(server.url + path).status_code == 405
