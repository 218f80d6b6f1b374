"""A bounded sample of a source's texts."""

import heapq
from pathlib import Path

from groundup.data.document import read


def sample(documents: Path, heldout: bool, limit: float) -> list[str]:
    """Texts of one part of a documents file, as few as make `limit` bytes, else all: those of the lowest digests.

    That is as good as a random draw, and the same for every run. Conversations are left out.
    """
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
