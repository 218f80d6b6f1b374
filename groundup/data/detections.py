"""Images with boxes from annotations in COCO, YOLO or line form."""

from collections.abc import Iterator
from pathlib import Path

from groundup.data.document import Document
from groundup.data.drops import Drops
from groundup.recipe import BoxesSource


def inputs(source: BoxesSource, folder: Path) -> list[Path]:
    """The files of a source, for hashing."""
    raise NotImplementedError


def documents(source: BoxesSource, folder: Path, drops: Drops) -> Iterator[Document]:
    """Stream the images of a source."""
    raise NotImplementedError
