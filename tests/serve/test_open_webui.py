"""The requests of Open WebUI, in the shape in which its backend sends them on to an OpenAI connection."""

import json

import pytest

from tests.serve.serve_helpers import events

HEADERS = {"Authorization": "Bearer", "Content-Type": "application/json", "X-OpenWebUI-User-Name": "ann"}
METADATA = {
    "user_id": "7", "chat_id": "c", "message_id": "m", "session_id": "s", "tool_ids": None, "tool_servers": [],
    "files": [{"type": "file", "id": "f", "name": "notes.txt"}], "features": {"web_search": False}, "variables": {},
    "model": {"id": "small"}, "direct": False, "filter_ids": [],
}  # fmt: skip
TITLE = {
    "type": "json_schema",
    "json_schema": {
        "name": "title",
        "strict": True,
        "schema": {
            "type": "object",
            "properties": {"title": {"enum": ["One", "Two"]}},
            "required": ["title"],
            "additionalProperties": False,
        },
    },
}


def post(server, body):
    return server.client.post(server.url + "/v1/chat/completions", content=json.dumps(body), headers=HEADERS)


def test_it_finds_the_models_with_an_empty_key(server):
    found = server.client.get(server.url + "/v1/models", headers=HEADERS).json()
    assert [model["id"] for model in found["data"]] == ["small"]
    assert server.client.get(server.url + "/v1/models/", headers=HEADERS).status_code == 404


def test_it_streams_a_chat_and_counts_its_tokens(server):
    messages = [
        {"role": "system", "content": "ten"},
        {"role": "user", "content": [{"type": "text", "text": "one"}]},
        {"role": "assistant", "content": "two", "tool_calls": None, "annotations": [], "refusal": None},
        {"role": "user", "content": "three"},
    ]
    options = {"temperature": 0.8, "top_p": 0.9, "frequency_penalty": 0, "seed": 1, "stop": [], "logit_bias": {},
               "reasoning_effort": "medium", "max_tokens": 12}  # fmt: skip
    body = {"stream": True, "model": "small", "messages": messages, "stream_options": {"include_usage": True}} | options
    chunks = events(post(server, body | {"metadata": METADATA}).text)
    assert all(chunk["object"] == "chat.completion.chunk" for chunk in chunks)
    assert chunks[-2]["choices"][0]["finish_reason"] in ("stop", "length")
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"]["completion_tokens"] > 0


@pytest.mark.parametrize("limit", ["max_tokens", "max_completion_tokens"])
@pytest.mark.parametrize("form", [{}, {"response_format": TITLE}])
def test_it_lets_a_title_be_written(server, limit, form):
    question = {"role": "user", "content": "### Task:\nGenerate a concise title.\n<chat_history>\none\n</chat_history>"}
    body = {"model": "small", "messages": [question], "stream": False, limit: 50}
    answer = post(server, body | form | {"metadata": METADATA | {"task": "title_generation", "task_body": {"a": []}}})
    text = answer.json()["choices"][0]["message"]["content"]
    assert json.loads(text)["title"] in ("One", "Two") if form else isinstance(text, str)


def test_it_shows_a_refusal_in_one_sentence(server):
    part = {"type": "file", "file": {"filename": "notes.pdf", "file_data": "data:application/pdf;base64,"}}
    found = post(server, {"model": "small", "messages": [{"role": "user", "content": [part]}], "stream": True})
    assert found.status_code == 400
    assert "a content part of type 'file'" in found.json()["error"]["message"]
