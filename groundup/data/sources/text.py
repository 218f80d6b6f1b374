"""Text and Markdown files."""

from collections.abc import Iterator
from pathlib import Path

from groundup.core.tables import SOURCES
from groundup.data.document import Document
from groundup.data.filtered import Damage, Filtered
from groundup.data.paths import names, shown
from groundup.data.source import TextFilesSource
from groundup.data.streams import opened, packed

SUFFIXES = packed((".txt", ".md"))


class TextSource(TextFilesSource):
    """Text and Markdown files, one document a file."""

    version = 2

    def paths(self, folder: Path) -> list[Path]:
        """The file, what the pattern matches, or what the folder holds."""
        return [Path(name) for name in names(self, folder, SUFFIXES)]

    def documents(self, paths: list[Path], folder: Path, drops: Filtered) -> Iterator[Document]:
        """Stream the texts of the files; what cannot be read or decoded is damage."""
        damage, limit = Damage(self, drops, "files"), 4 * self.max_chars  # bytes: a character takes at most 4
        for path in paths:
            damage.seen += 1
            origin = shown(path, folder)
            try:
                with opened(path, self.encoding) as file:
                    content = file.read(limit + 1)
                if len(content) > limit:
                    drops.note("too long", origin)
                elif b"\0" in content:
                    damage.note("binary", origin, 'it holds NUL bytes; text of that kind needs encoding = "utf-16-le"')
                else:
                    yield Document(self.name, origin, self.licence, text=content.decode("utf-8-sig"))
            except OSError as error:
                damage.note("unreadable", origin, error.strerror or str(error))
            except UnicodeDecodeError as error:
                damage.note_undecodable(origin, error)
        damage.settle()


SOURCES.add("text", TextSource)
