"""One server for the tests that do not break it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from groundup.codecs.text import Tokenizer
from tests.serve.serve_helpers import Server, serving, small_service, small_tokenizer


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    return small_tokenizer()


@pytest.fixture(scope="session")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("outside") / "page"
    (folder / "parts").mkdir(parents=True)
    (folder / "index.html").write_text("<!doctype html><title>page</title>")
    (folder / "parts" / "app.js").write_text("export {}")
    (folder / "look.css").write_text("body {}")
    (folder / "notes.bak").write_text("told to nobody")
    (folder.parent / "secret.txt").write_text("told to nobody")
    return folder


@pytest.fixture(scope="session")
def server(tokenizer: Tokenizer, page: Path) -> Iterator[Server]:
    service = small_service(tokenizer)
    with serving(service, page) as running:
        yield running
    service.close(0)


@pytest.fixture(autouse=True)
def _nothing_is_left(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "server" in request.fixturenames:
        request.getfixturevalue("server").idle()
