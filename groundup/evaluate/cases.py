"""Held-out documents as evaluation cases: chunks that bound the memory of images, question and right answer."""

from collections.abc import Iterable, Iterator
from itertools import islice

from groundup.data.document import Document, said

CHUNK = 256  # images in memory at once


def chunks(documents: Iterable[Document], count: int = CHUNK) -> Iterator[list[Document]]:
    """Lists of at most `count` documents."""
    documents = iter(documents)
    while chunk := list(islice(documents, count)):
        yield chunk


def answer_of(document: Document) -> str:
    """The text of a conversation's last message: the right answer, or an image's class."""
    return said((document.messages or [{}])[-1])


def question_of(document: Document) -> str:
    """The text of a conversation's last message but one."""
    return said((document.messages or [])[-2])
