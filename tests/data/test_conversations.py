"""What a line of data says is used, refused by name, or told as not read; a conversation from which nothing is learnt
is counted.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from groundup.codecs.text import Tokenizer
from groundup.core.errors import InputError
from groundup.data.chat_formats import TURNS
from groundup.data.document import Document, read
from groundup.data.filtered import Filtered
from groundup.data.results import DocumentsResult
from groundup.data.shards import LOSS, Shards, write_shards
from groundup.pipeline.stages import cut_off
from tests.data.data_helpers import boxes_source, encoded, ignore, messages_source, save, table_source, write_parquet

Prepare = Callable[..., DocumentsResult]

TALK = {"messages": [{"role": "user", "content": "2+2?"}, {"role": "assistant", "content": "4"}]}
CALL = {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "f", "arguments": {}}}]}


def write(folder: Path, *values: Any) -> None:
    (folder / "a.jsonl").write_text(
        "".join((value if isinstance(value, str) else json.dumps(value)) + "\n" for value in values)
    )


def talks(folder: Path, **knobs: Any) -> tuple[list[Document], Filtered]:
    drops = Filtered()
    return list(messages_source("a.jsonl", **knobs).read(folder, drops)), drops


CHANGES_THE_MEANING = {
    "label": False,
    "weight": 0,
    "train": False,
    "score": 0.1,
    "chosen": "4",
    "prompt": "1+1?",
    "videos": ["a.mp4"],
    "function_call": "auto",
    "tool_choice": "none",
    "response_format": {"type": "json_object"},
    "licence": "CC-BY-NC-4.0",
}


@pytest.mark.parametrize("key", CHANGES_THE_MEANING)
def test_a_key_that_changes_the_meaning_is_refused_by_file_line_and_name(tmp_path: Path, key: str) -> None:
    write(tmp_path, TALK, TALK | {key: CHANGES_THE_MEANING[key]})
    with pytest.raises(InputError, match=rf"a\.jsonl:2: broken line \(unknown key '{key}' in a conversation; .+\)"):
        talks(tmp_path)


@given(
    st.text(max_size=12).filter(lambda key: key not in TURNS),
    st.booleans() | st.integers() | st.text(min_size=1) | st.lists(st.integers(), min_size=1),
)
@settings(deadline=None, derandomize=True, max_examples=60)
def test_any_key_is_used_refused_or_told(tmp_path_factory: pytest.TempPathFactory, key: str, value: Any) -> None:
    folder = tmp_path_factory.mktemp("talks")
    write(folder, TALK | {key: value})
    documents, drops = talks(folder, bad_share=1.0)
    assert (drops.counts == {"broken line": 1} and repr(key) in drops.examples[0]) or (
        key in drops.unread and len(documents) == 1
    )


def test_bookkeeping_is_told_as_not_read(tmp_path: Path, prepare: Prepare) -> None:
    write(
        tmp_path,
        TALK | {"id": 7, "source": "mine", "language": None},
        TALK | {"metadata": {"by": "me"}, "messages": [*TALK["messages"], CALL]},
    )
    report = prepare(messages_source("a.jsonl"))
    assert (report.documents, report.unread, report.dropped) == (2, ["id", "metadata", "source"], {})
    write(tmp_path, {"messages": [TALK["messages"][0] | {"name": "Ann"}, TALK["messages"][1]]})
    assert prepare(messages_source("a.jsonl")).unread == ["name of a message"]


@pytest.mark.parametrize("nothing", [None, "", [], {}])
def test_a_key_that_says_nothing_is_as_absent(tmp_path: Path, nothing: Any) -> None:
    write(tmp_path, TALK | {"images": nothing, "rejected": nothing, "tools": nothing})
    documents, drops = talks(tmp_path)
    assert (len(documents), documents[0].tools, drops.unread) == (1, None, set())


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('{"messages": [], ' + json.dumps(TALK)[1:], "the key 'messages' stands twice"),
        ('{"messages": [{"role": "user", "role": "assistant", "content": "x"}]}', "the key 'role' stands twice"),
        (
            '{"talk": [1], "id": 1}',
            "no conversation: its keys are talk, id; known are messages (OpenAI), conversations",
        ),
        (json.dumps(TALK | {"tools": [{"type": "web_search"}]}), "tool 1 is no function"),
        (
            json.dumps(TALK | {"tools": [{"type": "function", "function": {"name": "f", "returns": {"a": 1}}}]}),
            "unknown key 'returns' in a function",
        ),
        (
            json.dumps({"messages": [*TALK["messages"], {"role": "user", "content": "x", "score": 0}]}),
            "message 3: unknown key 'score'",
        ),
        (
            json.dumps(
                {
                    "messages": [
                        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "a.png", "crop": [1]}}]}
                    ]
                }
            ),
            "unknown key 'crop' in image_url",
        ),
        (
            json.dumps(
                {
                    "messages": [
                        {
                            "role": "user",
                            "content": [{"type": "image_url", "image_url": {"url": "a.png", "detail": "most"}}],
                        }
                    ]
                }
            ),
            "the detail of an image is 'most'",
        ),
    ],
)
def test_a_line_that_says_more_than_is_used_is_refused(tmp_path: Path, line: str, words: str) -> None:
    write(tmp_path, line)
    with pytest.raises(InputError) as refusal:
        talks(tmp_path)
    assert words in str(refusal.value) and "a.jsonl:1" in str(refusal.value)


# --- tables and boxes -------------------------------------------------------------------------------------------


def test_columns_that_are_not_read_are_told(tmp_path: Path, prepare: Prepare) -> None:
    rows = [{"text": f"row {number}", "label": number, "weight": 0.5} for number in range(4)]
    table = pa.Table.from_pylist(rows)
    pq.write_table(table, tmp_path / "a.parquet")
    with pa.ipc.new_file(str(tmp_path / "a.arrow"), table.schema) as arrow:
        arrow.write_table(table)
    write(tmp_path, *rows)
    (tmp_path / "a.csv").write_text("text,label,weight\nrow 1,1,1\n")
    for name in ("a.parquet", "a.arrow", "a.jsonl", "a.csv"):
        assert prepare(table_source(name)).unread == ["label", "weight"]
    (tmp_path / "b.jsonl").write_text('{"text": "x"}\n')
    assert prepare(table_source("b.jsonl")).unread == []


@pytest.mark.parametrize(
    ("more", "in_the_box", "words"),
    [({"ignore": True}, {}, "unknown key 'ignore' in an image"), ({}, {"angle": 30}, "unknown key 'angle' in a box")],
)
def test_a_line_of_boxes_that_says_more_than_is_used_is_refused(
    tmp_path: Path, more: Any, in_the_box: Any, words: str
) -> None:
    save(tmp_path / "x.png", encoded(1))
    write(tmp_path, {"file": "x.png", "boxes": [{"class": "a", "xyxy": [0, 0, 0.5, 0.5]} | in_the_box]} | more)
    with pytest.raises(InputError, match=words):
        list(boxes_source("a.jsonl").read(tmp_path, Filtered()))


# --- nothing to learn from --------------------------------------------------------------------------------------

QUESTION = {"role": "user", "content": "What?"}
UNANSWERED: dict[str, list[dict[str, Any]]] = {
    "no assistant": [QUESTION],
    "nothing said": [QUESTION, {"role": "assistant", "content": ""}],
    "spaces": [QUESTION, {"role": "assistant", "content": " \n"}],
    "controls": [QUESTION, {"role": "assistant", "content": "\x07\ufeff"}],
    "parts": [QUESTION, {"role": "assistant", "content": [{"type": "text", "text": ""}]}],
    "twice nothing": [QUESTION, {"role": "assistant", "content": ""}, QUESTION, {"role": "assistant", "content": "\t"}],
}


@pytest.mark.parametrize("kind", UNANSWERED)
def test_a_conversation_without_an_answer_is_counted_and_warned_about(
    tmp_path: Path, prepare: Prepare, kind: str
) -> None:
    write(tmp_path, TALK, {"messages": UNANSWERED[kind]}, {"messages": [QUESTION, CALL]})
    report = prepare(messages_source("a.jsonl"))
    assert (report.documents, report.dropped, report.examples) == (
        2,
        {"no answer": 1},
        ["a.jsonl:2: no answer"],
    )
    assert "1 conversations in which the assistant says nothing were dropped" in report.warnings[0]


def test_a_source_without_any_answer_is_refused(tmp_path: Path, prepare: Prepare) -> None:
    write(tmp_path, *({"messages": messages} for messages in UNANSWERED.values()))
    with pytest.raises(
        InputError, match=r"no documents are left; dropped were 6 no answer \(add a message of the assistant"
    ):
        prepare(messages_source("a.jsonl"))


def talk(question: str, answer: str) -> Document:
    return Document(
        "talks",
        "a",
        "CC0-1.0",
        messages=[{"role": "user", "content": question}, {"role": "assistant", "content": answer}],
    )


def test_a_conversation_cut_off_before_its_answer_is_left_out_and_counted(tmp_path: Path, tokenizer: Tokenizer) -> None:
    documents = [talk("what? " * 100, "yes"), talk("what?", "word " * 100), talk("what?", "no")]
    report = write_shards(write_parquet(tmp_path / "d.parquet", documents), tokenizer, 48, tmp_path / "out", ignore)
    assert [report.train.cut, report.train.lost, report.train.documents] == [2, 1, 3]
    shards = Shards.open(tmp_path / "out" / "train")
    _, flags = shards.take(np.arange(shards.rows))
    assert (flags & LOSS).any(axis=1).all()
    warning = cut_off("talks", 3, report, 48)
    assert (
        warning is not None
        and "2 of 3 documents do not fit" in warning
        and "1 of them all that is learnt from them" in warning
    )


def test_a_source_whose_answers_are_all_cut_off_is_refused(tmp_path: Path, tokenizer: Tokenizer) -> None:
    documents = [talk(f"{number} what? " * 100, "yes") for number in range(3)]
    report = write_shards(write_parquet(tmp_path / "d.parquet", documents), tokenizer, 48, tmp_path / "out", ignore)
    with pytest.raises(
        InputError,
        match=r"'talks': the context of 48 tokens truncates the answers of all conversations; raise model.context",
    ):
        cut_off("talks", 3, report, 48)


def test_what_fits_is_not_warned_about(tmp_path: Path, tokenizer: Tokenizer) -> None:
    report = write_shards(
        write_parquet(tmp_path / "d.parquet", [talk("what?", "no")]), tokenizer, 48, tmp_path / "out", ignore
    )
    assert cut_off("talks", 1, report, 48) is None
    assert len(list(read(tmp_path / "d.parquet"))) == 1
