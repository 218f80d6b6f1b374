"""Images from files: folders by class, unlabelled ones, and Hugging Face image datasets saved to disk."""

from collections.abc import Iterator
from pathlib import Path

from groundup.data.document import Document
from groundup.data.drops import Drops
from groundup.recipe import ImagesSource


def inputs(source: ImagesSource, folder: Path) -> list[Path]:
    """The files of a source, for hashing."""
    raise NotImplementedError


def documents(source: ImagesSource, folder: Path, drops: Drops) -> Iterator[Document]:
    """Stream the images of a source."""
    raise NotImplementedError
