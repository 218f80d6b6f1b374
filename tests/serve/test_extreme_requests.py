"""Numbers and grammars that go to extremes: an answer or a refusal comes, and another client's answer is as it was."""

import json
import signal
import threading
import time
from contextlib import suppress

import httpx
import pytest

from tests.serve.serve_helpers import IMAGE_MODEL, Server, serving, small_service, vision_tokenizer
from tests.serve.test_command import serving as program
from tests.serve.test_command import write

NUMBERS = [
    "0",
    "-0.0",
    "5e-324",
    "1e-320",
    "1e-300",
    "1e-46",
    "1e-45",
    "1e-40",
    "1e-7",
    "0.9999999999999999",
    "1",
    "2",
    "3.5e38",
    "1e300",
    "1e400",
]
NUMBERS += [
    "-1e-300",
    "-5e-324",
    "-1",
    "9007199254740993",
    "9223372036854775807",
    "9223372036854775808",
    "1" + "0" * 60,
    "NaN",
    "-Infinity",
]
BOTH = [
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "repetition_penalty",
    "presence_penalty",
    "frequency_penalty",
    "seed",
    "n",
    "max_tokens",
]
FIELDS = [("chat/completions", name) for name in [*BOTH, "max_completion_tokens", "top_logprobs"]]
FIELDS += [("completions", name) for name in [*BOTH, "logprobs"]]
COUNTING = "start: a::0x1\na::_: a::incr([0:64])\n"
ENDLESS = [
    {"response_format": {"type": "grammar", "grammar": COUNTING}},
    {"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "integer",
    "multipleOf": 1000003}}}},
    {"tools": [{"type": "function", "function": {"name": "f", "parameters": {"properties": {"a": {"type": "integer",
    "multipleOf": 1000003}}}}}],
     "tool_choice": "required"},
]  # fmt: skip


def raw(server: Server, path: str, fields: str) -> httpx.Response:
    """Ask in text: a number comes as it is written."""
    prompt = '"messages": [{"role": "user", "content": "one"}]' if "chat" in path else '"prompt": "one two"'
    text = f'{{"model": "small", {prompt}, {fields}}}'
    return server.client.post(f"{server.url}/v1/{path}", content=text, headers={"Content-Type": "application/json"})


def question(server: Server) -> list[dict]:
    answer = server.chat("three four", temperature=0.9, seed=5, max_tokens=4, logprobs=True)
    return answer.json()["choices"]


def fields(name: str, number: str) -> str:
    more = {"seed": 1, "max_tokens": 3, "temperature": 1.0} | ({"logprobs": True} if name == "top_logprobs" else {})
    if name == "max_completion_tokens":
        del more["max_tokens"]
    return ", ".join(
        [
            *(f"{json.dumps(key)}: {json.dumps(value)}" for key, value in more.items() if key != name),
            f'"{name}": {number}',
        ]
    )


@pytest.mark.parametrize(("path", "name"), FIELDS)
def test_numbers_of_any_size_are_answered_or_refused(server, path, name):
    expected = question(server)
    for number in NUMBERS:
        response = raw(server, path, fields(name, number))
        assert response.status_code in (200, 400), (number, response.text)
        assert question(server) == expected, number
    for number in NUMBERS[:8]:
        bias = f'"logit_bias": {{"5": {number}}}, "max_tokens": 3, "{name}": 1'
        if name not in ("max_tokens", "top_logprobs", "max_completion_tokens"):
            assert raw(server, path, bias).status_code in (200, 400)
    assert question(server) == expected


def test_numbers_of_detections(page):
    service = small_service(vision_tokenizer(), vocab=vision_tokenizer().size, **IMAGE_MODEL)
    with serving(service, page) as server:
        for number in NUMBERS:
            text = f'{{"model": "small", "input": [], "least": {number}}}'
            payload = server.client.post(
                f"{server.url}/v1/detections", content=text, headers={"Content-Type": "application/json"}
            )
            assert payload.status_code == 400
        assert question(server)
    service.close(0)


def test_what_cannot_be_compiled_is_refused_and_keeps_nobody_waiting(server):
    pytest.importorskip("llguidance", reason="needs the extra serve")
    expected, found = question(server), []

    def attack(form: dict) -> None:
        with httpx.Client(timeout=600, trust_env=False) as client:
            body = {"model": "small", "messages": [{"role": "user", "content": "one"}], "max_tokens": 20} | form
            found.append(client.post(f"{server.url}/v1/chat/completions", json=body))

    attackers = [
        threading.Thread(target=attack, args=(form,)) for form in ENDLESS * 15
    ]  # more than the threads that requests are prepared in
    for attacker in attackers:
        attacker.start()
    payload = 0
    while any(attacker.is_alive() for attacker in attackers):
        assert question(server) == expected
        payload += 1
    assert payload
    assert {response.status_code for response in found} <= {400, 429}
    assert question(server) == expected


def test_a_client_that_leaves_ends_what_is_compiled_for_it(server):
    pytest.importorskip("llguidance", reason="needs the extra serve")
    with pytest.raises(httpx.TimeoutException):
        body = {
            "model": "small",
            "messages": [{"role": "user", "content": "one"}],
            "response_format": {"type": "grammar", "grammar": COUNTING + " "},
        }
        server.client.post(f"{server.url}/v1/chat/completions", json=body, timeout=0.5)
    for _ in range(500):
        if not server.service.grammars._pending:
            return
        time.sleep(0.01)
    raise AssertionError("it is still compiled")


def test_a_program_that_compiles_stops_when_told(tmp_path):
    pytest.importorskip("llguidance", reason="needs the extra serve")
    with program(f"small={write(tmp_path / 'model')}", "--grace", "1") as server:

        def attack() -> None:
            body = {"model": "small", "messages": [{"role": "user", "content": "one"}]} | ENDLESS[0]
            with suppress(httpx.HTTPError):  # it has stopped
                httpx.post(f"{server.url}/v1/chat/completions", json=body, timeout=60, trust_env=False)

        attackers = [threading.Thread(target=attack, daemon=True) for _ in range(46)]
        for attacker in attackers:
            attacker.start()
        time.sleep(1.0)
        assert server.client.get("/health").status_code == 200
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(30) == 0
