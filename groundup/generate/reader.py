"""From ids to text while they come: whole characters only, and nothing of a stop text."""

from codecs import getincrementaldecoder

from groundup.codecs.text import Tokenizer


class Reader:
    """Turns the ids of one answer into text. `stopped` is set once one of `stops` has come; the text ends before it."""

    def __init__(self, tokenizer: Tokenizer, stops: tuple[str, ...] = ()):
        self._tokenizer, self._stops = tokenizer, tuple(filter(None, stops))
        self._decoder = getincrementaldecoder("utf-8")(errors="replace")
        self._held = ""
        self.stopped = False

    def read(self, id: int) -> str:
        """The text that is certain after one more id."""
        return self._certain(self._decoder.decode(self._tokenizer.token_bytes(id)))

    def rest(self) -> str:
        """What was held back, when no more ids come."""
        text = self._certain(self._decoder.decode(b"", final=True))
        text, self._held = text + ("" if self.stopped else self._held), ""
        return text

    def _certain(self, text: str) -> str:
        if self.stopped:
            return ""
        text = self._held + text
        places = [place for stop in self._stops if (place := text.find(stop)) >= 0]
        if places:
            self.stopped, self._held = True, ""
            return text[: min(places)]
        held = max((overlap(text, stop) for stop in self._stops), default=0)
        self._held = text[len(text) - held :]
        return text[: len(text) - held]


def overlap(text: str, stop: str) -> int:
    """How many characters at the end of a text may be the beginning of a stop."""
    return next((size for size in range(min(len(stop) - 1, len(text)), 0, -1) if text.endswith(stop[:size])), 0)
