"""Text and Markdown files."""

from collections.abc import Iterator
from pathlib import Path

from groundup.config.source import FileSourceConfig
from groundup.core.tables import SOURCES
from groundup.data.document import Document
from groundup.data.filtered import Damage, Filtered
from groundup.data.paths import names, shown
from groundup.data.source import Source

SUFFIXES = (".txt", ".md")


class TextSource(FileSourceConfig, Source):
    """Text and Markdown files, one document a file."""

    def files(self, folder: Path) -> list[Path]:
        """The file, what the pattern matches, or what the folder holds."""
        return [Path(name) for name in names(self, folder, SUFFIXES)]

    def read(self, folder: Path, drops: Filtered) -> Iterator[Document]:
        """Stream the texts of the files; what is no UTF-8 or cannot be read is damage."""
        damage = Damage(self, drops, "files")
        for path in map(Path, names(self, folder, SUFFIXES)):
            damage.seen += 1
            origin = shown(path, folder)
            try:
                if path.stat().st_size > 4 * self.max_chars:  # a character takes at most 4 bytes: not loaded at all
                    drops.note("too long", origin)
                    continue
                content = path.read_bytes()
                if b"\0" in content:
                    damage.note("binary", origin, "it holds NUL bytes; text must be UTF-8")
                    continue
                yield Document(self.name, origin, self.licence, text=content.decode("utf-8-sig"))
            except OSError as error:
                damage.note("unreadable", origin, error.strerror or str(error))
            except UnicodeDecodeError as error:
                damage.note("invalid UTF-8", origin, f"byte {error.start}")
        damage.settle()


SOURCES.add("text", TextSource)
