"""`groundup serve` as a program: it answers, reloads, stops when told, and refuses what it must."""

import io
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from PIL import Image
from typer.testing import CliRunner

from groundup.cli import app
from groundup.core.errors import InputError
from groundup.model import cost, weights
from groundup.serve.access_log import AccessLog
from groundup.serve.command import IMAGE_BODY_BYTES, Options, SignalledServer, parse_models
from tests.random_models import random_model
from tests.serve.overload_server import OPTIONS
from tests.serve.serve_helpers import IMAGE_MODEL, small_tokenizer, until, vision_tokenizer


def write(folder: Path, seed: int = 0) -> Path:
    weights.save(random_model(seed), folder, None)
    small_tokenizer().save(folder)
    return folder


class Program:
    def __init__(self, process: subprocess.Popen[str], url: str, log: Path):
        self.process, self.url, self.log = process, url, log
        self.client = httpx.Client(base_url=url, timeout=60)

    def said(self) -> list[dict]:
        self.process.wait(60)
        return [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]


@contextmanager
def started(*arguments: str) -> Iterator[Program]:
    """A program that may still load its models."""
    command = [sys.executable, "-m", "groundup.cli", "serve", *arguments, "--port", "0"]
    with tempfile.TemporaryDirectory() as folder, (Path(folder) / "log").open("w") as log:
        process = subprocess.Popen(command, stderr=log, text=True)
        try:
            until(lambda: "port" in Path(log.name).read_text() or process.poll() is not None)
            port = re.search(r"port (\d+)", Path(log.name).read_text())
            assert port, Path(log.name).read_text()
            program = Program(process, f"http://127.0.0.1:{port[1]}", Path(log.name))
            yield program
            program.client.close()
        finally:
            process.kill()
            process.wait()


@contextmanager
def serving(*arguments: str, token: str | None = None) -> Iterator[Program]:
    with started(*arguments) as program:
        until(lambda: f"{program.url} (page, /v1)" in program.log.read_text() or program.process.poll() is not None)
        assert "(page, /v1)" in program.log.read_text(), program.log.read_text()
        if token:
            program.client.headers["Authorization"] = f"Bearer {token}"
        until(lambda: ready(program))
        yield program


def ready(program: Program) -> bool:
    return answers(program, "/ready")


def answers(program: Program, path: str) -> bool:
    try:
        return program.client.get(path).status_code == 200
    except httpx.TransportError:
        return False


def words(program: Program, **more) -> str:
    body = {"model": "small", "prompt": [5, 6, 7], "max_tokens": 20, "temperature": 0} | more
    return program.client.post("/v1/completions", json=body).json()["choices"][0]["text"]


def test_it_answers_reloads_and_ends_what_it_began(tmp_path):
    write(tmp_path / "small")
    with serving(f"small={tmp_path / 'small'}", "--runs", str(tmp_path), "--grace", "60") as program:
        assert program.client.get("/health").json() == {"status": "ok"}
        settings = program.client.get("/api/settings").json()
        assert settings["models"][0] == {
            "id": "small",
            "context": 64,
            "images": False,
            "weights": "full",
            "parameters": cost.total(random_model().config),
        }
        first = words(program)
        write(tmp_path / "new", 1)
        shutil.copy(tmp_path / "new" / "model.safetensors", tmp_path / "small" / "model.safetensors")
        program.process.send_signal(signal.SIGHUP)
        until(lambda: words(program) != first)
        body = {
            "model": "small",
            "prompt": [5, 6, 7],
            "max_tokens": 50,
            "temperature": 0,
            "stream": True,
            "logit_bias": {},
        }
        with program.client.stream("POST", "/v1/completions", json=body) as stream:
            lines = stream.iter_lines()
            next(lines)
            program.process.send_signal(signal.SIGTERM)
            rest = [line for line in lines if line]
        assert rest[-1] == "data: [DONE]"
        assert program.process.wait(60) == 0
        said = program.said()
        assert [line["message"] for line in said if line.get("event") == "reload"] == ["small: a new version is served"]
        assert said[-1]["path"] == "/v1/completions"


@pytest.fixture
def slow(tmp_path):
    """A model's folder that cannot be loaded before somebody writes its tokenizer.json, and what to write."""
    path = write(tmp_path / "small") / "tokenizer.json"
    text = path.read_text()
    path.unlink()
    os.mkfifo(path)
    return path, text


def test_while_models_load_it_is_alive_and_not_ready(slow):
    pipe, text = slow
    with started(str(pipe.parent)) as program:
        until(lambda: answers(program, "/health"))
        not_ready, refused = program.client.get("/ready"), program.client.get("/v1/models")
        assert (not_ready.status_code, not_ready.headers["retry-after"]) == (503, "1")
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "loading")
        assert "(page, /v1)" not in program.log.read_text()
        program.process.send_signal(signal.SIGHUP)  # heard once there is something to reload
        pipe.write_text(text)
        until(lambda: ready(program))
        assert program.client.get("/health").status_code == 200
        assert words(program)


def test_a_model_that_cannot_be_loaded_ends_it(slow):
    pipe, _ = slow
    with started(str(pipe.parent)) as program:
        until(lambda: answers(program, "/health"))
        pipe.write_text("{")
        assert program.process.wait(60) == 2
        errors = [line for line in program.log.read_text().splitlines() if not line.startswith("{")][1:]
        assert len(errors) == 1
        assert re.match(r"error: .*tokenizer\.json: not valid JSON", errors[0])


def test_no_request_is_lost_while_versions_change(tmp_path):
    write(tmp_path / "small")
    write(tmp_path / "new", 1)
    with serving(f"small={tmp_path / 'small'}") as program:
        found, until_ = [], time.monotonic() + 3
        versions = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("new", "small")]
        while time.monotonic() < until_:
            if len(found) % 10 == 0:
                target = tmp_path / "small" / "model.safetensors"
                target.with_suffix(".tmp").write_bytes(versions[len(found) // 10 % 2])
                target.with_suffix(".tmp").replace(target)
                program.process.send_signal(signal.SIGHUP)
            found.append(
                program.client.post(
                    "/v1/completions", json={"model": "small", "prompt": [5, 6], "max_tokens": 4}
                ).status_code
            )
        assert set(found) == {200}


def test_keys_let_in_those_who_have_one(tmp_path):
    write(tmp_path / "small")
    made = CliRunner().invoke(app, ["key", "ann", "--keys", str(tmp_path / "keys")])
    token = made.stdout.strip()
    with serving(str(tmp_path / "small"), "--keys", str(tmp_path / "keys"), token=token) as program:
        assert words(program)
        assert httpx.get(program.url + "/v1/models").status_code == 401
        assert httpx.get(program.url + "/health").status_code == 200
        text = program.client.get("/metrics").text
        assert re.search(r'groundup_engine_generated_tokens_total\{model="small"\} [1-9]', text)
        assert 'groundup_first_token_seconds_count{model="small"} 1.0' in text


def test_a_server_whose_model_sees_reads_images_of_its_folder(tmp_path):
    tokenizer = vision_tokenizer()
    weights.save(random_model(vocab=tokenizer.size, context=256, **IMAGE_MODEL), tmp_path / "small", None)
    tokenizer.save(tmp_path / "small")
    (tmp_path / "shop").mkdir()
    Image.new("RGB", (16, 12), "red").save(tmp_path / "shop" / "a.png")
    with serving(str(tmp_path / "small"), "--images-from", str(tmp_path / "shop")) as program:
        settings = program.client.get("/api/settings").json()
        assert settings["models"][0]["images"] is True
        assert settings["limits"]["body_bytes"] == IMAGE_BODY_BYTES
        shown = {"type": "image_url", "image_url": {"url": "a.png"}}
        body = {"model": "small", "messages": [{"role": "user", "content": [shown]}], "max_tokens": 3}
        assert program.client.post("/v1/chat/completions", json=body).json()["usage"]["prompt_tokens"] > 12
        shown["image_url"]["url"] = "../small/config.json"
        assert (
            program.client.post("/v1/chat/completions", json=body).json()["error"]["param"] == "messages[0].content[0]"
        )


def test_a_second_signal_does_not_wait(tmp_path):
    write(tmp_path / "small")
    with serving(str(tmp_path / "small"), "--grace", "60") as program:
        host, port = program.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), 30) as slow:
            slow.sendall(
                b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length:"
                b" 99\r\n\r\n{"
            )
            until(
                lambda: "groundup_requests_under_way 2.0" in program.client.get("/metrics").text
            )  # this one and that which asks
            program.process.send_signal(signal.SIGTERM)
            with pytest.raises(subprocess.TimeoutExpired):  # the body may come yet
                program.process.wait(2)
            program.process.send_signal(signal.SIGTERM)
            assert program.process.wait(60) == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--host", "0.0.0.0"], "API keys are needed"),
        (["--host", "::"], "API keys are needed"),
        (["--keys", "/nonexistent"], "cannot be read"),
        (["--images-from", "/nonexistent"], "no such folder"),
        (["--host", "256.0.0.1", "--keys", "{keys}"], "cannot be listened on"),
    ],
)
def test_what_cannot_be_served_is_refused(tmp_path, arguments, said, monkeypatch):
    CliRunner().invoke(app, ["key", "ann", "--keys", str(tmp_path / "keys")])
    given = [argument.format(keys=tmp_path / "keys") for argument in arguments]
    with pytest.raises((InputError, ConnectionRefusedError), match=said if "256" not in str(given) else "256.0.0.1"):
        CliRunner().invoke(app, ["serve", str(tmp_path), "--port", "0", *given], catch_exceptions=False)


def test_a_port_that_is_taken_is_refused(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(InputError, match="cannot be listened on"):
            CliRunner().invoke(
                app, ["serve", str(tmp_path), "--port", str(taken.getsockname()[1])], catch_exceptions=False
            )


def test_names_are_given_or_the_folders_own(tmp_path):
    assert parse_models(["runs/demo", "other=exports/x"]) == {"demo": Path("runs/demo"), "other": Path("exports/x")}
    for wrong in (["a/x", "b/x"], ["=x"]):
        with pytest.raises(InputError, match="give each model its own"):
            parse_models(wrong)


def test_the_server_says_at_which_temperature_it_answers(tmp_path):
    write(tmp_path / "small")
    with serving(str(tmp_path / "small"), "--temperature", "0") as program:
        assert program.client.get("/api/settings").json()["defaults"]["temperature"] == 0
        payload = {"model": "small", "prompt": [5, 6, 7], "max_tokens": 20}
        texts = [program.client.post("/v1/completions", json=payload).json()["choices"][0]["text"] for _ in range(2)]
        assert texts == [words(program)] * 2


@pytest.mark.parametrize("ends", [True, False])
def test_only_a_server_that_was_told_how_ends_its_process(monkeypatch, ends):
    timers = []

    class Timer(threading.Timer):
        def start(self):
            timers.append(self)

    monkeypatch.setattr(threading, "Timer", Timer)
    options, ended, log = Options(**OPTIONS), [], AccessLog(io.StringIO())
    server = SignalledServer(None, None, log, options, threading.Event(), ended.append if ends else None)
    server._stop()
    assert server.should_exit
    for timer in timers:
        timer.function(*timer.args)
    assert ended == ([0] if ends else [])
    log.close()
