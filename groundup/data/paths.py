"""Which files a source names, and how they are called in reports."""

import glob
import os
from collections import deque
from collections.abc import Iterator
from pathlib import Path, PurePath

from groundup.codecs.normal import repair_surrogates
from groundup.config.source import FileSourceConfig
from groundup.core.errors import InputError


def names(source: FileSourceConfig, folder: Path, suffixes: tuple[str, ...]) -> list[str]:
    """The files of a source's path, sorted: one file, what a glob matches, or what a folder holds under `suffixes`.

    Relative paths start at `folder`, the recipe's; `~` is the home folder. Hidden files match only an explicit dot.
    As text, a quarter of the size of a Path: there may be millions. Raises InputError when there is none.
    """
    place = located(source, folder)
    if place.is_dir():
        found = matching("**/*", place, suffixes)
        problem = f"no {' or '.join(suffixes)} file in that folder"
    elif place.exists():
        found = [str(place)] if place.is_file() else []
        problem = "no regular file"
    else:
        found = matching(str(Path(source.path).expanduser()), folder)
        problem = "matches no file" if glob.has_magic(source.path) else "no such file"
    if not found:
        raise InputError(
            f"source {source.name!r}: path {source.path!r}: {problem} (looked for {place}); correct the path or add the"
            " file"
        )
    return sorted(found)


def located(source: FileSourceConfig, folder: Path) -> Path:
    """The source's path, absolute or from `folder`, `~` expanded. Raises InputError if it is unreadable or invalid."""
    place = placed(source.path, folder)
    try:
        place.exists()
    except OSError as error:
        raise InputError(
            f"source {source.name!r}: path {source.path[:80]!r}: {error.strerror}; correct the path or who may read it"
        ) from None
    return place


def placed(name: str, folder: Path) -> Path:
    """A recipe's path, absolute or from `folder`, `~` expanded; raises InputError for the home of an unknown user."""
    try:
        return folder / Path(name).expanduser()
    except RuntimeError as error:
        raise InputError(f"path {name[:80]!r}: {error}; write it without ~") from None


def there(path: Path) -> bool:
    """Whether a path is that of a regular file; also for names that no file can have."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def shown(path: Path, folder: Path) -> str:
    """A file's name in reports: relative to the recipe's folder if inside it, so that moving both keeps it."""
    return (path.relative_to(folder) if path.is_relative_to(folder) else path).as_posix()


def matching(pattern: str, folder: Path, suffixes: tuple[str, ...] = ("",)) -> list[str]:
    """The files in a folder that match a pattern and `suffixes`: regular files and links, dangling ones too. Unordered.

    No folders, pipes, sockets or devices. Links are followed, but `**` enters each folder once. Raises InputError for a
    folder under `**` that may not be read, and for a name that is no UTF-8, which no record could hold.
    """
    found = dict.fromkeys(name for name in _matching(tuple(pattern.split("/")), folder) if name.endswith(suffixes))
    paths = [path for path in (folder / name for name in found) if _is_matched(path)]
    for path in paths:
        if repair_surrogates(str(path)) != str(path):
            raise InputError(f"the name of the file {os.fsencode(path)!r} is no UTF-8; rename it")
    return list(map(str, paths))


def _is_matched(path: Path) -> bool:
    try:
        return path.is_file() or (path.is_symlink() and not path.exists())
    except OSError:  # unreadable: reported where it is read
        return True


def _matching(parts: tuple[str, ...], folder: Path) -> Iterator[str]:
    """What the parts of a pattern match, as paths from `folder`."""
    if "**" not in parts:
        yield from glob.iglob("/".join(parts), root_dir=folder)  # noqa: PTH207 - Path.glob would take hidden files too
        return
    place = parts.index("**")
    head, tail = "/".join(parts[:place]), parts[place + 1 :] or ("*",)
    starts = glob.iglob(head or "/", root_dir=folder) if place else iter(("",))  # noqa: PTH207
    for start in starts:
        for inner in _folders(folder / start):
            yield from (str(PurePath(start, inner, rest)) for rest in _matching(tail, folder / start / inner))


def _folders(top: Path) -> Iterator[str]:
    """All folders below `top`, itself first, relative to it: each once, links to folders last; no hidden ones."""
    waiting, linked, seen = deque([""]), deque[str](), set[tuple[int, int]]()
    while waiting or linked:
        name = waiting.popleft() if waiting else linked.popleft()
        try:
            stat = (top / name).stat()
            if (stat.st_dev, stat.st_ino) in seen:
                continue
            inside = sorted(os.scandir(top / name), key=lambda entry: entry.name)
        except PermissionError as error:
            raise InputError(
                f"the folder {top / name} may not be read ({error.strerror}); change that, or name those that are meant"
            ) from None
        except OSError:  # no folder, or links in a circle
            continue
        seen.add((stat.st_dev, stat.st_ino))
        yield name
        for entry in inside:
            if not entry.name.startswith(".") and _is_folder(entry):
                (linked if entry.is_symlink() else waiting).append(f"{name}/{entry.name}" if name else entry.name)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # links in a circle
        return False
