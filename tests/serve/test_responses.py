"""The Responses API: answers are those of chat completions, events come in OpenAI's order and build up the response."""

import json

import httpx
import pytest

from tests.serve.serve_helpers import serving, small_service
from tests.serve.test_refusals import error

TOOL = {
    "type": "function",
    "name": "sort",
    "parameters": {"type": "object", "properties": {"bin": {"enum": ["one", "two"]}}, "required": ["bin"]},
}
NESTED = {"type": "function", "function": {key: TOOL[key] for key in ("name", "parameters")}}
CALLED = [
    {"role": "user", "content": "one"},
    {"type": "function_call", "id": "fc_1", "call_id": "a", "name": "sort", "arguments": '{"bin": "one"}'},
    {"type": "function_call", "id": "fc_2", "call_id": "b", "name": "sort", "arguments": "{}", "status": "completed"},
    {"type": "function_call_output", "call_id": "a", "output": "done"},
    {"type": "function_call_output", "call_id": "b", "output": [{"type": "input_text", "text": "done too"}]},
]


def respond(server, given="one two", **fields) -> httpx.Response:
    return server.post("/v1/responses", {"model": "small", "input": given, "max_output_tokens": 30} | fields)


def streamed(response: httpx.Response) -> list[dict]:
    """The events of a stream; each is named after its type, and they are numbered."""
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    lines = [line for line in response.text.splitlines() if line and not line.startswith(":")]
    names = [line.removeprefix("event: ") for line in lines[::2]]
    found = [json.loads(line.removeprefix("data: ")) for line in lines[1::2]]
    assert [event["type"] for event in found] == names
    assert [event["sequence_number"] for event in found] == list(range(len(found)))
    return found


def without_ids(response: dict) -> dict:
    output = [
        {key: value for key, value in item.items() if key not in ("id", "call_id")} for item in response["output"]
    ]
    return {key: value for key, value in response.items() if key not in ("id", "created_at", "usage")} | {
        "output": output
    }


def test_a_text_is_answered_as_a_chat_is(server):
    found = respond(server, seed=3, temperature=0.7, instructions="ten").json()
    messages = [{"role": "system", "content": "ten"}, {"role": "user", "content": "one two"}]
    chat = server.chat(messages=messages, seed=3, temperature=0.7, max_tokens=30).json()
    [item] = found["output"]
    [part] = item["content"]
    assert part == {"type": "output_text", "text": chat["choices"][0]["message"]["content"], "annotations": [],
                    "logprobs": []}  # fmt: skip
    ended = {"length": "incomplete", "stop": "completed"}[chat["choices"][0]["finish_reason"]]
    assert found["status"] == item["status"] == ended
    assert (found["object"], found["temperature"], found["seed"], found["store"]) == ("response", 0.7, 3, False)
    assert found["usage"]["input_tokens"] == chat["usage"]["prompt_tokens"]
    assert found["usage"]["output_tokens"] == chat["usage"]["completion_tokens"]
    assert found["usage"]["total_tokens"] == chat["usage"]["total_tokens"]


def test_an_answer_that_is_cut_off_says_why(server):
    found = respond(server, max_output_tokens=2, seed=1).json()
    assert (found["status"], found["incomplete_details"]) == ("incomplete", {"reason": "max_output_tokens"})


def test_items_are_the_messages_of_a_chat(server):
    calls = [
        {"type": "function", "id": name, "function": {"name": "sort", "arguments": arguments}}
        for name, arguments in (("a", '{"bin": "one"}'), ("b", "{}"))
    ]
    messages = [
        {"role": "user", "content": "one"},
        {"role": "assistant", "content": "", "tool_calls": calls},
        {"role": "tool", "tool_call_id": "a", "content": "done"},
        {"role": "tool", "tool_call_id": "b", "content": "done too"},
    ]
    chat = server.chat(messages=messages, tools=[NESTED], seed=4, max_tokens=20).json()
    found = respond(server, CALLED, tools=[TOOL], seed=4, max_output_tokens=20).json()
    assert found["usage"]["input_tokens"] == chat["usage"]["prompt_tokens"]
    assert found["output"][0]["content"][0]["text"] == (chat["choices"][0]["message"]["content"] or "")


def test_an_answer_can_be_sent_back_as_it_came(server):
    first = respond(server, "one", tools=[TOOL], tool_choice="required", parallel_tool_calls=False,
                    max_output_tokens=200).json()  # fmt: skip
    results = [{"type": "function_call_output", "call_id": first["output"][0]["call_id"], "output": "done"}]
    again = respond(server, [{"role": "user", "content": "one"}, *first["output"], *results], tools=[TOOL])
    assert again.status_code == 200
    second = [{"role": "user", "content": "one"}, *again.json()["output"], {"role": "user", "content": "two"}]
    assert respond(server, second).status_code == 200


def test_a_stream_of_text_has_its_events_in_order_and_ends_in_the_response(server):
    fields = {"seed": 5, "max_output_tokens": 8}
    events = streamed(respond(server, stream=True, **fields))
    kinds = [event["type"].removeprefix("response.") for event in events]
    deltas = kinds.count("output_text.delta")
    assert deltas > 1
    assert kinds == [
        *("created", "in_progress", "output_item.added", "content_part.added"),
        *["output_text.delta"] * deltas,
        *("output_text.done", "content_part.done", "output_item.done"),
        "completed" if events[-1]["response"]["status"] == "completed" else "incomplete",
    ]
    text = "".join(event["delta"] for event in events if event["type"].endswith("text.delta"))
    [done] = [event["text"] for event in events if event["type"].endswith("text.done")]
    assert text == done == events[-1]["response"]["output"][0]["content"][0]["text"]
    assert without_ids(events[-1]["response"]) == without_ids(respond(server, **fields).json())
    assert len({event["response"]["id"] for event in events if "response" in event}) == 1


def test_a_stream_of_calls_has_its_events_in_order_and_ends_in_the_response(server):
    fields = {"tools": [TOOL], "tool_choice": {"type": "function", "name": "sort"}, "seed": 2, "max_output_tokens": 200}
    events = streamed(respond(server, stream=True, **fields))
    assert [event["type"].removeprefix("response.") for event in events] == [
        *("created", "in_progress", "output_item.added"),
        *("function_call_arguments.delta", "function_call_arguments.done", "output_item.done", "completed"),
    ]
    [call] = events[-1]["response"]["output"]
    assert (call["type"], call["name"], call["status"]) == ("function_call", "sort", "completed")
    assert json.loads(call["arguments"])["bin"] in ("one", "two")
    assert events[4]["arguments"] == call["arguments"]
    assert without_ids(events[-1]["response"]) == without_ids(respond(server, **fields).json())


def test_a_format_binds_the_text(server):
    form = {"type": "json_schema", "name": "bin", "schema": {"enum": ["paper", "glass"]}, "strict": True}
    found = respond(server, text={"format": form, "verbosity": "low"}).json()
    assert json.loads(found["output"][0]["content"][0]["text"]) in ("paper", "glass")
    assert found["text"]["format"] == form


def test_what_changes_nothing_is_taken(server):
    harmless = {
        "store": False,
        "metadata": {"a": "b"},
        "user": "me",
        "safety_identifier": "me",
        "truncation": "disabled",
        "prompt_cache_key": "key",
        "service_tier": "auto",
        "reasoning": {"effort": "low", "summary": "auto"},
        "background": False,
        "include": ["reasoning.encrypted_content"],
        "previous_response_id": None,
        "stream_options": {"include_obfuscation": False},
        "max_tool_calls": 3,
        "tool_choice": "auto",
    }
    assert respond(server, max_output_tokens=1, **harmless).status_code == 200


@pytest.mark.parametrize(
    ("fields", "param", "words"),
    [
        ({"store": True}, "store", "nothing is stored here"),
        ({"previous_response_id": "resp_1"}, "previous_response_id", "send the whole conversation"),
        ({"conversation": "conv_1"}, "conversation", "not supported"),
        ({"background": True}, "background", "False"),
        ({"truncation": "auto"}, "truncation", "disabled"),
        ({"input": []}, "input", "a list of 0 items"),
        ({"input": 7}, "input", "is int"),
        ({"input": None}, "input", "missing"),
        ({"input": ["one"]}, "input[0]", "is str"),
        ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "input[0]", "send the item itself"),
        ({"input": [{"type": ["message"]}]}, "input[0]", "cannot be read"),
        ({"input": [{"role": "user", "content": "one", "mood": "good"}]}, "input[0]", "unknown key 'mood'"),
        ({"input": [{"role": "user", "content": [{"type": "input_file"}]}]}, "input[0].content[0]", "'input_file'"),
        ({"input": [{"role": "judge", "content": "one"}], "instructions": "a"}, "input", "input[0]: unknown role"),
        ({"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "data:image/png;base64,A"}]}],
          "instructions": "a"}, "input[0].content[0]", "input[0].content[0]: the model has no vision encoder"),
        ({"input": CALLED[3:]}, "input", "input[0]: a tool's result without a call"),
        ({"input": "7" * 1100}, "input", "1024"),
        ({"text": {"format": {"type": "json_schema"}}}, "text.format", "needs a name and a schema"),
        ({"text": {"format": {"type": "json_schema", "name": "a", "schema": {"type": "x"}}}}, "text.format", "cannot"),
        ({"tools": [{"type": "web_search"}]}, "tools.0.type", "'function'"),
        ({"tools": [TOOL, TOOL]}, "tools", "two tools of the name sort"),
        ({"tool_choice": "required"}, "tool_choice", "no tools"),
        ({"n": 2}, "n", "not supported"),
    ],
    ids=lambda value: str(value)[:50],
)  # fmt: skip
def test_what_cannot_be_had_is_refused_in_the_words_of_the_request(server, fields, param, words):
    found = error(respond(server, **fields), 400)
    assert (found["param"], found["type"]) == (param, "invalid_request_error")
    assert words in found["message"]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_failure_in_a_stream_is_an_event_and_tells_nothing_of_the_inside(tokenizer, page, monkeypatch):
    service = small_service(tokenizer)
    monkeypatch.setattr(service.engine.model, "logits", lambda states: {}["secret place"])
    with serving(service, page) as server:
        response = respond(server, stream=True)
        events = streamed(response)
    assert "secret" not in response.text
    assert [event["type"] for event in events[-2:]] == ["error", "response.failed"]
    assert events[-2]["code"] == events[-1]["response"]["error"]["code"] == "internal_error"
    assert events[-1]["response"]["status"] == "failed"
