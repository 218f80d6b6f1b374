"""Statistics of one request, for the access log and the metrics."""

import time
from collections.abc import MutableMapping
from dataclasses import dataclass, field
from typing import Any

from groundup.generate.request import OutputDelta

MAX_GAPS = 4096  # gaps between tokens that are kept of one request


@dataclass
class RequestStats:
    """Client (as the rate limit names it), model, token counts, finish reason, and times between output deltas in s.

    `finish` is that of the sequence that ended last, "gone" if the client disconnected, "slow" if it did not read.
    """

    model: str | None = None
    prompt_tokens: int = 0
    cached_tokens: int = 0
    generated_tokens: int = 0
    finish: str | None = None
    first_token_seconds: float | None = None
    token_gaps: list[float] = field(default_factory=list)
    started: float = field(default_factory=time.monotonic)
    client: str = ""
    _last: dict[int, float] = field(default_factory=dict)

    def add(self, index: int, delta: OutputDelta) -> None:
        """Count an output delta of the sequence with this index."""
        now = time.monotonic()
        if self.first_token_seconds is None:
            self.first_token_seconds = now - self.started
        if index in self._last and len(self.token_gaps) < MAX_GAPS:
            self.token_gaps.append(now - self._last[index])
        self._last[index] = now
        self.generated_tokens += len(delta.ids)
        self.finish = delta.finish or self.finish


def of(scope: MutableMapping[str, Any]) -> RequestStats:
    """The statistics of a request, created on first use; also `request.state.stats`."""
    stats: RequestStats = scope.setdefault("state", {}).setdefault("stats", RequestStats())
    return stats
