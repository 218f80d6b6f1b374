"""The served models by name, with hot reload: a new version replaces the old one without a failed request."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from groundup.codecs.tokenizer_files import files_of
from groundup.core.errors import InputError
from groundup.generate.service import Service, ServiceStats
from groundup.release.about import ABOUT, About, about

# Exceptions of loading: files may have any content, and memory may run out.
LOAD_ERRORS = (
    *(InputError, OSError, RuntimeError, ValueError, LookupError),
    *(TypeError, AttributeError, ArithmeticError, MemoryError),
)
Version = tuple[tuple[str, int, int], ...]


@dataclass(frozen=True)
class ServedModel:
    """A loaded model: its folder, the time it was written (seconds since 1970), its context in tokens, its purpose."""

    name: str
    folder: Path
    service: Service
    created: int
    context: int
    version: Version
    about: About


class Registry:
    """Models by name. `find` gives the folder with the weights (of a run: its last stage); `load` starts an engine."""

    def __init__(self, sources: dict[str, Path], find: Callable[[Path], Path], load: Callable[[Path], Service]):
        self._sources, self._find, self._load = sources, find, load
        self._models: dict[str, ServedModel] = {}
        self._failed: dict[str, Version] = {}  # versions that could not be loaded; they are not tried again
        self._reloading = threading.Lock()

    def load(self) -> None:
        """Load all models. Raises InputError as loading does."""
        for name in self._sources:
            self._models[name] = self._load_model(name)

    def get(self, name: str) -> ServedModel:
        """The model of a name. Raises KeyError."""
        return self._models[name]

    def list(self) -> Sequence[ServedModel]:
        """All models."""
        return tuple(self._models.values())

    def states(self) -> Sequence[tuple[str, ServiceStats]]:
        """The state of each engine, by model."""
        return [(model.name, model.service.stats()) for model in self.list()]

    def reload(self, settle: float = 0.0) -> Sequence[str]:
        """Load changed models beside the running ones, then swap; return a message for each one replaced or refused.

        A folder must stay unchanged for `settle` seconds. Sequences in flight end on the old version.
        """
        with self._reloading:
            return [message for name in self._sources if (message := self._reload_model(name, settle))]

    def _reload_model(self, name: str, settle: float) -> str | None:
        old = self._models[name]
        seen = self._current_version(name)
        if seen in (old.version, self._failed.get(name)):
            return None
        time.sleep(settle)
        if settle and self._current_version(name) != seen:
            return None
        try:
            new = self._load_model(name)
        except LOAD_ERRORS as error:
            self._failed[name] = seen
            return f"{name}: the new version cannot be loaded, the old one goes on ({error})"
        self._models[name] = new
        self._failed.pop(name, None)
        threading.Thread(target=old.service.close, daemon=True).start()
        return f"{name}: a new version is served"

    def _current_version(self, name: str) -> Version:
        """The version in a model's folder; empty where there is none."""
        try:
            return version_of(self._find(self._sources[name]))
        except InputError:
            return ()

    def _load_model(self, name: str) -> ServedModel:
        folder = self._find(self._sources[name])
        found, stated = version_of(folder), about(folder)
        service = self._load(folder)
        created = max(stamp for _, _, stamp in found) // 1_000_000_000
        return ServedModel(name, folder, service, created, service.config.context, found, stated)

    def close(self, seconds: float | None = None) -> None:
        """Stop all engines once their sequences have ended, or after so many seconds."""
        for model in self.list():
            model.service.close(seconds)


def version_of(folder: Path) -> Version:
    """The version of a model: names, sizes and times of its files. Raises InputError when there are none."""
    files = sorted(
        [
            *folder.glob("model*.safetensors"),
            *folder.glob("config.json"),
            *files_of(folder),
            *folder.glob(ABOUT),
            *([folder] if folder.is_file() else []),
        ]
    )
    try:
        stats = [(file.name, file.stat()) for file in files]
    except OSError as error:
        raise InputError(f"{folder}: changed while it was read ({error.strerror})") from None
    if not files:
        raise InputError(f"{folder}: holds no model")
    return tuple((name, stat.st_size, stat.st_mtime_ns) for name, stat in stats)
