"""One rendering of a conversation, however its JSON spells it; and nothing in it that is not used."""

import itertools
import json
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
from tests.codecs.codec_helpers import DIRTY

quick = settings(deadline=None, derandomize=True, max_examples=60)
ordinary = st.lists(st.sampled_from(DIRTY), max_size=8).map("".join)
dirty = st.lists(st.sampled_from([*DIRTY, *SPECIAL_TOKENS, "<|im_\x07end|>"]), max_size=8).map("".join)
words = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(-1e9, 1e9) | words, lambda inner: st.lists(inner, max_size=2)
)
objects = st.dictionaries(words, values, max_size=3)
names = st.sampled_from(["f", "sort", "weather_2"])

QUESTION: dict[str, Any] = {"role": "user", "content": "Weather?"}


def shuffled(value: dict[str, Any], draw: Any) -> dict[str, Any]:
    return {key: value[key] for key in draw(st.permutations(list(value)))}


@st.composite
def tools(draw: Any, texts: Any = dirty) -> tuple[dict[str, Any], dict[str, Any]]:
    """A tool as the API's clients write it, and the same with its keys in any order, nulls, and what answers are bound
    by.
    """
    function: dict[str, Any] = {"name": draw(names)}
    function |= {"description": draw(texts)} if draw(st.booleans()) else {}
    function |= {"parameters": draw(objects)} if draw(st.booleans()) else {}
    usual = {"type": "function", "function": function}
    more = {"description": None, "parameters": None, "strict": draw(st.sampled_from([None, True, False]))} | function
    return usual, shuffled({"type": "function", "function": shuffled(more, draw), "note": None}, draw)


@given(st.lists(tools(), min_size=1, max_size=3))
@quick
def test_a_tool_is_rendered_alike_in_any_order_of_its_keys(
    tokenizer: Tokenizer, pairs: list[tuple[dict[str, Any], dict[str, Any]]]
) -> None:
    usual, other = ([pair[side] for pair in pairs] for side in (0, 1))
    assert chat.encode(tokenizer, [QUESTION], usual) == chat.encode(tokenizer, [QUESTION], other)
    lines = "".join(messages.to_json(tool) + "\n" for tool in usual)
    assert normalise(lines) in tokenizer.decode(chat.encode(tokenizer, [QUESTION], other)[0])


@given(objects, st.booleans(), st.sampled_from([None, 1, "\t"]), st.sampled_from([(",", ":"), (" , ", "\r\n: ")]))
@quick
def test_arguments_are_rendered_alike_however_their_json_is_spelled(
    tokenizer: Tokenizer, arguments: dict[str, Any], escaped: bool, indent: Any, separators: tuple[str, str]
) -> None:
    text = json.dumps(arguments, ensure_ascii=escaped, indent=indent, separators=separators)
    calls = [{"function": {"name": "f", "arguments": each}} for each in (arguments, text)]
    first, second = (
        chat.encode(tokenizer, [QUESTION, {"role": "assistant", "content": None, "tool_calls": [call]}])
        for call in calls
    )
    assert first == second


@given(st.lists(dirty, min_size=1, max_size=4))
@quick
def test_parts_are_their_text(tokenizer: Tokenizer, texts: list[str]) -> None:
    parts = [{"type": "text", "text": text, "cache": None} for text in texts]
    both = [
        [{"role": "system", "content": content}, {"role": "user", "content": content}]
        for content in ("".join(texts), parts)
    ]
    assert chat.prompt(tokenizer, both[0]) == chat.prompt(tokenizer, both[1])


@st.composite
def conversations(draw: Any, texts: Any = dirty) -> list[dict[str, Any]]:
    """A conversation of any roles, with names, nulls, parts and calls with their results in any order."""
    talk: list[dict[str, Any]] = []
    if draw(st.booleans()):
        talk.append(
            {
                "role": draw(st.sampled_from(["system", "developer"])),
                "content": draw(texts),
                "name": draw(st.none() | words),
            }
        )
    for _ in range(draw(st.integers(1, 3))):
        parts = [{"type": "text", "text": text} for text in draw(st.lists(texts, max_size=3))]
        talk.append({"role": "user", "content": draw(st.just(parts) | texts)})
        ids = draw(st.lists(st.sampled_from("abcd"), max_size=3, unique=True))
        if ids:
            calls = [
                {"id": id, "type": "function", "function": {"name": draw(names), "arguments": draw(objects)}}
                for id in ids
            ]
            talk.append({"role": "assistant", "content": draw(st.none() | texts), "tool_calls": calls})
            talk += [{"role": "tool", "content": draw(texts), "tool_call_id": id} for id in draw(st.permutations(ids))]
        talk.append({"role": "assistant", "content": draw(texts), "tool_calls": None})
    return talk


@given(conversations(), st.none() | st.lists(tools().map(lambda pair: pair[1]), min_size=1, max_size=2))
@quick
def test_each_prompt_is_the_beginning_of_the_training_ids(
    tokenizer: Tokenizer, talk: list[dict[str, Any]], described: Any
) -> None:
    whole, answers = chat.encode(tokenizer, talk, described)
    turns = [place for place, message in enumerate(talk) if message["role"] == "assistant"]
    starts = [place for place, (before, now) in enumerate(itertools.pairwise([False, *answers])) if now and not before]
    for place, start in zip(turns, starts, strict=True):
        assert chat.prompt(tokenizer, talk[:place], described) == whole[:start]


@pytest.mark.judge
@given(conversations(ordinary), st.none() | st.lists(tools(ordinary).map(lambda pair: pair[1]), min_size=1, max_size=2))
@settings(deadline=None, derandomize=True, max_examples=40)
def test_transformers_gives_the_same_ids_for_any_conversation(
    tokenizer: Tokenizer, folder: Path, talk: list[dict[str, Any]], described: Any
) -> None:
    transformers = pytest.importorskip("transformers", reason="the judge is not installed: pip install transformers")
    peer = transformers.AutoTokenizer.from_pretrained(folder)
    talk = [message | {"content": _edges_bare(message)} for message in messages.in_order(talk)]
    theirs = peer.apply_chat_template(talk, tools=described, tokenize=True, return_dict=False)
    assert theirs == chat.encode(tokenizer, talk, described)[0]


def _edges_bare(message: dict[str, Any]) -> Any:
    """An answer's content with nothing to be dropped at its ends: there the template trims before the tokenizer
    drops.
    """
    return (
        normalise(message["content"]).strip()
        if message["role"] == "assistant" and message["content"]
        else message["content"]
    )


def test_a_developer_is_the_system(tokenizer: Tokenizer) -> None:
    for described in (None, [{"type": "function", "function": {"name": "f"}}]):
        system, developer = ([{"role": role, "content": "Be brief."}, QUESTION] for role in ("system", "developer"))
        assert chat.prompt(tokenizer, system, described) == chat.prompt(tokenizer, developer, described)


def called(*ids: str | None) -> dict[str, Any]:
    calls = [
        {"function": {"name": f"f{place}", "arguments": {}}} | ({} if id is None else {"id": id})
        for place, id in enumerate(ids)
    ]
    return {"role": "assistant", "content": None, "tool_calls": calls}


def result(content: str, id: str | None = None) -> dict[str, Any]:
    return {"role": "tool", "content": content, "tool_call_id": id}


def test_results_stand_in_the_order_of_the_calls_they_name(tokenizer: Tokenizer) -> None:
    ordered = [QUESTION, called("x", "y"), result("of x", "x"), result("of y", "y")]
    assert chat.prompt(tokenizer, [*ordered[:2], *ordered[:1:-1]]) == chat.prompt(tokenizer, ordered)


@pytest.mark.parametrize("ids", [(None, None), ("x", None)])
def test_results_that_name_no_call_stay_as_they_stand(tokenizer: Tokenizer, ids: tuple[str | None, ...]) -> None:
    text = tokenizer.decode(chat.prompt(tokenizer, [QUESTION, called(*ids), result("first"), result("second", ids[0])]))
    assert text.index("first") < text.index("second")


def test_a_result_of_a_call_that_nobody_made_is_refused(tokenizer: Tokenizer) -> None:
    with pytest.raises(
        InputError, match="message 3: the result of a call 'z', which nobody made; the calls before it are x, y"
    ):
        chat.prompt(tokenizer, [QUESTION, called("x", "y"), result("of z", "z")])


# --- what is refused by name ------------------------------------------------------------------------------------

FUNCTION = {"name": "f", "arguments": {}}


def nested(levels: int) -> Any:
    return {"a": nested(levels - 1)} if levels else 1


PLACES: dict[str, Any] = {
    "system": lambda more: ([{"role": "system", "content": "x"} | more, QUESTION], None),
    "developer": lambda more: ([{"role": "developer", "content": "x"} | more, QUESTION], None),
    "user": lambda more: ([QUESTION | more], None),
    "assistant": lambda more: ([QUESTION, {"role": "assistant", "content": "x"} | more], None),
    "tool": lambda more: ([QUESTION, called(None), result("x") | more], None),
    "part": lambda more: ([QUESTION | {"content": [{"type": "text", "text": "x"} | more]}], None),
    "image": lambda more: ([QUESTION | {"content": [{"type": "image"} | more]}], None),
    "call": lambda more: (
        [QUESTION, {"role": "assistant", "content": "x", "tool_calls": [{"function": FUNCTION} | more]}],
        None,
    ),
    "called": lambda more: (
        [QUESTION, {"role": "assistant", "content": "x", "tool_calls": [{"function": FUNCTION | more}]}],
        None,
    ),
    "tools": lambda more: ([QUESTION], [{"type": "function", "function": {"name": "f"}} | more]),
    "function": lambda more: ([QUESTION], [{"type": "function", "function": {"name": "f"} | more}]),
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(
    ("key", "value"),
    [("score", 0), ("train", False), ("loss", 1.0), ("reasoning_content", "hm"), ("images", ["a.png"])],
)
def test_a_key_that_would_not_be_used_is_refused_by_name(place: str, key: str, value: Any) -> None:
    with pytest.raises(
        InputError, match=rf"^(message \d|tool 1): unknown key '{key}' in .*; known are .*; take it out$"
    ):
        messages.check(*PLACES[place]({key: value}))


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("nothing", [None, "", [], {}])
def test_a_key_that_says_nothing_is_as_absent(place: str, nothing: Any) -> None:
    messages.check(*PLACES[place]({"weight": nothing}))


@pytest.mark.parametrize("value", [0, False, 1.5, "x", {"a": 1}])
def test_tools_and_calls_that_are_no_list_are_refused(value: Any) -> None:
    with pytest.raises(InputError, match=r"^tools is .*; it must be a list"):
        messages.check([QUESTION], value)
    with pytest.raises(InputError, match=r"^message 2: tool_calls is .*; it must be a list"):
        messages.check([QUESTION, {"role": "assistant", "content": "x", "tool_calls": value}])


@pytest.mark.parametrize(
    ("tool", "words"),
    [
        ({"name": "f", "parameters": {}}, "tool 1 is no function; write"),
        ({"type": "search"}, "tool 1 is no function; write"),
        ({"function": {"name": "f"}}, "tool 1 is no function; write"),
        ({"type": "function", "function": {"description": "x"}}, "tool 1: a function without a name"),
        ({"type": "function", "function": {"name": "f", "description": 5}}, "tool 1: description is int"),
        (
            {"type": "function", "function": {"name": "f", "parameters": "{}"}},
            "tool 1: parameters is str; it must be an object",
        ),
        (
            {"type": "function", "function": {"name": "f", "strict": "yes"}},
            "tool 1: strict is str; it must be true or false",
        ),
        (
            {"type": "function", "function": {"name": "f", "parameters": {"a": float("nan")}}},
            "tool 1: parameters are not JSON",
        ),
        (
            {"type": "function", "function": {"name": "f", "parameters": nested(65)}},
            "tool 1: parameters nested more than 64 deep",
        ),
    ],
)
def test_a_tool_of_another_shape_is_refused(tool: Any, words: str) -> None:
    with pytest.raises(InputError) as refusal:
        messages.check([QUESTION], [tool])
    assert str(refusal.value).startswith(words)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        ({"type": "custom", "function": FUNCTION}, "a tool call of type 'custom'"),
        ({"id": 5, "function": FUNCTION}, "id is int; it must be a text"),
        ({"function": {"name": "f", "arguments": '{"a": 1, "a": 2}'}}, "the key 'a' stands twice"),
        ({"function": {"name": "f", "arguments": '{"a": NaN}'}}, "NaN is no number in JSON"),
        ({"function": {"name": "f", "arguments": '{"a": 1e999}'}}, "the number 1e999 is too large"),
        ({"function": {"name": "f", "arguments": '{"a": ' + "1" * 5000 + "}"}}, "are not a JSON object"),
        ({"function": {"name": "f", "arguments": "[" * 100_000}}, "it is nested too deep"),
        ({"function": {"name": "f", "arguments": nested(65)}}, "nested more than 64 deep"),
    ],
)
def test_a_call_of_another_shape_is_refused(call: Any, words: str) -> None:
    with pytest.raises(InputError) as refusal:
        messages.check([QUESTION, {"role": "assistant", "content": "x", "tool_calls": [call]}])
    assert words in str(refusal.value) and str(refusal.value).startswith("message 2: ")


def test_what_is_nested_as_deep_as_may_be_is_rendered(tokenizer: Tokenizer) -> None:
    tool = {"type": "function", "function": {"name": "f", "parameters": nested(64)}}
    assert chat.prompt(tokenizer, [QUESTION], [tool])


@pytest.mark.parametrize(
    "arguments",
    ['{"a": ' + "1" * 5000 + "}", '{"a": NaN}', '{"a": -1e999}', '{"a": ' * 65 + "1" + "}" * 65, '{"a": ' * 3000],
)
def test_a_call_that_json_cannot_hold_stays_what_the_model_says(arguments: str) -> None:
    text = f'<tool_call>\n{{"name": "f", "arguments": {arguments}}}\n</tool_call>'
    assert parse_answer(text) == {"role": "assistant", "content": text}


# --- weights, later system messages, calls without arguments ------------------------------------------------


def test_an_answer_of_weight_0_is_shown_and_not_learnt(tokenizer: Tokenizer) -> None:
    talk = [QUESTION, {"role": "assistant", "content": "Rain."}, QUESTION, {"role": "assistant", "content": "Sun."}]
    ids, mask = chat.encode(tokenizer, talk)
    weighed = [talk[0], talk[1] | {"weight": 0}, talk[2] | {"weight": 0}, talk[3] | {"weight": 1}]
    same, kept = chat.encode(tokenizer, weighed)
    assert same == ids
    assert tokenizer.decode([id for id, learnt in zip(ids, mask, strict=True) if learnt]).count("<|im_end|>") == 2
    assert tokenizer.decode([id for id, learnt in zip(ids, kept, strict=True) if learnt]) == "Sun.<|im_end|>"


def test_a_later_system_message_stands_where_it_is(tokenizer: Tokenizer) -> None:
    talk = [
        QUESTION,
        {"role": "assistant", "content": "Rain."},
        {"role": "developer", "content": "Be brief."},
        QUESTION,
    ]
    text = tokenizer.decode(chat.prompt(tokenizer, talk))
    assert "Rain.<|im_end|>\n<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user" in text


def test_a_call_with_empty_arguments_has_none(tokenizer: Tokenizer) -> None:
    calls = [{"function": {"name": "f", "arguments": given}} for given in ("", " ", "{}", {})]
    talks = [[QUESTION, {"role": "assistant", "content": None, "tool_calls": [call]}] for call in calls]
    assert len({tuple(chat.encode(tokenizer, talk)[0]) for talk in talks}) == 1
