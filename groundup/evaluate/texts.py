"""A bounded sample of a source's texts, or of its conversations about images."""

import heapq
import json
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from groundup.data.document import Document, measured, read, said

_SHOWN = '"type": "image"'  # an image part in a conversation's JSON; inside a text the quotes are escaped


def sample(documents: Path, heldout: bool, limit: float) -> list[str]:
    """Texts of one part of a documents file up to `limit` bytes, by lowest digest (a fixed random sample)."""
    documents = measured(documents) if heldout else documents
    kept: list[tuple[int, str]] = []  # a heap with the highest digest first
    total = 0
    for document in read(documents, heldout):
        if document.text is None:
            continue
        heapq.heappush(kept, (-int.from_bytes(document.digest), document.text))
        total += len(document.text.encode())
        while total - len(kept[0][1].encode()) >= limit:
            total -= len(heapq.heappop(kept)[1].encode())
    return [text for _, text in sorted(kept, reverse=True)]


def conversations(documents: Path, heldout: bool, limit: int, images: bool) -> Iterator[Document]:
    """Stream at most `limit` conversations of one part of a documents file: those with the lowest digests.

    `images`: whether they must have images, or must have none.
    """
    documents = measured(documents) if heldout else documents
    lowest: list[bytes] = []
    with pq.ParquetFile(documents) as file:
        for batch in file.iter_batches(columns=["digest", "heldout", "messages"]):
            seen = pc.and_(pc.equal(batch["heldout"], heldout), _shows(batch["messages"], images))
            lowest = heapq.nsmallest(limit, [*lowest, *batch["digest"].filter(seen).to_pylist()])
    chosen = set(lowest)
    return (
        document
        for document in read(documents, heldout)
        if document.messages and bool(document.images) == images and document.digest in chosen
    )


def _shows(messages: pa.Array, images: bool) -> pa.Array:
    """A filter for conversations with images, or without."""
    shows = pc.match_substring(messages, _SHOWN)
    return pc.fill_null(shows if images else pc.invert(shows), False)


def answers(documents: Path) -> list[str]:
    """The different last answers of all conversations of a documents file, sorted: the classes of images by class."""
    return sorted({answer for path in {documents, measured(documents)} for answer in _answers(path)})


def _answers(documents: Path) -> Iterator[str]:
    with pq.ParquetFile(documents) as file:
        for batch in file.iter_batches(columns=["messages"]):
            yield from {
                said(json.loads(messages)[-1]) for messages in batch["messages"].to_pylist() if messages is not None
            }
