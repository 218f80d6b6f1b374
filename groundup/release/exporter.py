"""An export: one format in which a model is written for other tools, declared in the table `EXPORTS`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from groundup.core.errors import InputError
from groundup.core.extras import require
from groundup.core.tables import EXPORTS


@dataclass(frozen=True)
class Export:
    """An export format: `write(model folder, output folder, options)` returns the files written.

    `refuses` gives, for each option that the format does not take, why not. `extra` names the extra that it needs.
    """

    write: Callable[[Path, Path, Mapping[str, str]], list[Path]]
    refuses: Mapping[str, str]
    extra: str | None = None


def export(name: str, model: Path, out: Path, options: Mapping[str, str]) -> list[Path]:
    """Export a finished stage's model in a named format with the options that the user set.

    Raises InputError for an unknown format, a missing extra, a refused option, and as the format's `write` does.
    """
    chosen = EXPORTS[name]
    if chosen.extra is not None:
        require(chosen.extra)
    for option, value in options.items():
        if option in chosen.refuses:
            raise InputError(f"--{option} {value}: {chosen.refuses[option]}")
    return chosen.write(model, out, options)
