"""The program under `groundup serve` without a model, and with requests that never end: `python -m
tests.serve.overload_server`.
"""

import os
import sys
import threading
from pathlib import Path
from typing import Any

from groundup.serve.access_log import AccessLog
from groundup.serve.admission import AdmissionControl
from groundup.serve.command import LOGGERS, Options, SignalledServer, _listening, application
from groundup.serve.metrics import Metrics
from groundup.serve.rate_limit import RateLimiter

OPTIONS: dict[str, Any] = {
    "host": "127.0.0.1", "port": 0, "keys": None, "weights": "full", "cache_bytes": 0, "queue": 1, "concurrent": 10_000,
    "requests_per_minute": 10**9, "total_concurrent": 10_000, "grace": 1.0, "temperature": 1.0, "watch": False,
    "runs": Path("nowhere"), "log_prompts": False, "device": None,
}  # fmt: skip


class FakeRegistry:
    """No models; `close` is as stuck as an engine in the middle of a step that does not end."""

    def list(self) -> tuple[()]:
        return ()

    def states(self) -> tuple[()]:
        return ()

    def close(self, seconds: float) -> None:
        threading.Event().wait()


def main() -> None:
    options, shelf, log = Options(**OPTIONS), FakeRegistry(), AccessLog(sys.stderr)
    metrics = Metrics(shelf.states)
    app: Any = application(shelf, metrics, options, lambda: True)  # type: ignore[arg-type]

    @app.get("/v1/stuck")
    def stuck() -> None:
        threading.Event().wait()

    gate = AdmissionControl(
        app, None, RateLimiter(options.requests_per_minute, options.concurrent, options.total_concurrent), log, metrics
    )
    server = SignalledServer(gate, shelf, log, options, threading.Event(), os._exit)  # type: ignore[arg-type]
    with _listening(options.host, options.port) as listener, log.capturing(*LOGGERS):
        print(listener.getsockname()[1], flush=True)
        server.run(sockets=[listener])
    if "engine" in sys.argv:
        shelf.close(0)


if __name__ == "__main__":
    main()
