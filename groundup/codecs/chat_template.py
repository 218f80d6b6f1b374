"""Chat templates of other projects: Jinja text from a model's folder, rendered in a bounded process of its own."""

import atexit
import os
import subprocess
import sys
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from threading import Lock
from typing import Any

from groundup.codecs import template_worker as worker
from groundup.core.errors import InputError

A_DAY = datetime(2026, 1, 1)  # what templates call today, wherever the same input must give the same ids


@dataclass(frozen=True)
class ChatTemplate:
    """A chat template: `text`, `tools_text` where tools have one of their own, and the special tokens it writes.

    `origin` is the name that errors give it.
    """

    text: str
    tools_text: str
    variables: tuple[tuple[str, str], ...]
    origin: str

    @property
    def marks_answers(self) -> bool:
        """Whether it marks what the assistant writes, with {% generation %}."""
        return "endgeneration" in self.text

    def render(self, cases: list[dict[str, Any]], today: datetime = A_DAY) -> list[str]:
        """The renderings of `messages`, `tools` and `add_generation_prompt`, each.

        Raises InputError for a template with a fault, one that refuses a conversation, and one beyond its bounds.
        """
        chosen = self.tools_text if cases and cases[0].get("tools") else self.text
        job = {"template": chosen, "cases": cases, "variables": dict(self.variables), "now": today.isoformat()}
        found = _process(os.getpid()).answer(job)
        if "error" in found:
            raise InputError(f"{self.origin}: the chat template {found['error']}")
        texts: list[str] = found["texts"]
        return texts


class _Process:
    """The worker of this process, started with the first job, and again after a template that it did not survive."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._running: subprocess.Popen[bytes] | None = None
        atexit.register(self._end)

    def answer(self, job: dict[str, Any]) -> dict[str, Any]:
        """The worker's answer to a job."""
        with self._lock:
            running = self._running = self._running or _started()
            assert running.stdin is not None and running.stdout is not None, "both are pipes"
            found: dict[str, Any] | None = None
            try:
                worker.send(running.stdin, job)  # type: ignore[arg-type]
                found = worker.receive(running.stdout)  # type: ignore[arg-type]
            except BrokenPipeError:
                pass
            finally:
                if found is None:
                    self._end()
        return found or {"error": f"takes more than {worker.SECONDS:g} seconds, or more memory than it may"}

    def _end(self) -> None:
        running, self._running = self._running, None
        if running is not None:
            running.kill()
            running.communicate()


@cache
def _process(number: int) -> _Process:
    """The worker of the process with this number: a fork must not talk to its parent's."""
    return _Process()


def _started() -> subprocess.Popen[bytes]:
    command = [sys.executable, "-P", worker.__file__]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
