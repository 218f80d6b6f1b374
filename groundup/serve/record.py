"""What an endpoint notes of a request, for the log and the metrics."""

import time
from collections.abc import MutableMapping
from dataclasses import dataclass, field
from typing import Any

from groundup.generate.request import OutputDelta

GAPS = 4096  # gaps between tokens that are kept of one request


@dataclass
class Record:
    """One request: whose it is (as the gate counts clients), counts of tokens, how it ended, and when tokens came, in
    seconds.

    `finish` is that of the answer that ended last ("stop", "length" or "tool_calls"), or "gone" for a client that left
    and "slow" for one that did not read. `token_gaps` are the times between the pieces of an answer.
    """

    model: str | None = None
    prompt_tokens: int = 0
    cached_tokens: int = 0
    generated_tokens: int = 0
    finish: str | None = None
    first_token_seconds: float | None = None
    token_gaps: list[float] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)
    client: str = ""
    _last: dict[int, float] = field(default_factory=dict)

    def heard(self, answer: int, piece: OutputDelta) -> None:
        """Note a piece of one of the request's answers."""
        now = time.monotonic()
        if self.first_token_seconds is None:
            self.first_token_seconds = now - self.began
        if answer in self._last and len(self.token_gaps) < GAPS:
            self.token_gaps.append(now - self._last[answer])
        self._last[answer] = now
        self.generated_tokens += len(piece.ids)
        self.finish = piece.finish or self.finish


def of(scope: MutableMapping[str, Any]) -> Record:
    """The record of a request, made when first asked for; also `request.state.record`."""
    record: Record = scope.setdefault("state", {}).setdefault("record", Record())
    return record
