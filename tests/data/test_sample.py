"""What a tokenizer learns from: equal shares of the sources, and no held-out text."""

from pathlib import Path

from groundup.codecs.text import SPECIAL_TOKENS
from groundup.data import sample
from groundup.data.document import Document
from tests.data.data_helpers import write_parquet


def texts(name: str, words: str, count: int, heldout: bool = False) -> list[Document]:
    return [Document(name, f"{heldout}{place}", "CC0-1.0", text=words, heldout=heldout) for place in range(count)]


def test_each_source_has_its_share_of_the_sample_and_what_is_held_out_has_none(tmp_path: Path) -> None:
    tables = [
        write_parquet(
            tmp_path / "a.parquet", texts("a", "harbour " * 50_000, 5) + texts("a", "secret " * 100, 1, heldout=True)
        ),
        write_parquet(tmp_path / "b.parquet", texts("b", "lantern " * 50, 5)),
    ]
    read: list[int] = []
    tokenizer = sample.learn(tables, 1, 256 + len(SPECIAL_TOKENS) + 14, SPECIAL_TOKENS, read.append)
    assert sum(read) == 2 + 5  # half a MB of the first, and all of the second
    assert [len(tokenizer.encode(word)) for word in (" harbour", " lantern")] == [1, 1]
    assert len(tokenizer.encode(" secret")) > 1
