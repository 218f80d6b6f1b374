"""A server of a model of another project: its template, its stop ids, its tool calls, and what it cannot do."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from groundup.codecs.text import Tokenizer
from tests.codecs import foreign_samples
from tests.codecs.chat_templates import GEMMA3, LLAMA3, MISTRAL, QWEN3
from tests.serve.serve_helpers import Server, events, serving, small_service

SCHEMA = {"type": "object", "properties": {"bin": {"enum": ["one", "two"]}}, "required": ["bin"]}
SORT = {"type": "function", "function": {"name": "sort", "parameters": SCHEMA}}
FORMS = {"qwen": QWEN3, "llama3": LLAMA3, "tekken": MISTRAL, "mistral": MISTRAL, "gemma": GEMMA3}


@pytest.fixture(scope="module", params=sorted(FORMS))
def foreign(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Server]]:
    """The name of a tokenizer's form, and a server of a model with it."""
    folder = foreign_samples.write(tmp_path_factory.mktemp("foreign"), request.param, FORMS[request.param])
    tokenizer = Tokenizer.load(folder)
    with serving(small_service(tokenizer, vocab=tokenizer.size), Path(folder)) as server:
        yield request.param, server


def test_a_required_call_fits_its_schema_in_the_model_s_own_format(foreign: tuple[str, Server]) -> None:
    name, server = foreign
    fields = {"tools": [SORT], "tool_choice": "required", "parallel_tool_calls": False, "seed": 1, "max_tokens": 200}
    answer = server.chat(**fields)
    if name == "gemma":
        assert answer.status_code == 400 and "writes no tool calls that can be read" in answer.text
        return
    [choice] = answer.json()["choices"]
    [call] = choice["message"]["tool_calls"]
    assert choice["finish_reason"] == "tool_calls" and call["function"]["name"] == "sort"
    assert json.loads(call["function"]["arguments"])["bin"] in ("one", "two")
    deltas = [part["delta"] for chunk in events(server.chat(stream=True, **fields).text) for part in chunk["choices"]]
    [streamed] = [call for delta in deltas for call in delta.get("tool_calls", [])]
    assert streamed["function"] == call["function"]


def test_a_stream_adds_up_to_the_answer(foreign: tuple[str, Server]) -> None:
    _, server = foreign
    fields = {"seed": 3, "max_tokens": 30}
    message = server.chat(**fields).json()["choices"][0]["message"]
    deltas = [part["delta"] for chunk in events(server.chat(stream=True, **fields).text) for part in chunk["choices"]]
    for key in ("content", "reasoning_content"):
        assert "".join(delta.get(key) or "" for delta in deltas) == (message.get(key) or "")


def test_images_are_refused(foreign: tuple[str, Server]) -> None:
    _, server = foreign
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    answer = server.chat(messages=[{"role": "user", "content": [picture]}])
    assert answer.status_code == 400
