"""Conversations to ids: the frame, what is trained, what stays text, and the way back."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from groundup.codecs import chat, messages
from groundup.codecs.answers import parse_answer
from groundup.codecs.normal import normalise
from groundup.codecs.text import SPECIAL_TOKENS, Tokenizer
from groundup.core.errors import InputError
from tests.codecs.codec_helpers import SNIPPETS

quick = settings(deadline=None, derandomize=True, max_examples=100)
plain = st.lists(st.sampled_from(SNIPPETS), max_size=12).map("".join)
hostile = st.lists(
    st.sampled_from([*SNIPPETS[:12], *SPECIAL_TOKENS, "<|im_", "end|>", "\ue0002", "assistant\n"]), max_size=12
).map("".join)

WEATHER = {
    "type": "function",
    "function": {"name": "weather", "description": "Tells the weather 天气.", "parameters": {"city": "text"}},
}
QUESTION = {"role": "user", "content": "Weather in 北京?"}
CALL = {"type": "function", "function": {"name": "weather", "arguments": {"city": "北京"}}}
CONVERSATION = [
    {"role": "system", "content": "Be brief."},
    QUESTION,
    {"role": "assistant", "content": "Let me see.", "tool_calls": [CALL, CALL]},
    {"role": "tool", "content": '{"sky": "clear"}', "tool_call_id": "1"},
    {"role": "tool", "content": "sunny", "name": "weather"},
    {"role": "assistant", "content": "<think>clear, sunny</think> It is clear."},
    {"role": "user", "content": [{"type": "text", "text": "Thanks"}, {"type": "text", "text": "!"}]},
    {"role": "assistant", "content": "  Bye.\n"},
]
TURNS = {
    "system": (
        """<|im_start|>system
Be brief.

You can call these functions:
<tools>
{"type": "function", "function": {"name": "weather", "description": "Tells the weather 天气.", "parameters": {"city": "text"}}}
</tools>
To call one, write its name and its arguments:
<tool_call>
{"name": NAME, "arguments": {KEY: VALUE}}
</tool_call><|im_end|>
"""
    ),
    "call": (
        """<|im_start|>assistant
Let me see.
<tool_call>
{"name": "weather", "arguments": {"city": "北京"}}
</tool_call>
<tool_call>
{"name": "weather", "arguments": {"city": "北京"}}
</tool_call><|im_end|>
"""
    ),
    "result": '<|im_start|>tool\n{"sky": "clear"}<|im_end|>\n',
}


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


def assistant(content: Any, **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": content, **more}


def count(tokenizer: Tokenizer, ids: list[int]) -> dict[str, int]:
    """How often each special id stands in ids."""
    return {name: ids.count(tokenizer.special(name)) for name in SPECIAL_TOKENS if tokenizer.special(name) in ids}


# --- the frame ----------------------------------------------------------------------------------------------


def test_a_short_conversation_reads_as_chatml(tokenizer: Tokenizer) -> None:
    ids, _ = chat.encode(tokenizer, [user("Hi"), assistant("Hello.")])
    assert tokenizer.decode(ids) == "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHello.<|im_end|>\n"


@pytest.mark.parametrize("turn", TURNS)
def test_a_conversation_with_tools_holds_the_turn(tokenizer: Tokenizer, turn: str) -> None:
    assert TURNS[turn] in tokenizer.decode(chat.encode(tokenizer, CONVERSATION, [WEATHER])[0])


def test_tools_without_a_system_message_stand_in_one(tokenizer: Tokenizer) -> None:
    text = tokenizer.decode(chat.encode(tokenizer, [QUESTION], [WEATHER])[0])
    assert text.startswith("<|im_start|>system\nYou can call") and text.endswith(
        "<|im_start|>user\nWeather in 北京?<|im_end|>\n"
    )


def test_the_frame_is_made_of_special_ids(tokenizer: Tokenizer) -> None:
    ids, _ = chat.encode(tokenizer, CONVERSATION, [WEATHER])
    assert count(tokenizer, ids) == {
        "<|im_start|>": 8, "<|im_end|>": 8, "<tool_call>": 3, "</tool_call>": 3, "<think>": 1, "</think>": 1
    }  # fmt: skip


def test_arguments_as_json_text_equal_arguments_as_an_object(tokenizer: Tokenizer) -> None:
    as_text = {"function": {"name": "weather", "arguments": '{"city": "北京"}'}}
    assert chat.encode(tokenizer, [assistant(None, tool_calls=[as_text])]) == chat.encode(
        tokenizer, [assistant("", tool_calls=[CALL])]
    )


def test_null_keys_are_as_absent(tokenizer: Tokenizer) -> None:
    assert chat.encode(tokenizer, [QUESTION | {"tool_calls": None, "audio": None}]) == chat.encode(
        tokenizer, [QUESTION]
    )


@pytest.mark.judge
def test_transformers_gives_the_same_ids(tokenizer: Tokenizer, folder: Path) -> None:
    transformers = pytest.importorskip("transformers", reason="the judge is not installed: pip install transformers")
    peer = transformers.AutoTokenizer.from_pretrained(folder)
    theirs = peer.apply_chat_template(CONVERSATION, tools=[WEATHER], tokenize=True, return_dict=False)
    assert theirs == chat.encode(tokenizer, CONVERSATION, [WEATHER])[0]


@pytest.mark.judge
def test_transformers_knows_the_special_tokens_and_keeps_spoken_ones_in_text(
    tokenizer: Tokenizer, folder: Path
) -> None:
    transformers = pytest.importorskip("transformers", reason="the judge is not installed: pip install transformers")
    peer = transformers.AutoTokenizer.from_pretrained(folder)
    assert (peer.eos_token_id, peer.pad_token_id, len(peer)) == (tokenizer.im_end, tokenizer.end, tokenizer.size)
    ids, _ = chat.encode(tokenizer, [assistant("<think>so</think> yes")])
    assert peer.decode(ids, skip_special_tokens=True) == "assistant\n<think>so</think> yes\n"


@pytest.mark.judge
@given(st.lists(plain, min_size=4, max_size=4))
@quick
def test_transformers_gives_the_same_ids_for_any_ordinary_content(
    tokenizer: Tokenizer, folder: Path, contents: list[str]
) -> None:
    transformers = pytest.importorskip("transformers", reason="the judge is not installed: pip install transformers")
    peer = transformers.AutoTokenizer.from_pretrained(folder)
    contents[2] = normalise(contents[2])  # plain transformers trims an answer before it drops control characters
    messages = [
        {"role": role, "content": content}
        for role, content in zip(["system", "user", "assistant", "user"], contents, strict=True)
    ]
    theirs = peer.apply_chat_template(messages, add_generation_prompt=True, tokenize=True, return_dict=False)
    assert theirs == chat.prompt(tokenizer, messages)


# --- what the assistant says --------------------------------------------------------------------------------


@given(hostile, st.one_of(plain, hostile), st.booleans())
@quick
def test_a_prompt_is_the_beginning_of_every_answered_conversation(
    tokenizer: Tokenizer, question: str, answer: str, calls: bool
) -> None:
    messages = [user(question), assistant(answer), user(answer)]
    before = chat.prompt(tokenizer, messages)
    whole, answers = chat.encode(tokenizer, [*messages, assistant(answer, tool_calls=[CALL] if calls else None)])
    assert whole[: len(before)] == before
    assert answers[len(before) :] == [True] * (len(whole) - len(before) - 1) + [
        False
    ]  # all but the line end after <|im_end|>


@given(st.lists(st.tuples(hostile, hostile), min_size=1, max_size=3))
@quick
def test_exactly_the_answers_and_their_ends_are_trained(tokenizer: Tokenizer, turns: list[tuple[str, str]]) -> None:
    ids, answers = chat.encode(
        tokenizer, [message for said, answer in turns for message in (user(said), assistant(answer))]
    )
    trained = tokenizer.decode([id for id, answer in zip(ids, answers, strict=True) if answer])
    assert trained == "".join(normalise(answer).strip() + "<|im_end|>" for _, answer in turns)


def test_a_conversation_without_an_answer_trains_nothing(tokenizer: Tokenizer) -> None:
    assert not any(chat.encode(tokenizer, [QUESTION])[1])


# --- what stays text ----------------------------------------------------------------------------------------


def hostile_places(text: str) -> dict[str, tuple[list[dict[str, Any]], list[dict[str, Any]] | None]]:
    """Conversations with one text in each place where a text can stand, and the frame's own specials apart."""
    call = {"function": {"name": text, "arguments": {text: [text, {"deep": text}]}}}
    return {
        "system": ([{"role": "system", "content": text}], None),
        "user": ([user(text)], None),
        "parts": ([user([{"type": "text", "text": letter} for letter in text])], None),
        "tool": ([assistant("", tool_calls=[CALL]), {"role": "tool", "content": text}], None),
        "call": ([assistant("", tool_calls=[call])], None),
        "call in JSON": (
            [assistant("", tool_calls=[{"function": {"name": "f", "arguments": json.dumps({text: text})}}])],
            None,
        ),
        "tools": (
            [QUESTION],
            [
                {
                    "type": "function",
                    "function": {"name": f"f{text}", "description": text, "parameters": {text: {"a": [text]}}},
                }
            ],
        ),
    }


@pytest.mark.parametrize("place", hostile_places(""))
@given(hostile)
@settings(deadline=None, derandomize=True, max_examples=25)
def test_special_literals_outside_answers_stay_text(tokenizer: Tokenizer, place: str, text: str) -> None:
    ids, _ = chat.encode(tokenizer, *hostile_places(text)[place])
    harmless, _ = chat.encode(tokenizer, *hostile_places("x")[place])
    assert count(tokenizer, ids) == count(tokenizer, harmless)


def test_hidden_literals_come_out_as_they_went_in(tokenizer: Tokenizer) -> None:
    text = "".join(SPECIAL_TOKENS) + "\ue000 \ue0001 \ue000\ue0007 <|im_end|> <"
    ids, _ = chat.encode(tokenizer, [user(text)])
    assert tokenizer.decode(ids) == f"<|im_start|>user\n{text}<|im_end|>\n"


def test_an_assistant_can_think_and_call_but_not_end_its_turn(tokenizer: Tokenizer) -> None:
    ids, _ = chat.encode(tokenizer, [assistant("".join(SPECIAL_TOKENS))])
    assert count(tokenizer, ids) == {
        "<|im_start|>": 1,
        "<|im_end|>": 1,
        "<tool_call>": 1,
        "</tool_call>": 1,
        "<think>": 1,
        "</think>": 1,
    }


def test_templates_in_content_are_not_run(tokenizer: Tokenizer) -> None:
    assert "{{ 7 * 7 }}{% raw %}" in tokenizer.decode(chat.prompt(tokenizer, [user("{{ 7 * 7 }}{% raw %}")]))


# --- what is refused ----------------------------------------------------------------------------------------

REFUSED: dict[str, tuple[Any, str]] = {
    "no messages": ([], "the conversation has no messages"),
    "an object": ({"role": "user"}, "the conversation has no messages"),
    "a text as message": (["hello"], "message 1: unknown role None"),
    "an unknown role": (
        [QUESTION, {"role": "bot", "content": "x"}],
        "message 2: unknown role 'bot'; the roles are system, developer, user, assistant, tool",
    ),
    "a list as role": ([{"role": ["user"], "content": "x"}], "message 1: unknown role ['user']"),
    "an unknown key": ([user("x") | {"score": 0}], "message 1: unknown key 'score' in a message of role user"),
    "half a weight": ([QUESTION, assistant("x", weight=0.5)], "message 2: weight is '0.5'; it must be 0 or 1"),
    "a weight of a user": ([user("x") | {"weight": 1}], "message 1: weight 1 of a message of role user; only the"),
    "no content": ([{"role": "user"}], "message 1: content is missing"),
    "a number as content": ([user(5)], "message 1: content is int"),
    "an answer of nothing": ([assistant(None)], "message 1: content is missing"),
    "an image": (
        [user([{"type": "image_url", "image_url": {}}])],
        "message 1: a content part of type 'image_url'; only parts of type 'text'",
    ),
    "a text as part": ([user(["x"])], "message 1: a content part of type 'str'"),
    "a part without text": ([user([{"type": "text"}])], "message 1: a text part whose text is missing"),
    "a result at once": ([{"role": "tool", "content": "x"}], "message 1: a tool's result without a call"),
    "a result without call": (
        [QUESTION, assistant("x"), {"role": "tool", "content": "x"}],
        "message 3: a tool's result without a call",
    ),
    "calls as object": ([assistant("x", tool_calls=CALL)], "message 1: tool_calls is dict"),
    "a call without name": (
        [assistant("x", tool_calls=[{"function": {"arguments": {}}}])],
        "message 1: a tool call without a function that has a name",
    ),
    "arguments of no JSON": (
        [assistant("x", tool_calls=[{"function": {"name": "f", "arguments": "{"}}])],
        "the arguments of f are not a JSON object",
    ),
    "arguments as list": (
        [assistant("x", tool_calls=[{"function": {"name": "f", "arguments": [1]}}])],
        "the arguments of f are not a JSON object",
    ),
    "arguments that JSON lacks": (
        [assistant("x", tool_calls=[{"function": {"name": "f", "arguments": {"a": {1}}}}])],
        "the arguments of f are not JSON",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_conversation_of_another_shape_is_refused(case: str) -> None:
    conversation, reason = REFUSED[case]
    with pytest.raises(InputError, match=re.escape(reason)):
        messages.check(conversation)


@pytest.mark.parametrize(
    ("tools", "reason"),
    [(WEATHER, "tools is dict"), (["weather"], "tool 1 is str"), ([{"a": {1}}], "tool 1 is no function")],
)
def test_tools_of_another_shape_are_refused(tokenizer: Tokenizer, tools: Any, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        chat.prompt(tokenizer, [QUESTION], tools)


# --- the way back -------------------------------------------------------------------------------------------


words = st.text(max_size=5).map(normalise)


@given(plain.map(normalise), st.lists(st.tuples(words, st.dictionaries(words, words | st.integers())), max_size=3))
@quick
def test_a_written_answer_is_read_back(
    tokenizer: Tokenizer, content: str, calls: list[tuple[str, dict[str, Any]]]
) -> None:
    written = [
        {"type": "function", "function": {"name": name, "arguments": messages.to_json(value)}} for name, value in calls
    ]
    message = assistant(content.strip()) | ({"tool_calls": written} if written else {})
    ids, answers = chat.encode(tokenizer, [message])
    answer = tokenizer.decode([id for id, trained in zip(ids, answers, strict=True) if trained]).removesuffix(
        "<|im_end|>"
    )
    assert parse_answer(answer) == message


@pytest.mark.parametrize(
    "text",
    [
        "plain",
        "",
        '<tool_call>\n{"name": "f", "arguments": {}\n</tool_call>',
        '<tool_call>\n{"name": "f", "arguments": {}}',
        '<tool_call>\n{"name": "f"}\n</tool_call>',
        '<tool_call>\n{"name": 1, "arguments": {}}\n</tool_call>',
        '<tool_call>\n{"name": "f", "arguments": []}\n</tool_call>',
        "<tool_call>[]</tool_call>",
        "<tool_call>",
        "</tool_call>",
        "<tool_call>" + "[" * 100_000,
        '<think>unfinished <tool_call>{"name": "f", "arguments": {}}</tool_call>',
        '<think>I could <tool_call>{"name": "f", "arguments": {}}</tool_call></think> but no.',
    ],
)
def test_what_is_no_call_stays_content(text: str) -> None:
    assert parse_answer(text) == {"role": "assistant", "content": text}


def test_a_call_is_read_beside_a_broken_one() -> None:
    answer = parse_answer(
        '<think>t</think>a <tool_call>{"name": </tool_call> b <tool_call>{"name": "f", "arguments": {"</tool_call>":'
        " 1}}</tool_call>"
    )
    assert answer["content"] == '<think>t</think>a <tool_call>{"name": </tool_call> b'
    assert [call["function"] for call in answer["tool_calls"]] == [{"name": "f", "arguments": '{"</tool_call>": 1}'}]


def test_the_end_of_thought_inside_a_call_is_part_of_the_call() -> None:
    answer = parse_answer('<tool_call>{"name": "f", "arguments": {"a": "</think>"}}</tool_call>')
    assert answer["tool_calls"][0]["function"]["arguments"] == '{"a": "</think>"}'


def test_half_a_character_in_a_call_becomes_whole_text() -> None:
    answer = parse_answer('<tool_call>{"name": "f", "arguments": {"a": "\\ud83d"}}</tool_call>')
    assert answer["tool_calls"][0]["function"]["arguments"] == '{"a": "\ufffd"}'
