"""Filtered documents and damaged files: each is counted by its reason, and the first ones are named."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from groundup.config.source import FileSourceConfig
from groundup.core.errors import InputError
from groundup.data.streams import guessed

EXAMPLES, EXAMPLES_A_REASON = 20, 5
UNREAD = 100  # names of keys and columns that are reported
SAMPLE = 1 << 16  # bytes from which an encoding is guessed


@dataclass
class Filtered:
    """Filtered documents by reason, first examples of each as `where: reason`, unread keys or columns, and formats."""

    counts: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)
    unread: set[str] = field(default_factory=set)  # keys and columns that are not read
    recognised: Counter[str] = field(default_factory=Counter)  # layouts recognised and things converted: no drops

    def note(self, reason: str, where: str, detail: str = "") -> None:
        """Count one filtered document; `where` is a file, with the line or row inside it."""
        self.counts[reason] += 1
        if self.counts[reason] <= EXAMPLES_A_REASON and len(self.examples) < EXAMPLES:
            self.examples.append(sentence(reason, where, detail))

    def recognise(self, what: str, count: int = 1) -> None:
        """Count a recognised format or a conversion, which is reported as "12 of it"."""
        self.recognised[what] += count

    def pass_over(self, names: Iterable[str]) -> None:
        """Record unread keys or columns, at most UNREAD of them."""
        self.unread.update(name for name in names if len(self.unread) < UNREAD)


def sentence(reason: str, where: str, detail: str = "") -> str:
    """One filtered document in words.

    >>> sentence("broken line", "a.jsonl:7", "not valid JSON")
    'a.jsonl:7: broken line (not valid JSON)'
    """
    return f"{where}: {reason} ({detail})" if detail else f"{where}: {reason}"


@dataclass
class Damage:
    """The damaged files or lines of one source; it refuses the source when their fraction is too large."""

    source: FileSourceConfig
    drops: Filtered
    unit: str  # "files", "lines" or "rows"
    seen: int = 0
    bad: int = 0
    first: str = ""
    undecoded: int = 0  # of the damaged ones, those that are not UTF-8
    sample: bytes = b""  # of their bytes

    def note(self, reason: str, where: str, detail: str = "") -> None:
        """Count one damaged file or line, and record the first."""
        self.bad += 1
        self.first = self.first or sentence(reason, where, detail)
        self.drops.note(reason, where, detail)

    def note_undecodable(self, where: str, error: UnicodeDecodeError) -> None:
        """Count a file, line or row that is neither UTF-8 nor in the encoding that the source names."""
        start = error.object.rfind(b"\n", 0, error.start) + 1
        self.sample += error.object[start : start + SAMPLE - len(self.sample)] + b"\n"
        self.undecoded += 1
        self.note("invalid UTF-8", where, f"byte {error.start}")

    def settle(self) -> None:
        """Raise InputError, with the first damage, when the damaged fraction is over `bad_share`."""
        if self.bad > self.source.bad_share * self.seen:
            raise InputError(
                f"source {self.source.name!r}: {self.bad:,} of {self.seen:,} {self.unit} cannot be used, more than"
                f" bad_share = {self.source.bad_share:g} allows; the first is {self.first}; {self._encoding()}mend or"
                " remove them, or raise bad_share"
            )

    def _encoding(self) -> str:
        """The remedy for files in another encoding."""
        if not self.undecoded:
            return ""
        guess = guessed(self.sample)
        hint = f", by their letters {guess}: set encoding = {guess!r}" if guess else ": set encoding to theirs"
        return f"{self.undecoded:,} of them not UTF-8{hint}, or "
