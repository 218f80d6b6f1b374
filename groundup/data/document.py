"""The document: what every source yields and every later step reads."""

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

SCHEMA = pa.schema(
    [
        ("digest", pa.binary(16)),  # of the content alone: equal content, equal digest
        ("text", pa.string()),  # plain text, or null for a conversation
        ("messages", pa.string()),  # a conversation as JSON in the OpenAI shape, or null for text
        ("tools", pa.string()),  # the tools a conversation may call, as JSON, or null
        ("source", pa.string()),  # name of the recipe's source
        ("origin", pa.string()),  # file, and row or line inside it
        ("licence", pa.string()),  # SPDX id, or "unstated"
        ("heldout", pa.bool_()),  # belongs to the validation part
    ]
)


@dataclass(frozen=True)
class Document:
    """One text or one conversation, with where it came from and under which licence.

    Exactly one of `text` and `messages` is set.
    """

    source: str
    origin: str
    licence: str
    text: str | None = None
    messages: list[dict[str, Any]] | None = None
    tools: list[dict[str, Any]] | None = None
    heldout: bool = False
    labels: dict[str, Any] = field(default_factory=dict)  # in memory only: family, language, level of a task

    @property
    def characters(self) -> int:
        """Length of the text, or of the content of all messages together."""
        if self.text is not None:
            return len(self.text)
        contents = (message.get("content") for message in self.messages or [])
        return sum(len(content) for content in contents if isinstance(content, str))

    @cached_property
    def digest(self) -> bytes:
        """16 bytes of SHA-256 over the content."""
        content = self.text if self.text is not None else json.dumps([self.messages, self.tools], ensure_ascii=False, sort_keys=True)
        return hashlib.sha256(content.encode()).digest()[:16]

    def row(self) -> dict[str, Any]:
        """The document as a row of SCHEMA."""
        return {
            "digest": self.digest,
            "text": self.text,
            "messages": None if self.messages is None else json.dumps(self.messages, ensure_ascii=False),
            "tools": None if self.tools is None else json.dumps(self.tools, ensure_ascii=False),
            "source": self.source,
            "origin": self.origin,
            "licence": self.licence,
            "heldout": self.heldout,
        }


def read(path: Path, heldout: bool | None = None) -> Iterator[Document]:
    """Stream the documents of a Parquet file, a row group at a time; all of them, or only one part of the split."""
    with pq.ParquetFile(path) as file:
        for number in range(file.num_row_groups):
            table = file.read_row_group(number, columns=SCHEMA.names[1:])
            if heldout is not None:
                table = table.filter(pc.equal(table["heldout"], heldout))
            for row in table.to_pylist():
                for key in ("messages", "tools"):
                    row[key] = None if row[key] is None else json.loads(row[key])
                yield Document(**row)


def chunks(documents: Iterable[Document], characters: int = 4_000_000, count: int = 16_384) -> Iterator[list[Document]]:
    """Group documents into lists that reach at most `count`, and `characters` by the last of them: bounded memory."""
    chunk: list[Document] = []
    size = 0
    for document in documents:
        chunk.append(document)
        size += document.characters
        if size >= characters or len(chunk) == count:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk
