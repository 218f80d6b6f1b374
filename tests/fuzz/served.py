"""A server of a small model, begun when it is first asked, that lives as long as the process."""

import functools
from contextlib import ExitStack
from pathlib import Path

from tests.serve.serve_helpers import Server, serving, small_service

PATHS = {"chat": "chat/completions", "streamed chat": "chat/completions"}
_OPEN = ExitStack()


@functools.cache
def server() -> Server:
    """The server; `stop` ends it."""
    service = small_service(depth=1)
    _OPEN.callback(service.close, 0)
    return _OPEN.enter_context(serving(service, Path(__file__).parent))


def stop() -> None:
    """End the server, if it was begun."""
    _OPEN.close()
    server.cache_clear()


def post(name: str, body: bytes) -> None:
    """Send a body. Raises ValueError for one that is refused; AssertionError for an answer that blames the server."""
    path = f"{server().url}/v1/{PATHS.get(name, name)}"
    answer = server().client.post(path, content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code < 500, answer.text
    if answer.status_code != 200:
        raise ValueError(answer.json()["error"]["message"])
    if "event-stream" in answer.headers["Content-Type"]:
        assert '"server_error"' not in answer.text, answer.text
