"""Incremental detokenisation: emits whole characters only, and no part of a stop string."""

from codecs import getincrementaldecoder

from groundup.codecs.answers import overlap
from groundup.codecs.text import Tokenizer


class Detokenizer:
    """Decodes the ids of one sequence to text, up to the first of the strings `stops`, which sets `stopped`."""

    def __init__(self, tokenizer: Tokenizer, stops: tuple[str, ...] = ()):
        self._tokenizer, self._stops = tokenizer, tuple(filter(None, stops))
        self._decoder = getincrementaldecoder("utf-8")(errors="replace")
        self._pending = ""
        self.stopped = False

    def feed(self, id: int) -> str:
        """The text that is final after one more id."""
        return self._final(self._decoder.decode(self._tokenizer.token_bytes(id)))

    def flush(self) -> str:
        """The text that was held back; call it after the last id."""
        text = self._final(self._decoder.decode(b"", final=True))
        text, self._pending = text + ("" if self.stopped else self._pending), ""
        return text

    def _final(self, text: str) -> str:
        if self.stopped:
            return ""
        text = self._pending + text
        starts = [start for stop in self._stops if (start := text.find(stop)) >= 0]
        if starts:
            self.stopped, self._pending = True, ""
            return text[: min(starts)]
        held = max((overlap(text, stop) for stop in self._stops), default=0)
        self._pending = text[len(text) - held :]
        return text[: len(text) - held]
