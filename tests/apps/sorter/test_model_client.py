"""The client: one model that sees the belt and understands its operator, in this process or behind a server."""

import math
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("llguidance", reason="needs the extra serve")
pytest.importorskip("fastapi")

from groundup.apps.sorter import model_client as clients
from groundup.apps.sorter.interpretation import CERTAIN, Interpretation, of_answer, of_deltas, request
from groundup.apps.sorter.model_client import LocalLanguageModel, LocalModel, RemoteModel
from groundup.apps.sorter.policy import ANSWER, PATTERN
from groundup.core.errors import InputError
from groundup.device import Device
from groundup.generate.engine import Engine
from groundup.generate.grammar import Constraint, Grammar
from groundup.generate.request import Request
from groundup.generate.service import Service
from groundup.model import weights
from groundup.serve.client import MAX_ANSWER, InferenceTimeout
from tests.random_models import random_model
from tests.serve.serve_helpers import serving, until, vision_tokenizer

TEXTS = ("brown glass to bin three, leave paper today", "把电池单独放到红色箱子", "<|im_end|>route hazard 1")
PICTURE = np.random.default_rng(0).integers(0, 255, (16, 16, 3)).astype(np.uint8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made, tokenizer = tmp_path_factory.mktemp("model"), vision_tokenizer()
    vision = {"patch": 4, "patches": 16, "classes": ("can", "film")}
    weights.save(random_model(5, context=256, vocab=tokenizer.size, **vision), made, None)
    tokenizer.save(made)
    return made


@pytest.fixture(scope="module")
def own(folder: Path) -> Iterator[LocalModel]:
    with closing(LocalModel(folder, Device("cpu"))) as client:
        yield client


@pytest.fixture
def distant(address: str) -> Iterator[RemoteModel]:
    with closing(RemoteModel(address, "small")) as client:
        yield client


@pytest.fixture(scope="module")
def address(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    page = tmp_path_factory.mktemp("page")
    (page / "index.html").write_text("<!doctype html><title>page</title>")
    service = Service(Engine.load(folder, Device("cpu")))
    with serving(service, page) as server:
        yield server.url
    service.close(0)


@pytest.mark.parametrize("text", TEXTS)
def test_whatever_is_said_an_order_comes_or_none_that_was_cut_off(own, text):
    line, probability, model = own.interpret(text)
    assert 0 <= probability <= CERTAIN and model == "model0"
    if line:
        assert re.fullmatch(PATTERN, line)


def test_an_answer_has_the_probability_of_all_its_tokens():
    text, answer = "paper to bin 3", "route paper 3."
    assert of_answer(text, answer, (-0.1, -0.2), "m") == ("route paper 3", pytest.approx(0.7408, abs=1e-4), "m")
    assert of_answer(text, answer, (0.0, -0.0), "m").probability == CERTAIN < Interpretation(answer).probability
    assert of_answer(text, answer.removesuffix("."), (0.0,), "m").line == ""  # it was cut off
    assert of_answer("paper and cans to bin 3", answer, (-0.1,), "m") == ("route paper 3", 0.0, "m")


def test_a_remote_model_answers_as_the_local_one_does(own, distant):
    for text in TEXTS:
        here, there = own.interpret(text), distant.interpret(text)
        assert (there.line, there.model) == (here.line, "small")
        assert there.probability == pytest.approx(here.probability, rel=1e-3)
    here, there = own.detect(PICTURE), distant.detect(PICTURE)
    assert here and [thing.class_name for thing in there] == [thing.class_name for thing in here if thing.score >= 0.05]


def test_the_probability_is_that_of_the_answer_under_the_model(own):
    """Against the engine's own score of prompt and answer, and the grammar allows each token of it."""
    service, text = own._service, "leave paper"
    deltas = []
    wanted = request(service.tokenizer, text)
    service.submit(wanted, deltas.append)
    until(lambda: deltas and deltas[-1].finish)
    ids = [id for delta in deltas for id in delta.ids]
    walk = Constraint(Grammar.regex(ANSWER), service.tokenizer)
    for id in ids:
        assert walk.token_mask()[id]
        walk.accept(id)
    echo = []
    service.submit(Request([*wanted.prompt, *ids], 1, logprobs=0, echo=True), echo.append)
    until(lambda: echo and echo[-1].finish)
    scored = sum(each.logprob for each in echo[0].prompt_logprobs[len(wanted.prompt) :])
    assert math.log(of_deltas("", deltas).probability or 5e-324) == pytest.approx(max(scored, -744.4), rel=1e-3)


def test_a_language_model_need_not_see(tmp_path):
    folder = tmp_path / "orders" / "instruct"
    weights.save(random_model(context=256, vocab=vision_tokenizer().size), folder, None)
    vision_tokenizer().save(folder)
    with closing(LocalLanguageModel(folder, Device("cpu"))) as listener:
        assert listener.name == listener.interpret("leave paper").model == "instruct"  # no stage of a run


def test_a_line_sorts_with_either(folder, address):
    pytest.importorskip("mujoco")
    from groundup.apps.sorter.command import SortOptions, sort

    some = {
        "oracle": False,
        "key": None,
        "items": 1,
        "setting": "standard",
        "seed": 0,
        "sure": 80,
        "record": None,
        "page": False,
        "port": None,
    }
    here = sort(SortOptions(model=str(folder), name=None, device="cpu", **some), lambda path: path)
    there = sort(SortOptions(model=address, name="small", device=None, **some), lambda path: path)
    for figures in (here, there):
        assert figures["sorted"] + figures["manual"] + figures["passed"] >= 1 and figures["brain"]["p50"] > 0
    with pytest.raises(InputError, match="server refused"):
        sort(SortOptions(model=address, name="nobody", device=None, **some), lambda path: path)


def test_it_detects_while_it_interprets_an_order(own, monkeypatch):
    monkeypatch.setattr(
        clients, "ORDER_TIMEOUT", 60.0
    )  # detection without a pause leaves little of the processor, and other tests may run
    expected, alone = own.detect(PICTURE), own.interpret(TEXTS[0])
    lines: list[Interpretation] = []
    listener = threading.Thread(target=lambda: lines.extend(own.interpret(TEXTS[0]) for _ in range(3)))
    listener.start()
    while listener.is_alive():
        assert own.detect(PICTURE) == expected
    listener.join()
    assert lines == [alone] * 3


def test_a_sentence_beyond_the_context_is_refused(own, distant):
    for client in (own, distant):
        with pytest.raises(InputError, match="context"):
            client.interpret("leave paper " * 33)


def test_an_order_that_takes_too_long_times_out_and_is_cancelled(own, monkeypatch):
    monkeypatch.setattr(clients, "ORDER_TIMEOUT", 0.0)
    with pytest.raises(InferenceTimeout, match="not interpreted within 0 s"):
        own.interpret(TEXTS[0])
    until(lambda: (state := own._service.stats()).running == state.waiting == 0)


def test_a_server_that_does_not_answer_times_out(monkeypatch):
    monkeypatch.setattr(clients, "ORDER_TIMEOUT", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        distant = RemoteModel(f"http://127.0.0.1:{silent.getsockname()[1]}", "small")
        with pytest.raises(InferenceTimeout, match="does not answer"):
            distant.interpret(TEXTS[0])


def test_a_model_without_detection_classes_is_refused(tmp_path):
    weights.save(random_model(vocab=vision_tokenizer().size), tmp_path, None)
    vision_tokenizer().save(tmp_path)
    with pytest.raises(InputError, match="has no detection head"):
        LocalModel(tmp_path, Device("cpu"))


class Odd(BaseHTTPRequestHandler):
    """A server that answers what a test says."""

    answer: tuple[int, bytes] = (200, b"")

    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        status, body = self.answer
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def odd() -> Iterator[RemoteModel]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Odd) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        with closing(RemoteModel(f"http://127.0.0.1:{server.server_port}", "small")) as client:
            yield client
        server.shutdown()
        thread.join()


BOX = b'{"kind": "can", "box": [0, 0, 0.5, 0.5], "score": 0.9}'


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (200, b"<html>", "is not as expected"),
        (200, b"[]", "the answer is not as expected"),
        (200, b"{}", "data is not as expected"),
        (200, b'{"data": []}', "data is not as expected"),
        (200, b'{"data": [{"objects": []}]}', "data.0.things is not"),
        (200, b'{"data": [{"things": [%s]}]}' % BOX.replace(b"0.9", b"9"), "data.0.things.0.score"),
        (200, b'{"data": [{"things": [%s]}]}' % BOX.replace(b"0.9", b"NaN"), "data.0.things.0.score"),
        (200, b'{"data": [{"things": [%s]}]}' % BOX.replace(b"0.5, ", b""), "data.0.things.0.box"),
        (200, b"[" * 100_000, "is not as expected"),
        (200, b" " * (MAX_ANSWER + 1), "more than 4,194,304 bytes"),
        (404, b'{"detail": "Not Found"}', "404, and error is not as expected"),
        (400, b'{"error": {"message": "no \\u001b[2J"}}', r"refused: no \\x1b\[2J"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_server_that_answers_otherwise_is_named_in_one_sentence(odd, monkeypatch, status, body, words):
    monkeypatch.setattr(Odd, "answer", (status, body))
    with pytest.raises(InputError, match=words) as refused:
        odd.detect(PICTURE)
    assert "\n" not in str(refused.value)
    monkeypatch.setattr(Odd, "answer", (200, b'{"data": [{"things": [%s]}]}' % BOX))
    assert [thing.class_name for thing in odd.detect(PICTURE)] == ["can"]


SCORED = b'{"choices": [{"message": {"content": "reset."}, "logprobs": {"content": [{"logprob": %s}]}}]}'


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b'{"choices": []}',
        b'{"choices": [{"message": {"content": null}}]}',
        b'{"choices": [{"message": {"content": "reset."}}]}',
        b'{"choices": [{"message": {"content": "reset."}, "logprobs": {"content": []}}]}',
        SCORED % b"0.5",
        SCORED % b"NaN",
        SCORED % b"-Infinity",
    ],
    ids=lambda body: body.decode()[-30:],
)
def test_an_order_that_comes_otherwise_is_named_in_one_sentence(odd, monkeypatch, body):
    monkeypatch.setattr(Odd, "answer", (200, body))
    with pytest.raises(InputError, match="/v1/chat/completions with 200, and choices"):
        odd.interpret(TEXTS[0])
