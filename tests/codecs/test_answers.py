"""Tool calls and reasoning in the formats of open-weights families: chosen by the template, read back as written."""

import json
from pathlib import Path
from typing import Any

import pytest

from groundup.codecs import chat
from groundup.codecs.answers import AnswerParser, message_of, parse_answer, parser_of
from groundup.codecs.call_format import of_template
from groundup.codecs.foreign import ForeignTokenizer
from groundup.codecs.messages import Message
from groundup.codecs.text import CHAT_TEMPLATE, Tokenizer
from groundup.core.tables import CALL_FORMATS
from tests.codecs import foreign_samples
from tests.codecs.chat_templates import CHATML, GEMMA3, LLAMA3, MISTRAL, QWEN3
from tests.codecs.test_foreign_chat import CALL, TOOLS

FORMS = [("hermes", "qwen", QWEN3), ("llama", "llama3", LLAMA3), ("mistral", "tekken", MISTRAL)]


def load(folder: Path, form: str, template: str) -> ForeignTokenizer:
    found = Tokenizer.load(foreign_samples.write(folder, form, template))
    assert isinstance(found, ForeignTokenizer)
    return found


def streamed(parser: AnswerParser, text: str) -> Message:
    """A message of an answer that comes character by character."""
    found = [*map(parser.feed, text), parser.close()]
    calls = [call for _, each in found for call in each]
    return {"role": "assistant", "content": "".join(said for said, _ in found)} | (
        {"tool_calls": calls} if calls else {}
    )


def called(name: str, **arguments: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "arguments": json.dumps(arguments, ensure_ascii=False)}}


@pytest.mark.parametrize(("name", "template"), [(name, template) for name, _, template in FORMS])
def test_the_template_tells_the_format(name: str, template: str) -> None:
    assert of_template(template) is CALL_FORMATS[name]


@pytest.mark.parametrize("template", [CHATML, GEMMA3, "<tool_call>\n<function=NAME>"])
def test_a_template_without_a_known_format_has_none(template: str) -> None:
    assert of_template(template) is None


def test_our_template_writes_the_format_of_hermes() -> None:
    assert of_template(CHAT_TEMPLATE.read_text(encoding="utf-8")) is CALL_FORMATS["hermes"]


@pytest.mark.parametrize(("name", "form", "template"), FORMS)
def test_a_call_that_the_template_writes_is_read_back(name: str, form: str, template: str, tmp_path: Path) -> None:
    tokenizer = load(tmp_path, form, template)
    messages = [*CALL[:2]]
    ids, mask = chat.encode(tokenizer, messages, TOOLS)
    text = tokenizer.decode(id for id, kept in zip(ids, mask, strict=True) if kept and id not in tokenizer.ends)
    message = parse_answer(text, tokenizer.calls)
    assert message["tool_calls"] == [called("weather", city="Wien")], text
    assert message == streamed(AnswerParser(tokenizer.calls), text)


ANSWERS = [
    ("llama", '{"name": "f", "parameters": {"a": {"b": 1}}}', [called("f", a={"b": 1})], ""),
    ("llama", '<|python_tag|>{"name": "f", "parameters": {}}', [called("f")], ""),
    ("llama", 'It is {"name": "f", "parameters": {}}', [], 'It is {"name": "f", "parameters": {}}'),
    ("llama", '{"a": 1}', [], '{"a": 1}'),
    ("llama", '{"name": "f", "parameters"', [], '{"name": "f", "parameters"'),
    ("mistral", '[TOOL_CALLS] [{"name": "f", "arguments": {"a": "]"}, "id": "x"}]', [called("f", a="]")], ""),
    ("mistral", 'Yes.[TOOL_CALLS][{"name": "f", "arguments": {}}, {"name": "g", "arguments": {}}]',
     [called("f"), called("g")], "Yes."),
    ("mistral", '[TOOL_CALLS][{"name": "f"}]', [], '[TOOL_CALLS][{"name": "f"}]'),
    ("hermes", '<tool_call>{"name": "f", "arguments": {}}</tool_call>', [called("f")], ""),
]  # fmt: skip


@pytest.mark.parametrize(("name", "text", "calls", "content"), ANSWERS, ids=range(len(ANSWERS)))
def test_calls_are_read_at_once_and_as_they_come(name: str, text: str, calls: list[Any], content: str) -> None:
    wanted = {"role": "assistant", "content": content} | ({"tool_calls": calls} if calls else {})
    assert parse_answer(text, CALL_FORMATS[name]) == wanted
    assert streamed(AnswerParser(CALL_FORMATS[name]), text) == wanted


def test_reasoning_stands_apart_where_the_template_has_it_so(tmp_path: Path) -> None:
    tokenizer = load(tmp_path, "qwen", QWEN3)
    text = '<think>\ntwo and\n</think>\n\nFour.\n<tool_call>{"name": "f", "arguments": {}}</tool_call>'
    wanted = {"role": "assistant", "content": "Four.", "reasoning_content": "two and", "tool_calls": [called("f")]}
    assert message_of(tokenizer, text, True) == wanted
    parser = parser_of(tokenizer, True)
    assert parser is not None
    thought = ""
    for piece in text:
        parser.feed(piece)
        thought += parser.reasoning()
    assert thought == "two and"


def test_reasoning_that_the_prompt_has_opened_is_no_text(tmp_path: Path) -> None:
    tokenizer = load(tmp_path, "qwen", QWEN3.removesuffix("{%- endif %}") + "{{ '<think>\\n' }}{%- endif %}")
    assert tokenizer.opens_thought
    found = message_of(tokenizer, "so\n</think>\n\nFour.", False)
    assert found == {"role": "assistant", "content": "Four.", "reasoning_content": "so"}


def test_an_answer_without_calls_and_reasoning_is_its_text(tmp_path: Path) -> None:
    tokenizer = load(tmp_path, "gemma", GEMMA3)
    assert parser_of(tokenizer, True) is None
    assert message_of(tokenizer, " a <tool_call> ", True)["content"] == " a <tool_call> "
