"""Conversations in each published format and kind of file become the same messages; what cannot is named."""

import csv
import gzip
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from groundup.codecs.messages import check
from groundup.core.errors import InputError
from groundup.data.chat_formats import ANSWERS, QUESTIONS, REASONING, TURNS, PreferencePair, conversation
from groundup.data.document import Document
from groundup.data.filtered import Filtered
from groundup.data.results import DocumentsResult
from tests.data.data_helpers import messages_source
from tests.data.test_tables import save_dataset

Prepare = Callable[..., DocumentsResult]


def said(role: str, content: Any, **more: Any) -> dict[str, Any]:
    return {"role": role, "content": content, **more}


ASK, ANSWER = said("user", "2+2?"), said("assistant", "4")
TALK = [ASK, ANSWER]
PICTURE, SAYS = {"type": "image_url", "image_url": {"url": "a/b.png"}}, {"type": "text", "text": "2+2?"}
CALL = [{"type": "function", "function": {"name": "add", "arguments": {"a": 2}}}]
WRITTEN = [{"type": "function", "function": {"name": "add", "arguments": '{"a": 2}'}}]  # as JSON text
DESCRIBED = {"name": "add", "description": "Adds.", "parameters": {"type": "object"}}
TOOL = {"type": "function", "function": DESCRIBED}
GPT = [{"from": "human", "value": "2+2?"}, {"from": "gpt", "value": "4"}]

FORMATS: dict[str, tuple[dict[str, Any], str, list[dict[str, Any]]]] = {
    "OpenAI": ({"messages": TALK}, "OpenAI messages", TALK),
    "ShareGPT": ({"id": "x_0", "conversations": GPT}, "ShareGPT", TALK),
    "ShareGPT with roles": ({"conversations": TALK}, "OpenAI conversations", TALK),
    "ShareGPT with a system prompt": (
        {"system": "Count.", "conversations": GPT},
        "ShareGPT",
        [said("system", "Count."), *TALK],
    ),
    "ShareGPT of other programs": (
        {"conversation": [{"from": "system", "value": "Count."}, {"from": "user", "value": "2+2?"}, GPT[1]]},
        "ShareGPT",
        [said("system", "Count."), *TALK],
    ),
    "ShareGPT with calls": (
        {
            "conversations": [
                GPT[0],
                {"from": "function_call", "value": '{"name": "add", "arguments": {"a": 2}}'},
                {"from": "observation", "value": "4"},
                GPT[1],
            ]
        },
        "ShareGPT",
        [ASK, said("assistant", None, tool_calls=CALL), said("tool", "4"), ANSWER],
    ),
    "ShareGPT with calls as the model writes them": (
        {
            "conversations": [
                GPT[0],
                {"from": "gpt", "value": '<tool_call>\n{"name": "add", "arguments": {"a": 2}}\n</tool_call>'},
                {"from": "tool", "value": "4"},
                GPT[1],
            ]
        },
        "ShareGPT",
        [
            ASK,
            said("assistant", "", tool_calls=WRITTEN),
            said("tool", "4"),
            ANSWER,
        ],
    ),
    "turns in pairs": (
        {"conversation": [{"human": "2+2?", "assistant": "4"}, {"human": "3+3?", "assistant": "6"}]},
        "conversation of pairs",
        [*TALK, said("user", "3+3?"), said("assistant", "6")],
    ),
    "turns in pairs, input and output": (
        {"conversation": [{"system": "Count.", "input": "2+2?", "output": "4"}]},
        "conversation of pairs",
        [said("system", "Count."), *TALK],
    ),
    "OpenAssistant's trees": (
        {
            "message_tree_id": "a",
            "tree_state": "ready_for_export",
            "prompt": {
                "role": "prompter",
                "text": "2+2?",
                "replies": [
                    {"role": "assistant", "text": "5", "rank": 1, "replies": []},
                    {"role": "assistant", "text": "rude", "rank": None, "replies": []},
                    {"role": "assistant", "text": "spam", "rank": 0, "deleted": True, "replies": []},
                    {
                        "role": "assistant",
                        "text": "4",
                        "rank": 0,
                        "replies": [{"role": "prompter", "text": "Thanks.", "replies": []}],
                    },
                ],
            },
        },
        "message tree, its best replies",
        [*TALK, said("user", "Thanks.")],
    ),
    "Alpaca": ({"instruction": "2+2?", "input": "", "output": "4", "text": "### 2+2? 4"}, "Alpaca", TALK),
    "Alpaca with input": (
        {"instruction": "Translate.", "input": "Haus", "output": "house"},
        "Alpaca",
        [said("user", "Translate.\n\nHaus"), said("assistant", "house")],
    ),
    "Alpaca with system and history": (
        {"instruction": "3+3?", "output": "6", "system": "Count.", "history": [["2+2?", "4"]]},
        "Alpaca",
        [said("system", "Count."), *TALK, said("user", "3+3?"), said("assistant", "6")],
    ),
    "Dolly": (
        {"instruction": "Who?", "context": "Ann sings.", "response": "Ann", "category": "qa"},
        "instruction/response",
        [said("user", "Who?\n\nAnn sings."), said("assistant", "Ann")],
    ),
    "prompt and completion": ({"prompt": "2+2?", "completion": "4"}, "prompt/completion", TALK),
    "prompt and response": ({"prompt": "2+2?", "response": "4"}, "prompt/response", TALK),
    "question and answer": ({"question": "2+2?", "answer": "4"}, "question/answer", TALK),
    "OpenOrca": (
        {"id": "t0.1", "system_prompt": "Count.", "question": "2+2?", "response": "4"},
        "question/response",
        [said("system", "Count."), *TALK],
    ),
    "input and output": ({"input": "2+2?", "output": "4"}, "input/output", TALK),
    "prompt and completion as messages": ({"prompt": [ASK], "completion": [ANSWER]}, "prompt/completion", TALK),
    "a prompt of several messages": (
        {"prompt": [*TALK, said("user", "3+3?")], "completion": [said("assistant", "6")]},
        "prompt/completion",
        [ASK, ANSWER | {"weight": 0}, said("user", "3+3?"), said("assistant", "6")],
    ),
    "the prompt once more": ({"prompt": "2+2?", "prompt_id": "a", "messages": TALK}, "OpenAI messages", TALK),
    "functions of the old form": (
        {
            "messages": [
                ASK,
                said("assistant", None, function_call={"name": "add", "arguments": '{"a": 2}'}),
                said("function", "4", name="add"),
                ANSWER,
            ],
            "functions": [DESCRIBED],
        },
        "OpenAI messages",
        [
            ASK,
            said(
                "assistant",
                None,
                tool_calls=[{"type": "function", "function": {"name": "add", "arguments": '{"a": 2}'}}],
            ),
            said("tool", "4", name="add"),
            ANSWER,
        ],
    ),
    "fields of answers": (
        {"messages": [ASK, ANSWER | {"annotations": [], "refusal": None, "audio": None, "tool_calls": []}]},
        "OpenAI messages",
        TALK,
    ),
    "reasoning": (
        {"messages": [ASK, ANSWER | {"reasoning_content": "Two and two."}]},
        "OpenAI messages",
        [ASK, said("assistant", "<think>\nTwo and two.\n</think>\n\n4")],
    ),
    "reasoning of blanks": (
        {"messages": [ASK, ANSWER | {"reasoning_content": "\n", "thinking": None}]},
        "OpenAI messages",
        TALK,
    ),
    "reasoning before a call": (
        {"messages": [ASK, said("assistant", None, thinking="Hm.", tool_calls=CALL)]},
        "OpenAI messages",
        [ASK, said("assistant", "<think>\nHm.\n</think>\n\n", tool_calls=CALL)],
    ),
    "typed parts": (
        {
            "messages": [
                said("user", [{"type": "text", "value": "2+2?"}]),
                said(
                    "assistant",
                    [
                        {"type": "reasoning", "value": "Hm."},
                        {"type": "tool_call", "value": '{"name": "add", "arguments": {"a": 2}}'},
                    ],
                ),
                said("tool", [{"type": "text", "value": "4"}]),
                said("assistant", [{"type": "text", "value": "4"}]),
            ]
        },
        "OpenAI messages",
        [ASK, said("assistant", "<think>\nHm.\n</think>\n\n", tool_calls=CALL), said("tool", "4"), ANSWER],
    ),
    "a weight": (
        {"messages": [*TALK, ASK, ANSWER | {"weight": 0}]},
        "OpenAI messages",
        [*TALK, ASK, ANSWER | {"weight": 0}],
    ),
    "a developer": (
        {"messages": [said("developer", "Count."), *TALK]},
        "OpenAI messages",
        [said("developer", "Count."), *TALK],
    ),
    "a list as JSON text": ({"messages": json.dumps(TALK)}, "OpenAI messages", TALK),
}


@pytest.mark.parametrize("kind", FORMATS)
def test_a_format_becomes_messages(kind: str) -> None:
    row, form, messages = FORMATS[kind]
    found = conversation(row)
    assert (found.form, found.messages) == (form, messages)
    check(found.messages, found.tools)


@pytest.mark.parametrize(
    "given", [[TOOL], json.dumps([TOOL]), [DESCRIBED], [json.dumps(TOOL)], [{"type": "function"} | DESCRIBED]]
)
def test_tools_are_read_in_each_form(given: Any) -> None:
    assert conversation({"messages": TALK, "tools": given}).tools == [TOOL]


ILLUSTRATED: dict[str, tuple[dict[str, Any], str, list[dict[str, Any]]]] = {
    "LLaVA": (
        {
            "id": "1",
            "image": "a/b.png",
            "conversations": [{"from": "human", "value": "<image>\n2+2?"}, GPT[1], {"from": "human", "value": "Why?"}],
        },
        "ShareGPT",
        [said("user", [PICTURE, SAYS]), ANSWER, said("user", "Why?")],
    ),
    "a list of images without marks": (
        {"images": ["a/b.png"], "question": "2+2?", "answer": "4"},
        "question/answer",
        [said("user", [PICTURE, SAYS]), ANSWER],
    ),
    "parts of images beside a list": (
        {"messages": [said("user", [{"type": "image"}, SAYS]), ANSWER], "images": [{"bytes": None, "path": "a/b.png"}]},
        "OpenAI messages",
        [said("user", [PICTURE, SAYS]), ANSWER],
    ),
    "parts of images with their paths": (
        {"messages": [said("user", [{"type": "image", "image": "file://a/b.png"}, SAYS]), ANSWER]},
        "OpenAI messages",
        [said("user", [PICTURE, SAYS]), ANSWER],
    ),
}


@pytest.mark.parametrize("kind", ILLUSTRATED)
def test_images_stand_where_the_text_marks_them(kind: str) -> None:
    row, form, messages = ILLUSTRATED[kind]
    found = conversation(row)
    assert (found.form, found.messages) == (form, messages)


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "another key": ({"prompt": "a", "completion": "b", "label": True}, "unknown key 'label' in a conversation; it"),
    "two questions": ({"prompt": "a", "question": "b", "answer": "c"}, "unknown key 'question'"),
    "two answers": ({"prompt": "a", "response": "b", "answer": "c"}, "unknown key 'answer'"),
    "no answer's key": ({"prompt": "a", "tongue": "b"}, "no conversation: its keys are prompt, tongue; known are"),
    "nothing": ({}, "no conversation: its keys are none"),
    "turns as object": ({"conversations": {"from": "human"}}, '"conversations" must be a list of turns, found dict'),
    "turns as text": ({"messages": "user: hi"}, '"messages" is a text that is no JSON'),
    "a number as answer": ({"prompt": "a", "completion": 7}, '"completion" must be a text or a list of messages'),
    "a history of texts": ({"instruction": "a", "output": "b", "history": ["c"]}, '"history" must be a list of'),
    "a key in a pair": ({"conversation": [{"human": "a", "assistant": "b", "score": 1}]}, "unknown key 'score' in a"),
    "two system prompts": ({"system": "a", "messages": [said("system", "b"), *TALK]}, "a system prompt beside"),
    "an unknown speaker": ({"conversations": [{"from": "wizard", "value": "x"}]}, "message 1: unknown role 'wizard'"),
    "a call that is none": ({"conversations": [GPT[0], {"from": "function_call", "value": "add(2)"}]}, "no JSON"),
    "tools as text": ({"messages": TALK, "tools": "add"}, '"tools" is a text that is no JSON'),
    "more images than marks": (
        {"messages": [said("user", "<image> or <image>?"), ANSWER], "images": ["a.png"]},
        "2 places for images, such as <image>, and 1 images",
    ),
    "an image that is a number": ({"messages": TALK, "image": 7}, "an image is int; it must be a path, a data URI"),
    "a tree that is not finished": (
        {"tree_state": "aborted_low_grade", "prompt": {"role": "prompter", "text": "a", "replies": []}},
        "a tree of state 'aborted_low_grade'; only those of state 'ready_for_export' are finished",
    ),
    "a message of a tree": (
        {"message_id": "a", "parent_id": "b", "text": "x", "role": "assistant"},
        "a message of a tree, by itself; take the file of whole trees",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSED)
def test_a_row_that_cannot_be_mapped_is_named_with_file_row_and_key(tmp_path: Path, kind: str) -> None:
    row, words = REFUSED[kind]
    (tmp_path / "a.json").write_text(json.dumps([{"messages": TALK}, row]))
    with pytest.raises(InputError) as refusal:
        list(messages_source("a.json").read(tmp_path, Filtered()))
    assert words in str(refusal.value) and "a.json:2" in str(refusal.value)


def test_all_keys_that_may_be_passed_over_are_named_and_passed_over_in_turns_too(tmp_path: Path) -> None:
    row = {"messages": [ASK | {"toxic": False}, ANSWER | {"toxic": True}], "toxic": True, "score": 0.5}
    (tmp_path / "a.jsonl").write_text(json.dumps(row))
    with pytest.raises(InputError, match=r"ignore = \['toxic', 'score'\] in the source"):
        list(messages_source("a.jsonl").read(tmp_path, Filtered()))
    [document] = messages_source("a.jsonl", ignore=["toxic", "score"]).read(tmp_path, Filtered())
    assert document.messages == TALK


PREFERENCES: dict[str, dict[str, Any]] = {
    "texts": {"prompt": "2+2?", "chosen": "4", "rejected": "5"},
    "messages": {"prompt": [ASK], "chosen": [ANSWER], "rejected": [said("assistant", "5")]},
    "whole conversations": {"prompt": "2+2?", "chosen": TALK, "rejected": [ASK, said("assistant", "5")]},
    "without a prompt": {"chosen": TALK, "rejected": [ASK, said("assistant", "5")]},
}


@pytest.mark.parametrize("kind", PREFERENCES)
def test_preference_pairs_are_refused_unless_the_recipe_takes_the_chosen_side(tmp_path: Path, kind: str) -> None:
    (tmp_path / "a.jsonl").write_text(json.dumps(PREFERENCES[kind]))
    with pytest.raises(
        InputError,
        match=r"a\.jsonl:1: 'rejected' makes it a preference pair, which is for preference learning, .* set ignore = ",
    ):
        list(messages_source("a.jsonl").read(tmp_path, Filtered()))
    [document] = messages_source("a.jsonl", ignore=["rejected"]).read(tmp_path, Filtered())
    assert document.messages == TALK


def test_openai_preferences_are_told_apart() -> None:
    with pytest.raises(PreferencePair):
        conversation({"input": {"messages": [ASK]}, "preferred_output": [ANSWER], "non_preferred_output": [ANSWER]})


# --- files --------------------------------------------------------------------------------------------------

ROWS = [
    {"conversations": [{"from": "human", "value": f"{number}?"}, {"from": "gpt", "value": "é"}]} for number in (1, 2)
]
EXPECTED = [[said("user", f"{number}?"), said("assistant", "é")] for number in (1, 2)]


def as_lines() -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS).encode()


def as_parquet() -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(ROWS), file)
    return file.getvalue()


def as_csv(path: Path) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["conversations", "id"])
        writer.writerows([json.dumps(row["conversations"]), ""] for row in ROWS)


FILES: dict[str, Callable[[Path], Any]] = {
    "a.jsonl": lambda path: path.write_bytes(as_lines()),
    "a.JSONL": lambda path: path.write_bytes(as_lines()),
    "lines.json": lambda path: path.write_bytes(as_lines()),
    "mark.jsonl": lambda path: path.write_bytes(b"\xef\xbb\xbf" + as_lines()),
    "utf-16.jsonl": lambda path: path.write_bytes(as_lines().decode().encode("utf-16")),
    "array.json": lambda path: path.write_text(json.dumps(ROWS)),
    "pretty.json": lambda path: path.write_bytes(b"\xef\xbb\xbf\n" + json.dumps(ROWS, indent=2).encode()),
    "objects.json": lambda path: path.write_text("\n".join(json.dumps(row, indent=2) for row in ROWS)),
    "bare.jsonl": lambda path: path.write_text("\n".join(json.dumps(talk) for talk in EXPECTED) + "\n"),
    "bare.json": lambda path: path.write_text(json.dumps(EXPECTED, indent=1)),
    "array.jsonl": lambda path: path.write_text(json.dumps(ROWS)),
    "a.jsonl.gz": lambda path: path.write_bytes(gzip.compress(as_lines()[:50]) + gzip.compress(as_lines()[50:])),
    "array.json.zst": lambda path: path.write_bytes(pa.Codec("zstd").compress(json.dumps(ROWS).encode(), asbytes=True)),
    "a.csv": as_csv,
    "a.parquet": lambda path: pq.write_table(pa.Table.from_pylist(ROWS), path),
    "a.parquet.gz": lambda path: path.write_bytes(gzip.compress(as_parquet())),
    "a.Parquet.zst": lambda path: path.write_bytes(pa.Codec("zstd").compress(as_parquet(), asbytes=True)),
    "set": lambda path: save_dataset(path, [pa.Table.from_pylist(ROWS[:1]), pa.Table.from_pylist(ROWS[1:])]),
}


def read(folder: Path, name: str, **knobs: Any) -> list[Document]:
    return list(messages_source(name, **knobs).read(folder, Filtered()))


@pytest.mark.parametrize("name", FILES)
def test_conversations_are_read_from_each_kind_of_file(tmp_path: Path, name: str) -> None:
    FILES[name](tmp_path / name)
    assert [document.messages for document in read(tmp_path, name)] == EXPECTED


@pytest.mark.parametrize("name", sorted(FILES.keys() - {"set"}))
def test_a_folder_means_each_kind_of_file_in_it(tmp_path: Path, name: str) -> None:
    (tmp_path / "in").mkdir()
    FILES[name](tmp_path / "in" / name)
    (tmp_path / "in" / "dataset_info.json").write_text("{}")
    assert [document.messages for document in read(tmp_path, "in")] == EXPECTED


def test_what_was_recognised_is_counted_by_its_format(tmp_path: Path, prepare: Prepare) -> None:
    rows = [*ROWS, {"instruction": "Name a tree.", "output": "Oak"}]
    (tmp_path / "a.json").write_text(json.dumps(rows))
    assert prepare(messages_source("a.json")).recognised == {"rows as ShareGPT": 2, "rows as Alpaca": 1}


def test_columns_that_a_table_fills_with_null_are_as_absent(tmp_path: Path) -> None:
    tools = [TOOL, {"type": "function", "function": {"name": "now", "parameters": {"type": "object"}}}]
    called = [ASK, said("assistant", None, tool_calls=CALL)]
    rows = [{"messages": called, "tools": tools}, {"messages": TALK, "note": None}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    first, second = read(tmp_path, "a.parquet")
    assert first.messages == called
    assert (first.tools, second.messages, second.tools) == (tools, TALK, None)


ARRAYS = {
    "cut off": (json.dumps(ROWS)[:-30], "a.json:1: object 2 is broken or too long"),
    "without its end": (json.dumps(ROWS)[:-1], "a.json:1: the array does not end: part of the file is missing"),
    "with more behind": (json.dumps(ROWS) + "\n{}", "a.json:2: text after the end of the array"),
    "broken": (json.dumps(ROWS, indent=1).replace('"2?"', "2?"), "a.json:14: object 2 is broken"),
    "deep": ("[" * 100_000, "a.json:1: object 1 is broken or too long"),
    "of numbers": ("[1, 2]", "a.json:1: broken line (expected an object, found int)"),
    "empty file": ("", "no documents"),
}


@pytest.mark.parametrize("kind", ARRAYS)
def test_a_damaged_array_is_one_sentence_with_its_line(tmp_path: Path, prepare: Prepare, kind: str) -> None:
    text, words = ARRAYS[kind]
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(InputError) as refusal:
        prepare(messages_source("a.json"))
    assert words in str(refusal.value)


def test_a_long_array_is_read_in_bounded_pieces(tmp_path: Path) -> None:
    rows = [{"prompt": f"{number} " + "é" * 3000, "completion": "x"} for number in range(300)]
    (tmp_path / "a.json").write_text(json.dumps(rows, ensure_ascii=False), encoding="utf-8")
    documents = read(tmp_path, "a.json")
    assert [document.origin for document in documents] == [f"a.json:{number}" for number in range(1, 301)]
    assert documents[299].messages is not None and documents[299].messages[0]["content"] == rows[299]["prompt"]


def test_a_number_of_thousands_of_digits_is_a_broken_line(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"id": ' + "9" * 5000 + "}\n")
    with pytest.raises(InputError, match=r"a\.jsonl:1: broken line \(a number of 5,000 digits\)"):
        read(tmp_path, "a.jsonl")


def test_a_file_that_is_one_list_of_messages_is_one_conversation(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.json").write_text(json.dumps(EXPECTED[0], indent=1))
    (tmp_path / "in" / "b.json").write_text(json.dumps(EXPECTED[1]))
    assert [document.messages for document in read(tmp_path, "in")] == EXPECTED


@pytest.mark.judge
@pytest.mark.filterwarnings("ignore")  # the peer's own
def test_what_hugging_face_datasets_saves_is_read(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    datasets.Dataset.from_list(ROWS).save_to_disk(tmp_path / "set")
    assert [document.messages for document in read(tmp_path, "set")] == EXPECTED


# --- anything -----------------------------------------------------------------------------------------------

WORDS = st.sampled_from(
    [
        "",
        "hi",
        "<image>",
        "image",
        "human",
        "gpt",
        "assistant",
        "tool",
        "function_call",
        "[]",
        '{"name": "f"}',
        "\ud800",
    ]
)
NAMES = st.sampled_from(
    [
        *(*TURNS, *QUESTIONS, *ANSWERS, *REASONING, "history", "tools", "from", "role", "value", "content"),
        *("image", "images", "type", "url", "replies", "rank", "text"),
    ]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=12,
)


@given(st.dictionaries(NAMES, VALUES, min_size=1, max_size=4), st.lists(NAMES, max_size=1))
@settings(deadline=None, derandomize=True, max_examples=300)
def test_any_row_is_a_conversation_or_one_sentence(row: dict[str, Any], ignore: list[str]) -> None:
    try:
        found = conversation(row, ignore)
        check(found.messages, found.tools)
    except InputError as error:
        assert "\n" not in str(error)
