"""What the data tests share: sources over a temporary folder, and documents files made by hand."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from groundup.data.document import SCHEMA, Document
from groundup.recipe import MessagesSource, TableSource, TextSource


def text_source(path: str, **knobs: Any) -> TextSource:
    return TextSource(**{"name": "notes", "kind": "text", "path": path, "licence": "CC0-1.0", "heldout_share": 0.0, **knobs})


def messages_source(path: str, **knobs: Any) -> MessagesSource:
    return MessagesSource(**{"name": "talks", "kind": "messages", "path": path, "licence": "CC0-1.0", "heldout_share": 0.0, **knobs})


def table_source(path: str, **knobs: Any) -> TableSource:
    return TableSource(**{"name": "rows", "kind": "table", "path": path, "licence": "CC0-1.0", "heldout_share": 0.0, **knobs})


def ignore(amount: int) -> None:
    """A progress callback that nobody watches."""


def write_parquet(path: Path, documents: list[Document]) -> Path:
    pq.write_table(pa.Table.from_pylist([document.row() for document in documents], schema=SCHEMA), path)
    return path
