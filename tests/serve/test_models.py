"""Models by name, and their replacement while they answer."""

import re
import shutil
import threading
from pathlib import Path

import httpx
import pytest

from groundup.core.errors import InputError
from groundup.core.files import write_json
from groundup.device import Device
from groundup.generate.engine import Engine
from groundup.generate.request import Request
from groundup.generate.service import Service
from groundup.model import weights
from groundup.release.about import ABOUT
from groundup.serve.app import make_app
from groundup.serve.models import Registry, version_of
from groundup.serve.serving import Serving
from tests.random_models import random_model
from tests.serve.serve_helpers import events, listening, small_tokenizer, until


def write(folder: Path, seed: int) -> Path:
    weights.save(random_model(seed), folder, None)
    small_tokenizer().save(folder)
    return folder


def load(folder: Path) -> Service:
    return Service(Engine.load(folder, Device("cpu"), "fp32"))


@pytest.fixture
def registry(tmp_path):
    made = Registry({"one": write(tmp_path / "one", 1), "two": write(tmp_path / "two", 2)}, lambda path: path, load)
    made.load()
    yield made
    made.close(0)


def answer(service: Service, limit: int = 12) -> list[int]:
    ids: list[int] = []
    ended = threading.Event()

    def listen(piece):
        ids.extend(piece.ids)
        if piece.finish or piece.error:
            ended.set()

    service.submit(Request([5, 6, 7], limit), listen)
    assert ended.wait(60)
    return ids


def test_models_have_names(registry):
    assert [entry.name for entry in registry.list()] == ["one", "two"]
    assert answer(registry.get("one").service) != answer(registry.get("two").service)
    with pytest.raises(KeyError):
        registry.get("three")
    assert [name for name, state in registry.states() if state.alive] == ["one", "two"]


def test_nothing_is_loaded_again_while_nothing_changes(registry):
    before = [entry.service for entry in registry.list()]
    assert registry.reload() == []
    assert [entry.service for entry in registry.list()] == before


def test_a_new_version_takes_the_place_of_the_old_which_ends_what_it_began(registry, tmp_path):
    old = registry.get("one").service
    held, go, ended, ids = threading.Event(), threading.Event(), threading.Event(), []
    old._enqueue(lambda: held.set() or go.wait(60))
    held.wait(60)

    def listen(piece):
        ids.extend(piece.ids)
        if piece.finish:
            ended.set()

    old.submit(Request([5, 6, 7], 12), listen)
    expected = answer(registry.get("two").service)
    shutil.copy(tmp_path / "two" / "model.safetensors", tmp_path / "one" / "model.safetensors")
    assert registry.reload() == ["one: a new version is served"]
    assert answer(registry.get("one").service) == expected
    go.set()
    assert ended.wait(60)
    assert ids != expected
    until(lambda: not old.stats().alive)


def test_nobody_notices_that_versions_change(registry, tmp_path, page):
    """Clients ask without a pause, half of them for streams, while the model is replaced again and again."""
    versions = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("two", "one")]
    whole = {(*answer(registry.get(name).service, 8),) for name in ("one", "two")}
    body = {"model": "one", "prompt": [5, 6, 7], "max_tokens": 8, "temperature": 0}
    stop, found, swaps = threading.Event(), [], []

    def hammer(port: int, stream: bool) -> None:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60, trust_env=False) as client:
            while not stop.is_set():
                reply = client.post("/v1/completions", json=body | {"stream": stream})
                parts = events(reply.text) if stream and reply.status_code == 200 else [reply.json()]
                found.append((reply.status_code, "".join(part["choices"][0]["text"] for part in parts)))

    with listening(make_app(Serving(registry, page))) as port:
        clients = [threading.Thread(target=hammer, args=(port, stream)) for stream in (True, False, True, False)]
        for client in clients:
            client.start()
        try:
            for number in range(6):
                target = tmp_path / "one" / "model.safetensors"
                target.with_suffix(".tmp").write_bytes(versions[number % 2])
                target.with_suffix(".tmp").replace(target)
                swaps += registry.reload()
                seen = len(found)
                until(lambda seen=seen: len(found) > seen + 8)
        finally:
            stop.set()
            for client in clients:
                client.join(60)
    assert swaps == ["one: a new version is served"] * 6
    assert {status for status, _ in found} == {200}
    assert {text for _, text in found} == {registry.get("two").service.tokenizer.decode(ids) for ids in whole}


def test_a_broken_version_leaves_the_old_one_and_is_told_once(registry, tmp_path):
    before = answer(registry.get("one").service)
    (tmp_path / "one" / "model.safetensors").write_bytes(b"broken")
    said = registry.reload()
    assert len(said) == 1
    assert said[0].startswith("one: the new version cannot be loaded, the old one goes on (")
    assert registry.reload() == []
    assert answer(registry.get("one").service) == before
    write(tmp_path / "one", 3)
    assert registry.reload() == ["one: a new version is served"]


@pytest.mark.parametrize(
    ("name", "content"), [("config.json", "true"), ("config.json", "[[]]"), ("tokenizer.json", None)]
)
def test_a_version_whose_files_have_another_shape_leaves_the_old_one(registry, tmp_path, name, content):
    file = tmp_path / "one" / name
    file.write_text(content or re.sub(r": 65\b", f": {10**30}", file.read_text(), count=1))
    assert registry.reload()[0].startswith("one: the new version cannot be loaded, the old one goes on (")
    write(tmp_path / "one", 3)
    assert registry.reload() == ["one: a new version is served"]


def test_a_version_that_memory_does_not_hold_leaves_the_old_one(registry, tmp_path, monkeypatch):
    def load(folder):
        raise RuntimeError("not enough memory")

    monkeypatch.setattr(registry, "_load", load)
    write(tmp_path / "one", 3)
    assert registry.reload() == ["one: the new version cannot be loaded, the old one goes on (not enough memory)"]
    assert registry.reload() == []
    assert len(answer(registry.get("one").service)) > 0


def test_a_folder_that_is_gone_leaves_the_old_one(registry, tmp_path):
    shutil.rmtree(tmp_path / "one")
    assert len(registry.reload()) == 1
    assert answer(registry.get("one").service)


def test_a_version_that_is_still_being_written_is_left_alone(registry, tmp_path, monkeypatch):
    weights_file = tmp_path / "one" / "model.safetensors"
    weights_file.write_bytes(b"half")
    monkeypatch.setattr("time.sleep", lambda seconds: weights_file.write_bytes(b"half and more"))
    assert registry.reload(settle=1.0) == []


def test_a_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(InputError, match="holds no model"):
        version_of(tmp_path)


def test_a_model_says_what_it_is_for(tmp_path):
    write_json(write(tmp_path / "one", 1) / ABOUT, {"name": "run", "purpose": "Counts.", "examples": ["one two"]})
    write(tmp_path / "two", 2)
    made = Registry({"one": tmp_path / "one", "two": tmp_path / "two"}, lambda path: path, load)
    made.load()
    with listening(make_app(Serving(made))) as port:
        found = httpx.get(f"http://127.0.0.1:{port}/v1/models", trust_env=False).json()["data"]
    made.close(0)
    assert (found[0]["purpose"], found[0]["examples"]) == ("Counts.", ["one two"])
    assert found[1].keys() & {"purpose", "examples"} == set()


def test_a_damaged_purpose_ends_the_start_in_one_sentence(tmp_path):
    (write(tmp_path / "one", 1) / ABOUT).write_text('{"examples": 7}')
    with pytest.raises(InputError, match=r"about.json: examples: input should be a valid"):
        Registry({"one": tmp_path / "one"}, lambda path: path, load).load()
