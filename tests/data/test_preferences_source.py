"""Preference pairs in each published format become the same document; what is no pair is named."""

import json
from pathlib import Path
from typing import Any

import pytest

from groundup.codecs import chat
from groundup.codecs.text import Tokenizer
from groundup.core.errors import InputError
from groundup.data.document import REJECTED, Document
from groundup.data.filtered import Filtered
from groundup.data.shards import LOSS, START, _encoded
from groundup.data.sources.preferences import PreferencesSource
from tests.data.data_helpers import messages_source

ASK, GOOD, BAD = (
    {"role": role, "content": text} for role, text in (("user", "2+2?"), ("assistant", "4"), ("assistant", "5"))
)
PAIR = [ASK, GOOD | {REJECTED: BAD}]
FORMATS: dict[str, dict[str, Any]] = {
    "texts": {"prompt": "2+2?", "chosen": "4", "rejected": "5"},
    "TRL with messages": {"prompt": [ASK], "chosen": [GOOD], "rejected": [BAD]},
    "whole conversations": {"chosen": [ASK, GOOD], "rejected": [ASK, BAD]},
    "UltraFeedback": {
        "prompt": "2+2?",
        "prompt_id": "7",
        "chosen": [ASK, GOOD],
        "rejected": [ASK, BAD],
        "messages": [ASK, GOOD],
        "score_chosen": 8.0,
        "score_rejected": 2.0,
    },
    "single messages": {"question": "2+2?", "chosen": GOOD, "rejected": BAD},
    "OpenAI": {
        "input": {"messages": [ASK], "tools": [], "parallel_tool_calls": True},
        "preferred_output": [GOOD],
        "non_preferred_output": [BAD],
    },
    "ShareGPT": {
        "conversations": None,
        "chosen": [{"from": "human", "value": "2+2?"}, {"from": "gpt", "value": "4"}],
        "rejected": [{"from": "human", "value": "2+2?"}, {"from": "gpt", "value": "5"}],
    },
    "responses": {"instruction": "2+2?", "chosen_response": "4", "rejected_response": "5", "source": "x"},
}


def read(folder: Path, *rows: Any, **knobs: Any) -> list[Document]:
    (folder / "p.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    given = {"name": "pairs", "kind": "preferences", "path": "p.jsonl", "licence": "CC0-1.0", **knobs}
    return list(PreferencesSource(**given).read(folder, Filtered()))


@pytest.mark.parametrize("row", FORMATS.values(), ids=list(FORMATS))
def test_each_format_becomes_the_same_pair(tmp_path: Path, row: dict[str, Any]) -> None:
    [document] = read(tmp_path, row)
    assert document.messages == PAIR
    assert document.chosen == [ASK, GOOD] and document.rejected == [ASK, BAD]


def test_answers_of_the_prompt_are_not_learnt(tmp_path: Path) -> None:
    before = [ASK, GOOD, {"role": "user", "content": "sure?"}]
    [document] = read(tmp_path, {"chosen": [*before, GOOD], "rejected": [*before, BAD]})
    assert document.chosen == [ASK, GOOD | {"weight": 0}, before[2], GOOD]


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"prompt": "2+2?", "completion": "4"}, "no preference pair: its keys are prompt, completion"),
        ({"prompt": "2+2?", "chosen": "4", "rejected": "4"}, "are equal, so nothing is preferred"),
        ({"chosen": [ASK, GOOD], "rejected": [ASK | {"content": "3+3?"}, BAD]}, "follow different prompts"),
        ({"chosen": [ASK, GOOD, ASK], "rejected": [ASK, GOOD, ASK | {"content": "?"}]}, "roles 'user' and 'user'"),
        ({"prompt": "2+2?", "chosen": "4", "rejected": 5}, "must be a text or a list of messages"),
        ({"prompt": "2+2?", "chosen": "4", "rejected": "5", "label": True}, "unknown key 'label'"),
        ({"chosen": "4", "rejected": "5"}, "no conversation|without a prompt"),
        ({"prompt": "2+2?", "chosen": [BAD | {"mood": "bad"}], "rejected": [GOOD]}, "mood"),
    ],
)
def test_what_is_no_pair_is_refused_with_its_line(tmp_path: Path, row: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=rf"p\.jsonl:1.*({says})"):
        read(tmp_path, row)


def test_a_pair_is_two_conversations_side_by_side(tmp_path: Path) -> None:
    tokenizer = Tokenizer.learn([""], 263)
    [document] = read(tmp_path, FORMATS["texts"])
    [piece] = _encoded([document], tokenizer, None)
    (good, good_mask), (bad, bad_mask) = (chat.encode(tokenizer, [ASK, answer]) for answer in (GOOD, BAD))
    assert list(piece.ids) == good + bad
    assert [bool(flag & LOSS) for flag in piece.flags] == good_mask + bad_mask
    assert [place for place, flag in enumerate(piece.flags) if flag & START] == [
        len(good)
    ]  # the first is set in packing


def test_a_conversation_is_no_pair_by_a_key_of_its_last_message(tmp_path: Path) -> None:
    (tmp_path / "c.jsonl").write_text(json.dumps({"messages": PAIR}), encoding="utf-8")
    with pytest.raises(InputError, match="rejected"):
        list(messages_source("c.jsonl").read(tmp_path, Filtered()))
