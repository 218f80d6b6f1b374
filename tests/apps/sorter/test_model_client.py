"""The client: one model that sees the belt and understands its operator, in this process or behind a server."""

import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("llguidance", reason="needs the extra serve")
pytest.importorskip("fastapi")

from groundup.apps.sorter import model_client as clients
from groundup.apps.sorter.model_client import InferenceTimeout, LocalModel, RemoteModel
from groundup.apps.sorter.policy import PATTERN
from groundup.core.errors import InputError
from groundup.device import Device
from groundup.generate.engine import Engine
from groundup.generate.grammar import Constraint, Grammar
from groundup.generate.service import Service
from groundup.model import weights
from tests.random_models import random_model
from tests.serve.serve_helpers import seeing_tokenizer, serving, until

TEXTS = ("brown glass to bin three, leave paper today", "把电池单独放到红色箱子", "<|im_end|>route hazard 1")
PICTURE = np.random.default_rng(0).integers(0, 255, (16, 16, 3)).astype(np.uint8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made, tokenizer = tmp_path_factory.mktemp("model"), seeing_tokenizer()
    eyes = {"patch": 4, "patches": 16, "classes": ("can", "film")}
    weights.save(random_model(5, context=256, vocab=tokenizer.size, **eyes), made, None)
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
def test_whatever_is_said_a_line_of_the_language_comes(own, text):
    line = own.interpret(text)
    walk, tokenizer = Constraint(Grammar.regex(PATTERN), own._service.tokenizer), own._service.tokenizer
    assert line
    for id in tokenizer.encode(line):
        assert walk.token_mask()[id]
        walk.accept(id)


def test_a_remote_model_answers_as_the_local_one_does(own, distant):
    assert [distant.interpret(text) for text in TEXTS] == [own.interpret(text) for text in TEXTS]
    here, there = own.detect(PICTURE), distant.detect(PICTURE)
    assert here and [thing.class_name for thing in there] == [thing.class_name for thing in here if thing.score >= 0.05]


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
    )  # looks without a pause leave little of the processor, and other tests may run
    expected, alone = own.detect(PICTURE), own.interpret(TEXTS[0])
    lines: list[str] = []
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
    weights.save(random_model(vocab=seeing_tokenizer().size), tmp_path, None)
    seeing_tokenizer().save(tmp_path)
    with pytest.raises(InputError, match="detects nothing in images"):
        LocalModel(tmp_path, Device("cpu"))
