"""The gate: who may pass, and what is noted of those who did."""

import asyncio
import io
import json
from typing import Any

import httpx
import pytest
from starlette.responses import JSONResponse, StreamingResponse

from groundup.generate.service import ServiceStats
from groundup.serve import request_stats
from groundup.serve.access_log import AccessLog
from groundup.serve.admission import AdmissionControl, for_any_origin
from groundup.serve.keys import Keys, make
from groundup.serve.metrics import Metrics
from groundup.serve.rate_limit import RateLimiter

BUSY = ServiceStats(
    running=2, waiting=3, blocks_total=100, blocks_used=40, blocks_cached=10, prefilled_tokens=5, prefix_hit_tokens=6,
    generated_tokens=7, preemptions=1, steps=9, alive=True,
)  # fmt: skip


async def app(scope: Any, receive: Any, send: Any) -> None:
    """OutputCollector everything, streams at /v1/stream, fails at /v1/fail."""
    noted = request_stats.of(scope)
    noted.model, noted.prompt_tokens, noted.generated_tokens, noted.finish = "small", 3, 5, "stop"
    if scope["path"] == "/v1/fail":
        raise RuntimeError("broken inside")
    if scope["path"] == "/v1/stream":

        async def pieces():
            for _ in range(3):
                await asyncio.sleep(0.05)
                yield b"piece "

        return await StreamingResponse(pieces())(scope, receive, send)
    while (await receive()).get("more_body"):
        pass
    return await JSONResponse({"path": scope["path"]})(scope, receive, send)


class Door:
    """A gate, a client and what was written."""

    def __init__(self, keys: Keys | None = None, prompts: bool = False, **limits: int):
        self.out = io.StringIO()
        sizes = {"requests_per_minute": 1000, "concurrent": 100, "total_concurrent": 100} | limits
        self.metrics = Metrics(lambda: [("small", BUSY)])
        self.limiter = RateLimiter(**sizes)
        self.log = AccessLog(self.out, prompts)
        self.gate = AdmissionControl(app, keys, self.limiter, self.log, self.metrics)

    def get(self, path: str, host: str = "localhost:8000", method: str = "GET", **more: Any) -> httpx.Response:
        async def ask() -> httpx.Response:
            transport = httpx.ASGITransport(self.gate, raise_app_exceptions=False, client=("10.0.0.9", 4))
            async with httpx.AsyncClient(transport=transport, base_url=f"http://{host}") as client:
                return await client.request(method, path, **more)

        return asyncio.run(ask())

    def written(self) -> list[dict[str, Any]]:
        self.log.close()
        return [json.loads(line) for line in self.out.getvalue().splitlines()]


@pytest.mark.parametrize("host", ["localhost:8000", "127.0.0.1:8000", "127.0.0.1", "[::1]:8000", "localhost"])
def test_this_machine_is_answered(host):
    assert Door().get("/v1/models", host).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example:8000", "127.0.0.1.evil.example", "192.0.2.1:8000"]
)
def test_another_hosts_name_is_refused_where_only_this_machine_is_served(host, tmp_path):
    """A page whose name was pointed at 127.0.0.1 (DNS rebinding) sends its own name."""
    refused = Door().get("/health", host)
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "wrong_host")
    make(tmp_path / "keys", "ann")
    assert Door(Keys(tmp_path / "keys")).get("/health", host).status_code == 200


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://localhost:9999", "https://localhost"])
def test_pages_of_others_are_refused(origin):
    refused = Door().get("/v1/chat/completions", method="POST", headers={"Origin": origin})
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "wrong_origin")


def test_with_keys_a_page_of_another_origin_may_ask_as_it_must_send_one(tmp_path):
    token = make(tmp_path / "keys", "ann")
    door = Door(Keys(tmp_path / "keys"))
    door.gate = for_any_origin(door.gate)
    origin = {"Origin": "https://chat.example"}
    wanted = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,content-type"}
    preflight = door.get("/v1/chat/completions", method="OPTIONS", headers=origin | wanted)
    assert preflight.status_code == 200
    assert preflight.headers["access-control-allow-headers"] == wanted["Access-Control-Request-Headers"]
    answers = [door.get("/v1/models", headers=origin | {"Authorization": f"Bearer {key}"}) for key in (token, "x")]
    assert [answer.status_code for answer in answers] == [200, 401]
    assert {answer.headers["access-control-allow-origin"] for answer in (preflight, *answers)} == {"*"}
    assert not any("access-control-allow-credentials" in answer.headers for answer in (preflight, *answers))


def test_the_page_itself_may_ask():
    assert Door().get("/v1/models", headers={"Origin": "http://localhost:8000"}).status_code == 200


def test_with_keys_one_is_needed(tmp_path):
    token = make(tmp_path / "keys", "ann")
    door = Door(Keys(tmp_path / "keys"))
    for path in ("/v1/models", "/api/runs", "/metrics", "/v1"):
        for headers in (
            {},
            {"Authorization": f"Bearer {token}x"},
            {"Authorization": f"Basic {token}"},
            {"Authorization": token},
        ):
            refused = door.get(path, headers=headers)
            assert (refused.status_code, refused.json()["error"]["code"]) == (401, "invalid_api_key")
            assert refused.headers["www-authenticate"] == "Bearer"
        assert door.get(path, headers={"Authorization": f"bearer {token}"}).status_code == 200
    for path in ("/health", "/ready", "/", "/v1x"):
        assert door.get(path).status_code == 200
    assert door.written()[-5]["key"] == "ann"
    assert token not in door.out.getvalue()


def test_limits_are_told_with_the_time_to_wait():
    door = Door(requests_per_minute=2)
    assert [door.get("/v1/models").status_code for _ in range(3)] == [200, 200, 429]
    refused = door.get("/v1/models")
    assert refused.json()["error"] == {
        "message": "2 requests a minute are allowed; wait a little", "type": "rate_limit_error", "param": None,
        "code": "rate_limit_exceeded"
    }  # fmt: skip
    assert int(refused.headers["retry-after"]) >= 1
    assert door.get("/health").status_code == 200


def test_each_key_has_its_own_limits(tmp_path):
    tokens = [make(tmp_path / "keys", "ann", 1), make(tmp_path / "keys", "bob", 2)]
    door = Door(Keys(tmp_path / "keys"))
    found = [
        [door.get("/v1/models", headers={"Authorization": f"Bearer {token}"}).status_code for _ in range(3)]
        for token in tokens
    ]
    assert found == [[200, 429, 429], [200, 200, 429]]


def test_a_stream_counts_until_its_end_and_passes_as_it_comes():
    door = Door(concurrent=1)

    async def two() -> tuple[int, int]:
        transport = httpx.ASGITransport(door.gate)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            first = asyncio.create_task(client.get("/v1/stream"))
            await asyncio.sleep(0.02)
            second = await client.get("/v1/models")
            return (await first).status_code, second.status_code

    assert asyncio.run(two()) == (200, 429)
    assert door.limiter.running == 0
    assert door.get("/v1/models").status_code == 200


def test_a_failure_is_counted_and_gives_its_place_back():
    door = Door()
    assert door.get("/v1/fail").status_code == 500
    assert door.limiter.running == 0
    assert door.written()[-1]["path"] == "/v1/fail"


def test_the_log_says_all_but_what_was_said():
    door = Door()
    answer = door.get("/v1/completions", method="POST", json={"prompt": "a secret"})
    line = door.written()[0]
    assert line["id"] == answer.headers["x-request-id"]
    assert {key: line[key] for key in ("key", "method", "path", "status", "model", "prompt_tokens", "generated_tokens",
    "finish")} == {
        "key": None, "method": "POST", "path": "/v1/completions", "status": 200, "model": "small", "prompt_tokens": 3,
        "generated_tokens": 5,
        "finish": "stop",
    }  # fmt: skip
    assert "secret" not in door.out.getvalue()


def test_what_was_asked_is_logged_where_that_is_wanted():
    door = Door(prompts=True)
    door.get("/v1/completions", method="POST", json={"prompt": "a secret"})
    assert "a secret" in door.written()[0]["body"]


def test_a_line_break_in_a_path_makes_no_second_line():
    door = Door()
    door.get("/v1/x%0A%7B%22fake%22%3A1%7D")
    assert len(door.written()) == 1


def test_a_file_of_keys_that_breaks_is_told_in_the_log(tmp_path):
    token = make(tmp_path / "keys", "ann")
    door = Door(Keys(tmp_path / "keys"))
    (tmp_path / "keys").write_text("half a line\n")
    for _ in range(2):
        assert door.get("/v1/models", headers={"Authorization": f"Bearer {token}"}).status_code == 200
    (said,) = [line["message"] for line in door.written() if line.get("event") == "keys"]
    assert ":1: no key" in said
    assert token not in door.out.getvalue()


def test_a_client_that_leaves_gives_its_place_back():
    door = Door(concurrent=1)

    async def leave() -> None:
        request = asyncio.create_task(door.gate(scope("/v1/stream"), quiet, into([])))
        await asyncio.sleep(0.02)
        assert door.limiter.running == 1
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request

    asyncio.run(leave())
    assert door.limiter.running == 0
    assert "groundup_requests_under_way 0.0" in door.metrics.text().decode()
    assert [line["path"] for line in door.written()] == ["/v1/stream"]


def test_a_stream_is_not_gathered():
    """Each piece is sent on before the next is made."""
    sent: list[Any] = []
    asyncio.run(Door().gate(scope("/v1/stream"), quiet, into(sent)))
    assert [message["body"] for message in sent[1:]] == [b"piece ", b"piece ", b"piece ", b""]


def scope(path: str) -> dict[str, Any]:
    return {
        "type": "http",
        "method": "GET",
        "path": path,
        "query_string": b"",
        "headers": [(b"host", b"localhost")],
        "client": ("10.0.0.9", 4),
    }


async def quiet() -> Any:
    await asyncio.sleep(60)


def into(sent: list[Any]) -> Any:
    async def send(message: Any) -> None:
        sent.append(message)

    return send
