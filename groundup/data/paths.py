"""The files that a source's path matches, and their names in reports."""

import glob
import os
from collections import deque
from collections.abc import Iterator
from pathlib import Path, PurePath
from stat import S_ISREG

from groundup.config.source import FileSourceConfig
from groundup.core.errors import InputError


def names(source: FileSourceConfig, folder: Path, suffixes: tuple[str, ...]) -> list[str]:
    """The files of a source's path, sorted: one file, what a glob matches, or what a folder holds under `suffixes`.

    `suffixes` are lower-case, and match in any case. Relative paths start at `folder`, the recipe's; `~` is the home
    folder. Hidden files match only an explicit dot. Paths are returned as text, which is a quarter of the size of a
    Path, as there may be millions. Raises InputError when there is none.
    """
    place = located(source, folder)
    if place.is_dir():
        found = matching("**/*", place, suffixes)
        problem = f"no {' or '.join(suffixes)} file in that folder"
    elif place.exists():
        found = [str(place)] if place.is_file() else []
        problem = "no regular file"
    else:
        pattern = str(Path(source.path).expanduser())
        literal = pattern.replace("[", "[[]")  # brackets are more often part of a name than a character class
        found = matching(literal, folder) or matching(pattern, folder)
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


def exists(path: Path) -> bool:
    """Whether there is a file or a folder of a path; also for names that none can have."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def shown(path: Path, folder: Path) -> str:
    """A file's name in reports: relative to the recipe's folder if inside it, so that moving both keeps it."""
    return legible((path.relative_to(folder) if path.is_relative_to(folder) else path).as_posix())


def legible(name: str) -> str:
    r"""A file's name as text; a name that is not UTF-8 is read as Latin-1, in which every byte is a character.

    >>> legible(os.fsdecode(b"caf\xe9.png"))
    'caf\xe9.png'
    """
    try:
        name.encode()
    except UnicodeEncodeError:
        return os.fsencode(name).decode("latin-1")
    return name


def matching(pattern: str, folder: Path, suffixes: tuple[str, ...] = ("",)) -> list[str]:
    """The files in a folder that match a pattern and `suffixes`: regular files and links, dangling ones too. Unordered.

    Folders, pipes, sockets and devices are left out. Links are followed, but `**` enters each folder once. `suffixes`
    are lower-case; those of files match in any case. Raises InputError for an unreadable folder under `**`.
    """
    parts = tuple(pattern.split("/"))
    found = dict.fromkeys(name for name in _matching(parts, folder) if name.lower().endswith(suffixes))
    return [path for path in (os.path.join(folder, name) for name in found) if _is_matched(path)]  # noqa: PTH118


def _is_matched(path: str) -> bool:
    """Whether a path is a regular file or a dangling link; in one system call, as there may be millions."""
    try:
        return S_ISREG(os.stat(path).st_mode)  # noqa: PTH116
    except FileNotFoundError:
        return os.path.islink(path)  # noqa: PTH114
    except OSError:  # unreadable: reported where it is read
        return True


def _matching(parts: tuple[str, ...], folder: Path) -> Iterator[str]:
    """The matches of the parts of a pattern, as paths relative to `folder`."""
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
                f"the folder {top / name} may not be read ({error.strerror}); change its permissions, or name the files"
            ) from None
        except OSError:  # not a folder, or a loop of links
            continue
        seen.add((stat.st_dev, stat.st_ino))
        yield name
        for entry in inside:
            if not entry.name.startswith(".") and _is_folder(entry):
                (linked if entry.is_symlink() else waiting).append(f"{name}/{entry.name}" if name else entry.name)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a loop of links
        return False
