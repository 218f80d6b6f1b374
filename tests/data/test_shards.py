"""Shards: every token once, the flags right, and damage told."""

import json
from pathlib import Path

import numpy as np
import pytest

from groundup.codecs import chat
from groundup.codecs.text import Tokenizer
from groundup.core.errors import InputError
from groundup.data.document import Document
from groundup.data.results import PackedRows, ShardsResult
from groundup.data.shards import LOSS, PADDING, START, Shards, write_shards
from tests.data.data_helpers import ignore, write_parquet

CONTEXT = 32


def text(content: str, heldout: bool = False) -> Document:
    return Document("notes", "a.txt", "CC0-1.0", text=content, heldout=heldout)


def talk(question: str, answer: str) -> Document:
    messages = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return Document("talks", "a.jsonl:1", "CC0-1.0", messages=messages)


def texts() -> list[Document]:
    """Texts of many lengths, shorter and longer than a row, with <|endoftext|> written out in some."""
    return [
        text(" ".join(f"w{number}.{place} <|endoftext|>" for place in range(number % 23 + 1))) for number in range(60)
    ]


def build(folder: Path, documents: list[Document], tokenizer: Tokenizer, context: int = CONTEXT) -> ShardsResult:
    return write_shards(
        write_parquet(folder / "documents.parquet", documents), tokenizer, context, folder / "out", ignore
    )


def pieces(shards: Shards) -> list[tuple[list[int], list[int]]]:
    """All pieces of all rows, found by their flags: ids and flags."""
    ids, flags = shards.take(np.arange(shards.rows))
    found: list[tuple[list[int], list[int]]] = []
    for row, marks in zip(ids.tolist(), flags.tolist(), strict=True):
        for token, mark in zip(row, marks, strict=True):
            if mark & START:
                found.append(([], []))
            if not mark & PADDING:
                found[-1][0].append(token)
                found[-1][1].append(mark)
    return found


def test_every_token_of_every_text_is_there_once(tmp_path: Path, tokenizer: Tokenizer) -> None:
    documents = texts()
    build(tmp_path, documents, tokenizer)
    expected = []
    for document in documents:
        ids = [*tokenizer.encode(document.text or ""), tokenizer.end]
        expected += [ids[start : start + CONTEXT] for start in range(0, len(ids), CONTEXT)]
    assert sorted(ids for ids, _ in pieces(Shards.open(tmp_path / "out" / "train"))) == sorted(expected)


def test_the_texts_come_back_from_the_shards(tmp_path: Path, tokenizer: Tokenizer) -> None:
    documents = texts()
    build(tmp_path, documents, tokenizer, context=4096)
    found = {tokenizer.decode_bytes(ids[:-1]).decode() for ids, _ in pieces(Shards.open(tmp_path / "out" / "train"))}
    assert found == {document.text for document in documents}


def test_every_token_of_a_text_is_trained_and_only_a_piece_starts(tmp_path: Path, tokenizer: Tokenizer) -> None:
    build(tmp_path, texts(), tokenizer)
    for _, flags in pieces(Shards.open(tmp_path / "out" / "train")):
        assert flags == [LOSS | START] + [LOSS] * (len(flags) - 1)


def test_conversations_are_as_the_template_renders_them(tmp_path: Path, tokenizer: Tokenizer) -> None:
    documents = [talk(f"what is {number}?", "it is " * number) for number in range(1, 12)]
    build(tmp_path, documents, tokenizer, context=256)
    expected = []
    for document in documents:
        ids, trained = chat.encode(tokenizer, document.messages)
        expected.append((ids, [LOSS * flag | START * (place == 0) for place, flag in enumerate(trained)]))
    assert sorted(pieces(Shards.open(tmp_path / "out" / "train"))) == sorted(expected)


def test_a_conversation_over_the_context_loses_its_end_and_is_counted(tmp_path: Path, tokenizer: Tokenizer) -> None:
    long = talk("what?", "word " * 100)
    report = build(tmp_path, [long], tokenizer)
    ids, _ = chat.encode(tokenizer, long.messages)
    assert [ids for ids, _ in pieces(Shards.open(tmp_path / "out" / "train"))] == [ids[:CONTEXT]]
    assert (report.train.cut, report.train.longest) == (1, len(ids))


def test_padding_lies_behind_the_pieces_and_is_flagged_alone(tmp_path: Path, tokenizer: Tokenizer) -> None:
    build(tmp_path, texts(), tokenizer)
    shards = Shards.open(tmp_path / "out" / "train")
    ids, flags = shards.take(np.arange(shards.rows))
    padding = (flags & PADDING) > 0
    assert (padding[:, 1:] >= padding[:, :-1]).all()
    assert (flags[padding] == PADDING).all()
    assert (ids[padding] == tokenizer.end).all()
    assert shards.tokens == (~padding).sum()


def test_the_report_is_what_the_files_hold(tmp_path: Path, tokenizer: Tokenizer) -> None:
    seen: list[int] = []
    path = write_parquet(tmp_path / "documents.parquet", [*texts(), text("held out", heldout=True)])
    report = write_shards(path, tokenizer, CONTEXT, tmp_path / "out", seen.append)
    tables = [json.loads((tmp_path / "out" / part / "shards.json").read_text()) for part in ("train", "heldout")]
    assert report == ShardsResult(*map(PackedRows.of, tables))
    assert (report.train.documents, report.heldout.documents, sum(seen)) == (60, 1, 61)
    assert report.train.fill == report.train.tokens / (report.train.rows * CONTEXT) > 0.9


def test_the_parts_of_the_split_never_meet(tmp_path: Path, tokenizer: Tokenizer) -> None:
    build(tmp_path, [text("to train on"), text("to measure", heldout=True)], tokenizer)
    parts = [Shards.open(tmp_path / "out" / part) for part in ("train", "heldout")]
    assert [tokenizer.decode_bytes(pieces(part)[0][0][:-1]) for part in parts] == [b"to train on", b"to measure"]


def test_a_part_without_documents_is_empty(tmp_path: Path, tokenizer: Tokenizer) -> None:
    build(tmp_path, [text("to train on")], tokenizer)
    assert Shards.open(tmp_path / "out" / "heldout").rows == 0


def test_the_same_documents_give_the_same_shards(tmp_path: Path, tokenizer: Tokenizer) -> None:
    digests = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        build(tmp_path / name, texts(), tokenizer)
        digests.append(Shards.open(tmp_path / name / "out" / "train").digest)
    assert digests[0] == digests[1]


def test_other_documents_have_another_digest(tmp_path: Path, tokenizer: Tokenizer) -> None:
    digests = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        build(tmp_path / name, [text(name)], tokenizer)
        digests.append(Shards.open(tmp_path / name / "out" / "train").digest)
    assert digests[0] != digests[1]


class Wide:
    """A tokenizer of one id a character, for ids beyond 65,535."""

    begin = ()
    end = 70_000
    size = 70_001

    def encode_batch(self, texts: list[str], threads: int) -> list[list[int]]:
        return [[ord(character) for character in text] for text in texts]


def test_a_large_vocabulary_keeps_its_ids(tmp_path: Path) -> None:
    build(tmp_path, [text("a\U0001f600")], Wide())  # type: ignore[arg-type]
    assert json.loads((tmp_path / "out" / "train" / "shards.json").read_text())["dtype"] == "uint32"
    assert pieces(Shards.open(tmp_path / "out" / "train"))[0][0] == [97, 0x1F600, 70_000]


@pytest.mark.parametrize("name", ["tokens.bin", "flags.bin"])
def test_a_shortened_file_is_refused_naming_it(tmp_path: Path, tokenizer: Tokenizer, name: str) -> None:
    build(tmp_path, texts(), tokenizer)
    path = tmp_path / "out" / "train" / name
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InputError, match=f"{name}: .* bytes where .* are expected"):
        Shards.open(tmp_path / "out" / "train")


def test_an_unfinished_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no shards\.json"):
        Shards.open(tmp_path)
