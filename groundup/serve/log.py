"""The access log: one JSON line a request on standard error. What was asked and answered is not in it unless wanted."""

import json
import sys
import time
from typing import Any, TextIO

from groundup.serve.record import Record


class AccessLog:
    """Writes a line for each request that has ended."""

    def __init__(self, out: TextIO | None = None, prompts: bool = False):
        self._out, self.prompts = out or sys.stderr, prompts

    def write(self, entry: dict[str, Any], record: Record, body: bytes | None) -> None:
        """A request: what the gate knows of it, and what its endpoint noted; `body` is what was asked, where that is logged."""
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
        print(json.dumps(line, ensure_ascii=False), file=self._out, flush=True)
