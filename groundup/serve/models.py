"""The models that are served, by name; a new version takes the place of an old one without anybody noticing."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from groundup.core.errors import InputError
from groundup.generate.service import Service, ServiceStats

# What loading may come to: files of any content, too little memory.
BROKEN = (
    *(InputError, OSError, RuntimeError, ValueError, LookupError),
    *(TypeError, AttributeError, ArithmeticError, MemoryError),
)
Identity = tuple[tuple[str, int, int], ...]


@dataclass(frozen=True)
class Entry:
    """A model at work: its folder, when that was written (seconds since 1970), and the tokens it sees."""

    name: str
    folder: Path
    service: Service
    created: int
    context: int
    identity: Identity


class Registry:
    """Models by name. `find` gives the folder of a model, which for a run is that of its last stage; `load` puts an
    engine to work.
    """

    def __init__(self, sources: dict[str, Path], find: Callable[[Path], Path], load: Callable[[Path], Service]):
        self._sources, self._find, self._load = sources, find, load
        self._entries: dict[str, Entry] = {}
        self._failed: dict[str, Identity] = {}  # versions that could not be loaded: not tried again
        self._refreshing = threading.Lock()

    def load(self) -> None:
        """Load all of them; raises InputError as loading does."""
        for name in self._sources:
            self._entries[name] = self._entry(name)

    def get(self, name: str) -> Entry:
        """The model of a name; raises KeyError."""
        return self._entries[name]

    def list(self) -> Sequence[Entry]:
        """All of them."""
        return tuple(self._entries.values())

    def states(self) -> Sequence[tuple[str, ServiceStats]]:
        """The numbers of each engine."""
        return [(entry.name, entry.service.stats()) for entry in self.list()]

    def refresh(self, settle: float = 0.0) -> Sequence[str]:
        """Load what has changed beside what runs, then swap; returns a sentence for each model that was replaced, or
        could not be.

        A folder must stay the same for `settle` seconds: it may be in the middle of being written. Answers under way
        end on the old version.
        """
        with self._refreshing:
            return [said for name in self._sources if (said := self._renew(name, settle))]

    def _renew(self, name: str, settle: float) -> str | None:
        old = self._entries[name]
        seen = self._seen(name)
        if seen in (old.identity, self._failed.get(name)):
            return None
        time.sleep(settle)
        if settle and self._seen(name) != seen:
            return None
        try:
            new = self._entry(name)
        except BROKEN as error:
            self._failed[name] = seen
            return f"{name}: the new version cannot be loaded, the old one goes on ({error})"
        self._entries[name] = new
        self._failed.pop(name, None)
        threading.Thread(target=old.service.close, daemon=True).start()
        return f"{name}: a new version is served"

    def _seen(self, name: str) -> Identity:
        """The version that lies in a model's folder; nothing where there is none."""
        try:
            return identity(self._find(self._sources[name]))
        except InputError:
            return ()

    def _entry(self, name: str) -> Entry:
        folder = self._find(self._sources[name])
        found = identity(folder)
        service = self._load(folder)
        created = max(stamp for _, _, stamp in found) // 1_000_000_000
        return Entry(name, folder, service, created, service.config.context, found)

    def close(self, seconds: float | None = None) -> None:
        """Stop all engines, after the answers under way or so many seconds."""
        for entry in self.list():
            entry.service.close(seconds)


def identity(folder: Path) -> Identity:
    """What tells one version of a model's files from another. Raises InputError when there are none."""
    files = sorted([*folder.glob("model*.safetensors"), *folder.glob("config.json"), *folder.glob("tokenizer*.json")])
    try:
        stats = [(file.name, file.stat()) for file in files]
    except OSError as error:
        raise InputError(f"{folder}: changed while it was read ({error.strerror})") from None
    if not files:
        raise InputError(f"{folder}: holds no model")
    return tuple((name, stat.st_size, stat.st_mtime_ns) for name, stat in stats)
