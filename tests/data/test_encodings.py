"""Text in other encodings than UTF-8: read with the knob or by its mark, else counted, with a guess."""

import gzip
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from pydantic import ValidationError

from groundup.core.errors import InputError
from groundup.data.filtered import Filtered
from groundup.data.source import Source
from groundup.data.streams import guessed, opened, suffix, unmarked
from tests.data.data_helpers import messages_source, table_source, text_source

GERMAN = "Grüße aus München, schöne Tage und süße Früchte. Die Straße führt über die Brücke."
TEXTS = {
    "cp1252": GERMAN,
    "cp1251": "Привет, как дела? Сегодня хорошая погода, и мы идём в парк.",
    "koi8_r": "Привет, как дела? Сегодня хорошая погода, и мы идём в парк.",
    "gb18030": "今天天气很好，我们去公园散步吧。中文文本需要正确的编码。",
    "cp932": "今日はとても良い天気ですね。公園を散歩しましょう。",
    "cp949": "오늘 날씨가 정말 좋네요. 공원에 산책하러 갑시다.",
}


def texts(source: Source, folder: Path) -> list[str | None]:
    return [document.text for document in source.read(folder, Filtered())]


@pytest.mark.parametrize("encoding", TEXTS)
def test_an_encoding_is_guessed(encoding: str) -> None:
    assert guessed(TEXTS[encoding].encode(encoding)) == encoding


@pytest.mark.parametrize("encoding", [*TEXTS, "latin-1", "utf-16-le", "utf-32"])
def test_a_text_is_read_in_the_encoding_that_the_source_names(tmp_path: Path, encoding: str) -> None:
    text = TEXTS.get(encoding, GERMAN)
    (tmp_path / "a.txt").write_bytes(text.encode(encoding))
    assert texts(text_source("a.txt", encoding=encoding), tmp_path) == [text]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_a_byte_order_mark_decides_whatever_the_source_names(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "a.txt").write_bytes(GERMAN.encode(encoding))
    for named in ("utf-8", "latin-1"):
        assert texts(text_source("a.txt", encoding=named), tmp_path) == [GERMAN]


def test_all_files_of_another_encoding_are_counted_and_the_knob_is_offered(tmp_path: Path) -> None:
    for number in range(7):
        (tmp_path / f"{number}.txt").write_bytes(f"{number}: {GERMAN}".encode("latin-1"))
    (tmp_path / "good.txt").write_text(GERMAN, encoding="utf-8")
    with pytest.raises(
        InputError,
        match=r"7 of 8 files cannot.* the first is 0\.txt: invalid UTF-8 \(byte 5\); 7 of them not UTF-8, by their"
        " letters cp1252: set encoding = 'cp1252', or mend",
    ):
        texts(text_source("*.txt"), tmp_path)


READERS: dict[str, Callable[..., Source]] = {"a.csv": table_source, "a.tsv": table_source, "a.jsonl": table_source}


def table(name: str) -> str:
    if name == "a.jsonl":
        return f'{{"text": "{GERMAN}"}}\n'
    return f'größe{"," if name == "a.csv" else chr(9)}text\n1{"," if name == "a.csv" else chr(9)}"{GERMAN}"\n'


@pytest.mark.parametrize("name", READERS)
def test_a_table_is_read_in_the_encoding_that_the_source_names(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(table(name).encode("latin-1"))
    assert texts(READERS[name](name, encoding="latin-1"), tmp_path) == [GERMAN]


@pytest.mark.parametrize("name", READERS)
def test_a_table_that_is_no_utf8_is_one_sentence(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(table(name).encode("latin-1"))
    with pytest.raises(InputError, match=rf"{name}.*(encoding|UTF-8|utf-8)"):
        texts(READERS[name](name), tmp_path)


@pytest.mark.parametrize("name", READERS)
def test_a_table_of_utf16_is_read_by_its_mark(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(table(name).encode("utf-16"))
    assert texts(READERS[name](name), tmp_path) == [GERMAN]


def test_conversations_in_another_encoding(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(f'question,answer\nWoher?,"{GERMAN}"\n'.encode("latin-1"))
    [document] = messages_source("a.csv", encoding="latin-1").read(tmp_path, Filtered())
    assert document.messages is not None and document.messages[1]["content"] == GERMAN
    with pytest.raises(InputError, match=r"a\.csv:1: invalid UTF-8 .* 1 of them not UTF-8, by their letters cp1252"):
        list(messages_source("a.csv").read(tmp_path, Filtered()))


def test_what_an_encoding_does_not_know_is_damage(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b'{"text": "good"}\n{"text": "\x81\x30"}\n')
    with pytest.raises(InputError, match=r"1 of 2 rows .*a\.jsonl:2: invalid UTF-8"):
        texts(table_source("a.jsonl", encoding="shift_jis"), tmp_path)
    (tmp_path / "odd.txt").write_bytes("text".encode("utf-16") + b"x")
    with pytest.raises(InputError, match=r"odd\.txt: invalid UTF-8"):
        texts(text_source("odd.txt"), tmp_path)


@pytest.mark.parametrize("encoding", ["klingon", "hex", "rot13", "", "a\0b"])
def test_an_encoding_that_is_none_is_refused(encoding: str) -> None:
    with pytest.raises(ValidationError, match="there is no encoding"):
        text_source("a.txt", encoding=encoding)


# --- packed -------------------------------------------------------------------------------------------------


def test_packed_texts_are_unpacked(tmp_path: Path) -> None:
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(GERMAN.encode()))
    (tmp_path / "b.TXT.ZST").write_bytes(pa.Codec("zstd").compress(GERMAN.encode("utf-16"), asbytes=True))
    assert texts(text_source("."), tmp_path) == [GERMAN, GERMAN]


def test_a_packed_text_that_unpacks_to_too_much_is_too_long(tmp_path: Path) -> None:
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(b" " * 50_000_000))
    drops = Filtered()
    assert not list(text_source("a.txt.gz", max_chars=1000).read(tmp_path, drops))
    assert drops.counts == {"too long": 1}


@pytest.mark.parametrize("content", [gzip.compress(b"text" * 1000, mtime=0)[:-20], b"no gzip at all", b""])
def test_a_damaged_packed_file_is_one_sentence(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.jsonl.gz").write_bytes(content)
    (tmp_path / "a.txt.gz").write_bytes(content)
    if content:
        with pytest.raises(InputError, match=r"a\.txt\.gz: unreadable"):
            texts(text_source("a.txt.gz"), tmp_path)
        with pytest.raises(InputError, match=r"a\.jsonl\.gz"):
            texts(table_source("a.jsonl.gz"), tmp_path)
    else:
        assert texts(table_source("a.jsonl.gz"), tmp_path) == []


def test_a_suffix_is_that_of_what_is_packed() -> None:
    assert [suffix(Path(name)) for name in ("a.JSON", "a.csv.GZ", "a.gz", "a")] == [".json", ".csv", "", ""]


def test_a_recoded_stream_is_the_same_in_pieces(tmp_path: Path) -> None:
    text = (GERMAN + "€𝄞\n") * 20_000
    (tmp_path / "a.txt").write_bytes(text.encode("utf-16"))
    with opened(tmp_path / "a.txt") as file:
        pieces = [file.read(7), file.readline(), file.read(100_001), file.read()]
    assert b"".join(pieces).decode() == text


# --- damage beside other damage -----------------------------------------------------------------------------


def test_the_bytes_of_a_damaged_cell_are_those_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"id,text\n1,\xff\x81\xfe\n2,good\n3,caf\xe9,more\n")
    drops = Filtered()
    documents = list(table_source("a.csv", bad_share=1.0).read(tmp_path, drops))
    assert [document.text for document in documents] == ["good"]
    assert drops.counts == {"invalid UTF-8": 1, "broken row": 1}
    assert unmarked("a\ufdd0\u01ff\ufdd0\u0181z".encode()) == b"a\xff\x81z"


def test_names_of_columns_in_another_encoding_are_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes("text,Größe der Straße\na,1\n".encode("latin-1"))
    with pytest.raises(InputError, match="names of its columns are no utf-8; set encoding to theirs, perhaps 'cp125"):
        texts(table_source("a.csv"), tmp_path)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32"])
def test_text_without_its_mark_is_little_endian_or_damage(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "a.txt").write_bytes(GERMAN.encode(f"{encoding}-le"))
    assert texts(text_source("a.txt", encoding=encoding), tmp_path) == [GERMAN]
    (tmp_path / "a.txt").write_bytes(b"\xff\xff\xff\xdc\xff\xff\xff")
    with pytest.raises(InputError, match=r"a\.txt: (invalid UTF-8|unreadable)"):
        texts(text_source("a.txt", encoding=encoding), tmp_path)
