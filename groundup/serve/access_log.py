"""The access log: one JSON line for each request on standard error, without prompts and answers by default.

A thread of its own writes it, so a slow reader delays no response; lines beyond the queue are dropped and counted.
"""

import json
import logging
import queue
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from groundup.serve.request_stats import RequestStats

MAX_LINES = 10_000  # in the queue


class AccessLog:
    """Writes one line for each finished request. `close` flushes the last lines."""

    def __init__(self, out: TextIO | None = None, prompts: bool = False):
        self._out, self.prompts = out or sys.stderr, prompts
        self._lines: queue.Queue[str | None] = queue.Queue(MAX_LINES)
        self._lost = 0
        self._thread = threading.Thread(target=self._write, name="log", daemon=True)
        self._thread.start()

    def write(self, entry: dict[str, Any], stats: RequestStats, body: bytes | None) -> None:
        """Log a request: the entry of admission control, its statistics, and its body where bodies are logged."""
        first = stats.first_token_seconds
        line = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            **entry,
            "model": stats.model,
            "prompt_tokens": stats.prompt_tokens,
            "cached_tokens": stats.cached_tokens,
            "generated_tokens": stats.generated_tokens,
            "finish": stats.finish,
            "first_token_seconds": None if first is None else round(first, 4),
        }
        if body is not None:
            line["body"] = body.decode("utf-8", errors="replace")
        self.event(line)

    def event(self, line: dict[str, Any]) -> None:
        """Log an event of the server."""
        try:
            self._lines.put_nowait(
                json.dumps(line if not self._lost else line | {"lines_lost": self._lost})
            )  # ASCII, so that only the line feed ends a line
        except queue.Full:
            self._lost += 1
        else:
            self._lost = 0

    @contextmanager
    def capturing(self, *names: str) -> Iterator[None]:
        """Redirect these loggers into the access log: their own handlers block the caller on a full pipe."""
        handler = _Handler(self)
        loggers = [logging.getLogger(name) for name in names]
        before = [(logger, logger.propagate) for logger in loggers]
        for logger in loggers:
            logger.addHandler(handler)
            logger.propagate = False
        try:
            yield
        finally:
            for logger, propagated in before:
                logger.removeHandler(handler)
                logger.propagate = propagated

    def close(self, seconds: float = 2.0) -> None:
        """Flush the queue, for at most so many seconds."""
        try:
            self._lines.put(None, timeout=seconds)
        except queue.Full:
            return
        self._thread.join(seconds)

    def _write(self) -> None:
        while (line := self._lines.get()) is not None:
            print(line, file=self._out, flush=True)


class _Handler(logging.Handler):
    """Forwards warnings and errors to an access log."""

    def __init__(self, log: AccessLog):
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        """Log the record, with its traceback if there is one."""
        self._log.event({"event": "server", "message": self.format(record)})
