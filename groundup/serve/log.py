"""The access log: one JSON line a request on standard error. What was asked and answered is not in it unless wanted.

A thread of its own writes, so that whoever reads slowly holds up no answer; what it cannot take is counted instead.
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

from groundup.serve.record import Record

WAITING = 10_000  # lines


class AccessLog:
    """Writes a line for each request that has ended. `close` it, or the last lines may be lost."""

    def __init__(self, out: TextIO | None = None, prompts: bool = False):
        self._out, self.prompts = out or sys.stderr, prompts
        self._lines: queue.Queue[str | None] = queue.Queue(WAITING)
        self._lost = 0
        self._thread = threading.Thread(target=self._write, name="log", daemon=True)
        self._thread.start()

    def write(self, entry: dict[str, Any], record: Record, body: bytes | None) -> None:
        """A request: what the gate knows of it, and what its endpoint noted; `body` is what was asked, where that is
        logged.
        """
        first = record.first_token_seconds
        line = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            **entry,
            "model": record.model,
            "prompt_tokens": record.prompt_tokens,
            "cached_tokens": record.cached_tokens,
            "generated_tokens": record.generated_tokens,
            "finish": record.finish,
            "first_token_seconds": None if first is None else round(first, 4),
        }
        if body is not None:
            line["body"] = body.decode("utf-8", errors="replace")
        self.say(line)

    def say(self, line: dict[str, Any]) -> None:
        """Any other event, in the same form."""
        try:
            self._lines.put_nowait(
                json.dumps(line if not self._lost else line | {"lines_lost": self._lost})
            )  # ASCII: no other character ends a line
        except queue.Full:
            self._lost += 1
        else:
            self._lost = 0

    @contextmanager
    def collecting(self, *names: str) -> Iterator[None]:
        """Take over what these loggers say meanwhile: by themselves they write in the thread that speaks, which a full
        pipe holds up.
        """
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
        """Write what is left, if that takes no longer."""
        try:
            self._lines.put(None, timeout=seconds)
        except queue.Full:
            return
        self._thread.join(seconds)

    def _write(self) -> None:
        while (line := self._lines.get()) is not None:
            print(line, file=self._out, flush=True)


class _Handler(logging.Handler):
    """Hands warnings, and what is worse, to an access log."""

    def __init__(self, log: AccessLog):
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        """A line of it, with the traceback if there is one."""
        self._log.say({"event": "server", "message": self.format(record)})
