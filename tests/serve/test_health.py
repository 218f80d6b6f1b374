"""What a server says of itself: alive, ready, and what the page needs to know."""

from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from groundup.model import cost
from groundup.release.about import About
from groundup.serve import health
from groundup.serve.app import make_app
from groundup.serve.metrics import Metrics
from groundup.serve.models import ServedModel
from groundup.serve.serving import Limits, Serving
from tests.serve.serve_helpers import listening, small_service, until


class FakeRegistry:
    """Models as the registry lists them."""

    def __init__(self, *entries):
        self._entries = entries

    def list(self):
        return self._entries

    def states(self):
        return [(entry.name, entry.service.stats()) for entry in self._entries]


@pytest.fixture
def entry(tokenizer):
    service = small_service(tokenizer)
    yield ServedModel("small", Path("small"), service, 0, service.config.context, (), About())
    service.close(0)


def get(shelf, path, ready=lambda: True, runs=Path("nowhere")):
    app = FastAPI()
    app.include_router(health.routes(Serving(shelf), shelf, Metrics(shelf.states), ready, "int8", runs))
    with listening(app) as port:
        return httpx.get(f"http://127.0.0.1:{port}{path}", trust_env=False)


def test_a_server_that_ends_is_alive_and_not_ready(entry):
    shelf = FakeRegistry(entry)
    assert get(shelf, "/ready").status_code == get(shelf, "/health").status_code == 200
    stopping = get(shelf, "/ready", ready=lambda: False)
    assert (stopping.status_code, stopping.headers["retry-after"]) == (503, "1")
    assert get(shelf, "/health", ready=lambda: False).status_code == 200


@pytest.mark.parametrize("path", ["/health", "/ready", "/metrics", "/api/settings"])
def test_probes_may_ask_for_the_head_alone(entry, tmp_path, path):
    shelf = FakeRegistry(entry)
    serving = Serving(shelf)
    app = make_app(serving)
    app.include_router(health.routes(serving, shelf, Metrics(shelf.states), lambda: True, "full", tmp_path))
    with listening(app) as port:
        found = httpx.head(f"http://127.0.0.1:{port}{path}", trust_env=False)
    assert (found.status_code, found.content) == (200, b"")


def test_a_server_with_a_dead_engine_is_neither(entry, tokenizer):
    dead = small_service(tokenizer)
    dead.close(0)
    until(lambda: not dead.stats().alive)
    shelf = FakeRegistry(entry, replace(entry, name="dead", service=dead))
    found = get(shelf, "/health")
    assert (found.status_code, found.json()) == (500, {"status": "failed", "models": ["dead"]})
    assert get(shelf, "/ready").status_code == 503


def test_settings_name_the_models_and_the_limits(entry, tmp_path):
    found = get(FakeRegistry(entry), "/api/settings", runs=tmp_path).json()
    parameters = cost.total(entry.service.config)
    assert found["models"] == [
        {"id": "small", "context": 1024, "images": False, "weights": "int8", "parameters": parameters}
    ]
    assert found["limits"]["body_bytes"] == Limits().body_bytes
    assert found["runs"] is True
    assert get(FakeRegistry(entry), "/api/settings").json()["runs"] is False
