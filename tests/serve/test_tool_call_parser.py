"""Calls told from parser while an answer comes: together what parse_answer makes of the whole."""

from hypothesis import given, settings
from hypothesis import strategies as st

from groundup.codecs.answers import AnswerParser, parse_answer

CALL = '<tool_call>\n{"name": "f", "arguments": {"x": "</tool_call>"}}\n</tool_call>'
PARTS = st.sampled_from(
    [
        CALL,
        "<tool_call>",
        "</tool_call>",
        "<think>",
        "</think>",
        " ",
        "\n",
        "one",
        "<",
        ">",
        "<tool",
        '{"name": "f", "arguments": {}}',
        '"',
        "{",
        "é",
    ]
)


def heard(pieces: list[str]) -> dict:
    parser = AnswerParser()
    found = [*map(parser.feed, pieces), parser.close()]
    calls = [call for _, calls in found for call in calls]
    return {"role": "assistant", "content": "".join(said for said, _ in found)} | (
        {"tool_calls": calls} if calls else {}
    )


@settings(max_examples=600, deadline=None)
@given(parts=st.lists(PARTS, max_size=8), data=st.data())
def test_pieces_add_up_to_the_whole(parts, data):
    text = "".join(parts)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=12)))
    pieces = [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    assert heard(pieces) == parse_answer(text)
    assert heard([*text]) == parse_answer(text)


def test_speech_is_not_held_back_longer_than_it_must():
    parser = AnswerParser()
    assert parser.feed("one ") == ("one", [])
    assert parser.feed("two <tool") == (" two", [])
    assert parser.feed("box") == (" <toolbox", [])
    assert parser.feed("<tool_call>") == ("", [])
    assert parser.feed('\n{"name": "f", "arguments": {}}') == ("", [])
    assert parser.feed("\n</tool_call>")[1][0]["function"] == {"name": "f", "arguments": "{}"}


def test_a_thought_is_said_as_it_comes():
    parser = AnswerParser()
    assert [parser.feed(text)[0] for text in ("<thi", "nk>one", "<tool_call></tool_call>")] == [
        "",
        "<think>one",
        "<tool_call></tool_call>",
    ]
