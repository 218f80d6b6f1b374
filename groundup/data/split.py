"""Exact duplicates, and the split by content."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from hashlib import sha256

from groundup.data.clean import DigestSet, is_heldout
from groundup.data.document import Document
from groundup.data.filtered import Filtered


def by_content(groups: Iterator[list[Document]], fraction: float, filtered: Filtered) -> Iterator[list[Document]]:
    """Filter exact duplicates, and hold out a `fraction` of the rest by the hash of the content."""
    return (
        [replace(document, heldout=True) if is_heldout(document.digest, fraction) else document for document in group]
        for group in unique(groups, filtered)
    )


def unique(groups: Iterator[list[Document]], filtered: Filtered) -> Iterator[list[Document]]:
    """Keep the first of documents with the same content."""
    return firsts(groups, lambda document: document.digest, "exact duplicate", filtered)


def first_image(document: Document) -> bytes:
    """The digest of a document's first image."""
    return sha256(document.images[0]).digest()


def firsts(
    groups: Iterator[list[Document]], key: Callable[[Document], bytes], reason: str, filtered: Filtered
) -> Iterator[list[Document]]:
    """Keep the first of documents with the same key, a digest."""
    digests = DigestSet()
    for group in groups:
        fresh = digests.add([key(document) for document in group])
        for document, new in zip(group, fresh, strict=True):
            if not new:
                filtered.note(reason, document.origin)
        yield [document for document, new in zip(group, fresh, strict=True) if new]
