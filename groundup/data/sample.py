"""The training text of a tokenizer: some text of each source."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from groundup.codecs.text import Tokenizer
from groundup.data.document import Document, read, said

VERSION = 1  # raised when the same documents give another tokenizer


def learn(
    tables: Sequence[Path], megabytes: int, vocab_size: int, specials: Sequence[str], advance: Callable[[int], None]
) -> Tokenizer:
    """A tokenizer learned from a sample of so many MB, in equal parts of each file's training documents.

    `advance` gets the number of documents read. Raises InputError as `Tokenizer.learn` does.
    """
    return Tokenizer.learn(_texts(tables, megabytes * 1_000_000 // len(tables), advance), vocab_size, specials)


def _texts(tables: Sequence[Path], budget: int, advance: Callable[[int], None]) -> Iterator[str]:
    """From each file its first texts, until they have `budget` bytes."""
    for table in tables:
        left = budget
        for document in read(table, heldout=False):
            text = _plain(document)
            left -= len(text.encode())
            advance(1)
            yield text
            if left <= 0:
                break


def _plain(document: Document) -> str:
    """The text of a document for the tokenizer, with the names of the roles, with which every turn begins."""
    return (
        document.text
        if document.text is not None
        else "\n".join(f"{message['role']}\n{said(message)}" for message in document.messages or [])
    )
