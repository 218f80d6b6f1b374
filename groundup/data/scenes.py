"""Scenes of shapes, text and numbers, rendered here, with questions about them."""

from collections.abc import Iterator

from groundup.data.document import Document
from groundup.recipe import ScenesSource


def documents(source: ScenesSource) -> Iterator[Document]:
    """Stream the scenes of a source."""
    raise NotImplementedError
