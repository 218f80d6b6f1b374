"""Cleaning: normalisation of documents, filters by reason, and the split into training and held-out part."""

from collections.abc import Iterator
from dataclasses import replace
from math import ceil
from typing import Any

import numpy as np
import numpy.typing as npt

from groundup.codecs.messages import supervised
from groundup.codecs.normal import normalise
from groundup.config.source import SourceConfig
from groundup.data.document import Document, said
from groundup.data.filtered import Filtered

LEAST_HELDOUT, MOST_HELDOUT = 50, 1000


def normalised(document: Document) -> Document:
    """The document with its text, or the content of its messages, normalised; tool calls stay as they are."""
    if document.text is not None:
        text = normalise(document.text)
        return document if text == document.text else replace(document, text=text)
    messages = [{**message, "content": _content(message.get("content"))} for message in document.messages or []]
    return document if messages == document.messages else replace(document, messages=messages)


def _content(content: str | list[dict[str, str]] | None) -> str | list[dict[str, str]] | None:
    """Content in normal form, text parts joined as in the chat template unless there are images; None stays None."""
    if isinstance(content, list):
        if any(part["type"] == "image" for part in content):
            return [{**part, "text": normalise(part["text"])} if part["type"] == "text" else part for part in content]
        content = "".join(part["text"] for part in content)
    return content if content is None else normalise(content)


def clean(documents: Iterator[Document], source: SourceConfig, filtered: Filtered) -> Iterator[Document]:
    """Normalise documents; filter empty, short, long and invalid ones, and conversations without answer, by reason."""
    for document in documents:
        document = normalised(document)
        if reason := _unfit(document, source):
            filtered.note(reason, document.origin)
        else:
            yield document


def _unfit(document: Document, source: SourceConfig) -> str | None:
    characters = document.characters
    if not document.images:
        if characters == 0 or (document.text is not None and document.text.isspace()):
            return "empty"
        if characters < source.min_chars:
            return "too short"
    if characters > source.max_chars:
        return "too long"
    if source.holds in ("conversations", "preferences") and not any(map(_answers, document.messages or [])):
        return "no answer"
    try:
        _ = document.digest
    except UnicodeEncodeError:  # a lone surrogate, which JSON's \u escapes can contain
        return "invalid Unicode"
    return None


def _answers(message: dict[str, Any]) -> bool:
    """Whether a message is an answer: text or tool calls of the assistant that are in the loss mask."""
    return supervised(message) and bool(said(message).strip() or message.get("tool_calls"))


def is_heldout(digest: bytes, fraction: float) -> bool:
    """Whether content with this digest is held out: a pure function of the content and the `fraction`.

    A document stays on its side when other documents are added or removed, and so do its duplicates. A larger fraction
    holds out all documents of a smaller one.
    """
    return int.from_bytes(digest[8:16], "big") < fraction * 2**64


def set_aside(fraction: float, count: int) -> int:
    """The number of held-out documents beside `count` for training: enough for a held-out loss, quick to evaluate."""
    return min(MOST_HELDOUT, max(LEAST_HELDOUT, ceil(fraction * count)))


class DigestSet:
    """A set of digests, 8 bytes each (16 while two runs are merged).

    It consists of sorted runs; two are merged when the later one has grown to half of the earlier (log-structured
    merge). A look-up is a binary search in at most log2(n) runs. Among a billion documents the probability that any two
    share their 64 bits, so that one is filtered as a duplicate, is 3 % (the birthday bound, n^2 / 2^65).
    """

    def __init__(self) -> None:
        self.runs: list[npt.NDArray[np.uint64]] = []

    def add(self, digests: list[bytes]) -> npt.NDArray[np.bool_]:
        """Add digests [n]; True where one is new, also within the list."""
        keys = np.frombuffer(b"".join(digest[:8] for digest in digests), np.uint64)
        unique, first = np.unique(keys, return_index=True)
        known = np.zeros(len(unique), bool)
        for run in self.runs:
            at = np.minimum(np.searchsorted(run, unique), len(run) - 1)
            known |= run[at] == unique
        fresh = np.zeros(len(keys), bool)
        fresh[first[~known]] = True
        self._push(unique[~known])
        return fresh

    def _push(self, run: npt.NDArray[np.uint64]) -> None:
        if not len(run):
            return
        while self.runs and len(self.runs[-1]) < 2 * len(run):
            run = np.concatenate([self.runs.pop(), run])
            run.sort(kind="stable")  # timsort: merges two sorted runs in one pass
        self.runs.append(run)
