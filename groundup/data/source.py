"""Sources: each is a table of the recipe; its class reads files into documents (`read`) and splits them.

A source is one file, in `data/sources/`, an application or another package: a subclass of `Source` with its knobs and
`read`, added to `core.tables.SOURCES` under its kind.
"""

from abc import abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import ClassVar, NamedTuple, cast

from groundup.config.recipe import Recipe
from groundup.config.source import ImageFilesConfig, SourceConfig, TextFilesConfig
from groundup.data import near_duplicates as near
from groundup.data import split
from groundup.data.document import Document
from groundup.data.filtered import Filtered
from groundup.data.given_split import TEST, TRAIN, VAL, GivenSplit


class Source(SourceConfig):
    """A source of documents. The defaults here suit a source of text that reads no files."""

    version: ClassVar[int] = 1  # raised when the same knobs and files give other documents
    extra: ClassVar[str | None] = None  # the extra of this package that it needs

    @abstractmethod
    def read(self, folder: Path, drops: Filtered) -> Iterator[Document]:
        """Read the source: stream its documents, always in the same order; filtered ones are counted in `drops`.

        Relative paths start at `folder`, the recipe's. Raises InputError for missing files and damage over `bad_share`.
        """

    def files(self, folder: Path) -> list[Path]:
        """The files that are read, in order, for hashing. Raises InputError if there are none."""
        return []

    def made_by(self) -> dict[str, str]:
        """Versions of other software that the documents depend on."""
        return {}

    def heldout(self, per_family: int) -> list[Document]:
        """Held-out documents made for evaluation, `per_family` for each family and language in their labels.

        None for a source that is measured on the held-out part of its documents file only.
        """
        return []

    @property
    def split_order(self) -> int | None:
        """Numbered sources are split in turn, lowest first, each without near duplicates across; None: on its own."""
        return None

    def split(
        self, groups: Iterator[list[Document]], drops: Filtered, before: Iterable[Path]
    ) -> Iterator[list[Document]]:
        """Filter duplicates and mark held-out documents; `before` are the documents files of sources split before.

        By default exact duplicates are filtered, and the hash of the content decides which documents are held out.
        """
        return split.by_content(groups, self.heldout_share, drops)

    def nothing_to_train_on(self, documents: int) -> str:
        """The remedy when all documents are held out."""
        return (
            f"all {documents} documents fall in the held-out part (heldout_share = {self.heldout_share:g}); lower"
            " heldout_share or add documents"
        )

    def nothing_held_out(self, documents: int) -> str:
        """The warning when no document is held out; "" if `heldout_share` is 0."""
        if not self.heldout_share:
            return ""
        return (
            f"none of its {documents} documents was held out (heldout_share = {self.heldout_share:g}), so it has no"
            " validation loss; split it into more documents or raise heldout_share"
        )


class ProceduralSource(Source):
    """A source that generates its documents and marks held-out ones itself.

    Duplicates are not filtered: a small family of instances repeats them on purpose.
    """

    def split(
        self, groups: Iterator[list[Document]], drops: Filtered, before: Iterable[Path]
    ) -> Iterator[list[Document]]:
        """All documents as they are."""
        return groups


class TextFilesSource(TextFilesConfig, Source):
    """A source that reads text, tables or conversations from files; another path may name its validation part."""

    @abstractmethod
    def paths(self, folder: Path) -> list[Path]:
        """The files that `path` means, in order. Raises InputError for none."""

    def split_paths(self, folder: Path) -> dict[str, list[Path]]:
        """Those files by the part of a split that they bring along (`data.given_split`), empty for no part."""
        return {"": self.paths(folder)}

    @abstractmethod
    def documents(self, paths: list[Path], folder: Path, drops: Filtered) -> Iterator[Document]:
        """Stream the documents of files, as `read` does."""

    def files(self, folder: Path) -> list[Path]:
        """The files of the validation part, then the others."""
        return [path for part in self._parts(folder) for path in part.paths]

    def read(self, folder: Path, drops: Filtered) -> Iterator[Document]:
        """Stream the documents, those that are held out first, so that their duplicates are not trained on."""
        for part in self._parts(folder):
            use = "for the last measurement alone" if part.test else "held out" if part.heldout else "trained on"
            for document in self.documents(part.paths, folder, drops):
                if part.name:
                    drops.recognise(f"documents of {part.name}: {use}")
                yield replace(document, heldout=part.heldout, test=part.test)

    def _parts(self, folder: Path) -> list["_Part"]:
        """The files by what they are for; a file that is held out too is held out, and of no part is trained on."""
        if self.heldout_path is not None:
            heldout = self.model_copy(update={"path": self.heldout_path}).paths(folder)
            return [
                _Part(heldout, heldout=True),
                _Part([path for path in self.paths(folder) if path not in {*heldout}]),
            ]
        found = self.split_paths(folder)
        given = GivenSplit.among(found)
        if not given.heldout:
            return [_Part([path for paths in found.values() for path in paths])]
        return [
            _Part(found[name], name, name in (VAL, TEST), name == given.test)
            for name in (VAL, TEST, TRAIN, "")
            if name in found
        ]

    def split(
        self, groups: Iterator[list[Document]], drops: Filtered, before: Iterable[Path]
    ) -> Iterator[list[Document]]:
        """Drop exact duplicates; what is held out is what the validation part holds, or by content."""
        first = next(groups, [])
        given = self.heldout_path is not None or any(document.heldout for document in first)  # held out comes first
        groups = chain([first], groups)
        return split.unique(groups, drops) if given else super().split(groups, drops, before)

    def nothing_to_train_on(self, documents: int) -> str:
        """The remedy when all documents are held out."""
        if self.heldout_path is None:
            return super().nothing_to_train_on(documents)
        return f"all {documents} documents that are left stand in heldout_path; add others to path"

    def nothing_held_out(self, documents: int) -> str:
        """The warning when no document is held out."""
        if self.heldout_path is None:
            return super().nothing_held_out(documents)
        return f"none of its {documents} documents is of heldout_path, so it has no validation loss; look at its files"


class _Part(NamedTuple):
    """Files of a source that are for the same use."""

    paths: list[Path]
    name: str = ""
    heldout: bool = False
    test: bool = False


class ImageFilesSource(ImageFilesConfig, Source):
    """A source that reads images from files; near duplicates are kept on one side of the split, across sources."""

    @property
    def split_order(self) -> int | None:
        """Sources with a list of held-out files come first."""
        return 0 if self.heldout_files else 1

    def split(
        self, groups: Iterator[list[Document]], drops: Filtered, before: Iterable[Path]
    ) -> Iterator[list[Document]]:
        """Drop exact and near duplicates, those of `before` too."""
        first = next(groups, [])
        given = bool(self.heldout_files) or any(document.heldout for document in first)  # what is held out comes first
        unique = split.unique(chain([first], groups), drops)
        one_class = split.firsts(unique, split.first_image, "same image, another class", drops)
        return near.split(one_class, given, self.heldout_share, drops, near.HashIndex.of(before, self.near_duplicates))

    def nothing_to_train_on(self, documents: int) -> str:
        """The remedy when all images are held out."""
        if not self.heldout_files:
            return super().nothing_to_train_on(documents)
        listed = f"all {documents} images that are left are listed in {self.heldout_files}"
        return f"{listed}; take some out of it or add images"


def sources(recipe: Recipe) -> tuple[Source, ...]:
    """The sources of a recipe, as what they are: the recipe itself knows their knobs alone."""
    return cast(tuple[Source, ...], recipe.source)
