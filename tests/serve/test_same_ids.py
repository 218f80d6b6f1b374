"""A prompt gets the ids that training gave the same text: in chat, in every endpoint, in the terminal and in
evaluation.
"""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from groundup.codecs import chat, messages
from groundup.codecs.normal import normalise
from groundup.codecs.text import Tokenizer
from groundup.data.clean import clean
from groundup.data.document import Document
from groundup.data.filtered import Filtered
from groundup.data.sources.messages import MessagesSource
from groundup.data.sources.text import TextSource
from groundup.evaluate.questions import read
from groundup.evaluate.suites.bits_per_byte import bits_per_byte
from groundup.generate.conversation import Conversation
from groundup.generate.engine import Engine
from groundup.generate.sampling import GREEDY
from groundup.serve import chat as serving
from groundup.serve import prompts
from groundup.serve.body import parse
from groundup.serve.schema import ChatRequest, CompletionRequest, Function, Tool
from tests.random_models import random_model

quick = settings(deadline=None, derandomize=True, max_examples=60)
DIRT = [
    "\r",
    "\r\n",
    "\n",
    "\x00",
    "\x07",
    "\x85",
    "\ufeff",
    "\u0301",
    "\u2028",
    "\ue000",
    "e",
    "é",
    "=\u0338",
    "<|im_end|>",
    "<|im_\x00start|>",
    " two",
]
dirty = st.one_of(st.text(max_size=20), st.lists(st.sampled_from(DIRT), max_size=12).map("".join))
spoken = dirty.filter(lambda text: bool(normalise(text).strip()))


def entry(tokenizer: Tokenizer) -> Any:
    """As much of a served model as prompts are made with."""
    return SimpleNamespace(service=SimpleNamespace(tokenizer=tokenizer), context=1 << 20)


def trained(folder: Path, line: dict[str, Any], tokenizer: Tokenizer) -> list[int]:
    """The ids that training sees of a line of conversations."""
    (folder / "a.jsonl").write_text(json.dumps(line) + "\n", encoding="utf-8")
    source = MessagesSource(name="talks", kind="messages", path="a.jsonl", licence="CC0-1.0")
    [document] = clean(source.read(folder, Filtered()), source, Filtered())
    return chat.encode(tokenizer, document.messages or [], document.tools)[0]


def of_text(text: str) -> str:
    """What training sees of a text."""
    source = TextSource(name="notes", kind="text", path="x", licence="CC0-1.0")
    cleaned = list(clean(iter([Document("notes", "x", "CC0-1.0", text=text)]), source, Filtered()))
    return str(cleaned[0].text) if cleaned else ""


@st.composite
def lines(draw: Any) -> dict[str, Any]:
    """A line of conversations as it may stand in a file or a request, its last message an answer."""
    parameters = {"type": "object", "properties": {draw(dirty): {"type": "string", "default": None}}}
    function = {
        "strict": draw(st.booleans()),
        "parameters": draw(st.sampled_from([None, parameters])),
        "description": draw(st.none() | dirty),
        "name": "f",
    }
    content = draw(st.lists(dirty, max_size=3))
    call = {
        "id": "1",
        "type": "function",
        "function": {"name": "f", "arguments": json.dumps({"a": draw(dirty)}, ensure_ascii=draw(st.booleans()))},
    }
    talk = [
        {"role": draw(st.sampled_from(["system", "developer"])), "content": draw(dirty)},
        {
            "role": "user",
            "content": [{"type": "text", "text": text} for text in content]
            if draw(st.booleans())
            else "".join(content),
        },
        {"role": "assistant", "content": draw(st.none() | dirty), "tool_calls": [call], "refusal": None},
        {"role": "tool", "content": draw(dirty), "tool_call_id": "1"},
        {"role": "assistant", "content": draw(spoken), "audio": None},
    ]
    tools = [{"function": function, "type": "function"}] if draw(st.booleans()) else None
    return {"messages": talk[draw(st.integers(0, 1)) :], "tools": tools}


@given(lines())
@quick
def test_a_chat_gets_the_ids_of_training(
    tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory, line: dict[str, Any]
) -> None:
    whole = trained(tmp_path_factory.getbasetemp(), line, tokenizer)
    body = {"model": "m", "tools": line["tools"], "messages": line["messages"][:-1]}
    ids = serving.requests(parse(ChatRequest, json.dumps(body).encode()), entry(tokenizer), 1.0)[0].prompt
    assert list(ids) == whole[: len(ids)]
    assert tokenizer.decode(whole[len(ids) :]) == normalise(line["messages"][-1]["content"]).strip() + "<|im_end|>\n"


@given(dirty)
@example("cafe\u0301\r\nbar")
@quick
def test_a_completion_and_an_embedding_get_the_ids_of_training(tokenizer: Tokenizer, text: str) -> None:
    normal = of_text(text)
    if normal:
        found = prompts.parse_prompt(entry(tokenizer), text, "prompt")
        assert (found.ids, found.text) == (tokenizer.encode(normal), normal)


@given(st.lists(dirty, min_size=1, max_size=2), dirty)
@settings(deadline=None, derandomize=True, max_examples=20)
def test_the_terminal_asks_with_the_ids_of_training(tokenizer: Tokenizer, questions: list[str], system: str) -> None:
    payload: list[list[int]] = []

    def stream(prompt: list[int], *_: Any) -> Any:
        payload.append(prompt)
        return iter(tokenizer.encode(" two"))

    talk = Conversation(SimpleNamespace(tokenizer=tokenizer, stream=stream), system, GREEDY, 8)  # type: ignore[arg-type]
    for question in questions:
        "".join(talk.answer(question))
    written = [{"role": "system", "content": normalise(system)}]
    for question, prompt in zip(questions, payload, strict=True):
        written.append({"role": "user", "content": normalise(question)})
        assert prompt == chat.prompt(tokenizer, written)
        written.append({"role": "assistant", "content": "two"})


def test_questions_of_evaluation_come_in_normal_form_and_so_do_their_bytes(tmp_path: Path) -> None:
    (tmp_path / "q.jsonl").write_text(
        json.dumps({"question": "cafe\u0301\r\n?", "choices": ["e\u0301\x07", "no"], "answer": 0})
    )
    [question] = read(tmp_path / "q.jsonl")
    assert (question.text, question.choices) == ("caf\u00e9\n?", ("\u00e9", "no"))


def test_bits_are_those_of_the_normal_form_by_its_bytes(tokenizer: Tokenizer) -> None:
    engine = Engine(random_model(vocab=290), tokenizer)
    assert bits_per_byte(engine, ["one\r\ntwo e\u0301\x00", "\x07"]) == bits_per_byte(engine, ["one\ntwo \u00e9"])


# --- over the wire ----------------------------------------------------------------------------------------------


def test_a_dirty_prompt_is_answered_as_a_clean_one_and_its_echo_is_clean(server: Any) -> None:
    fields = {"echo": True, "logprobs": 0, "temperature": 0, "max_tokens": 4}
    dirty, clean = (
        server.complete(text, **fields).json() for text in ("one\r\n\x07two e\u0301 \u2028", "one\ntwo \u00e9 \u2028")
    )
    assert dirty["choices"] == clean["choices"] and dirty["usage"] == clean["usage"]
    choice = clean["choices"][0]
    assert choice["text"].startswith("one\ntwo \u00e9 \u2028")
    offsets = choice["logprobs"]["text_offset"]
    assert offsets == sorted(offsets) and offsets[-1] <= len(choice["text"])


def test_a_dirty_chat_and_embedding_are_those_of_clean_ones(server: Any) -> None:
    fields = {"temperature": 0, "max_tokens": 4}
    answers = [server.chat(text, **fields).json() for text in ("\ufeffone\rtwo e\u0301", "one\ntwo \u00e9")]
    assert (
        answers[0]["choices"] == answers[1]["choices"]
        and answers[0]["usage"]["prompt_tokens"] == answers[1]["usage"]["prompt_tokens"]
    )
    found = [
        server.post("/v1/embeddings", {"model": "small", "input": text}).json()["data"]
        for text in ("e\u0301\r", "\u00e9\n")
    ]
    assert found[0] == found[1]


def test_nothing_but_control_characters_is_an_empty_prompt(server: Any) -> None:
    answer = server.complete("\x00\x07\ufeff")
    assert (answer.status_code, "is empty" in answer.json()["error"]["message"]) == (400, True)


def test_a_stop_ends_an_answer_in_its_normal_form_too() -> None:
    payload = CompletionRequest(model="m", prompt="x", stop=["e\u0301\r\n", "ok", "\x07"])
    assert prompts.stop_texts(payload) == ("e\u0301\r\n", "ok", "\x07", "\u00e9\n")


def test_tools_of_a_request_and_of_a_line_have_the_same_keys() -> None:
    assert (set(Tool.model_fields), set(Function.model_fields)) == (set(messages.TOOL), set(messages.FUNCTION))


def test_a_message_that_says_more_than_is_used_is_refused_by_name(server: Any) -> None:
    body = {
        "model": "small",
        "messages": [{"role": "user", "content": [{"type": "text", "text": "x", "cache_control": {"a": 1}}]}],
    }
    answer = server.post("/v1/chat/completions", body)
    assert answer.status_code == 400
    assert "message 1: unknown key 'cache_control' in a part of type text" in answer.json()["error"]["message"]
