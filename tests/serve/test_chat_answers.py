"""Chat completions: what is payload for is done, alike in one and streamed, and is what the engine says."""

import json
import re
import threading
from pathlib import Path

import pytest

from groundup.codecs import chat
from groundup.generate.request import Request
from groundup.generate.sampling import Sampling
from groundup.serve.serving import Limits
from groundup.serve.stream import sse_event
from tests.generate.generate_helpers import ask
from tests.serve.serve_helpers import Server, events, serving, small_engine, small_service, until

SCHEMA = {
    "type": "object",
    "properties": {"bin": {"enum": ["one", "two"]}, "sure": {"type": "boolean"}},
    "required": ["bin", "sure"],
    "additionalProperties": False,
}
SORT = {"type": "function", "function": {"name": "sort", "description": "Put it away.", "parameters": SCHEMA}}
STOP = {"type": "function", "function": {"name": "stop"}}


def streamed(server: Server, **fields) -> dict:
    """What the chunks of a stream add up to, in the form of an answer in one."""
    chunks = events(server.chat(stream=True, **fields).text)
    choices: dict[int, dict] = {}
    for chunk in chunks:
        for part in chunk["choices"]:
            choice = choices.setdefault(
                part["index"], {"content": "", "calls": [], "logprobs": [], "finish_reason": None, "roles": []}
            )
            assert choice["finish_reason"] is None
            choice["content"] += part["delta"].get("content", "")
            choice["roles"] += [part["delta"]["role"]] if "role" in part["delta"] else []
            choice["calls"] += part["delta"].get("tool_calls", [])
            choice["logprobs"] += (part["logprobs"] or {"content": []})["content"]
            choice["finish_reason"] = part["finish_reason"]
    assert all(choice["roles"] == ["assistant"] for choice in choices.values())
    return choices


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"n": 3, "max_tokens": 20},
        {"temperature": 0, "max_tokens": 12},
        {"logprobs": True, "top_logprobs": 3, "max_completion_tokens": 15, "n": 2},
        {"stop": [" ", "e"]},
        {"tools": [SORT, STOP], "tool_choice": "required", "parallel_tool_calls": False, "n": 4},
        {"tools": [SORT], "max_tokens": 40, "logprobs": True},
        {"response_format": {"type": "json_object"}, "max_tokens": 30},
    ],
    ids=lambda fields: "-".join(fields) or "plain",
)
def test_a_stream_adds_up_to_the_answer_in_one(server, fields):
    fields = {"seed": 5, "max_tokens": 60} | fields
    if "max_completion_tokens" in fields:
        del fields["max_tokens"]
    whole, parts = server.chat(**fields).json()["choices"], streamed(server, **fields)
    assert len(whole) == len(parts) == fields.get("n", 1)
    for choice in whole:
        part = parts[choice["index"]]
        assert part["content"] == (choice["message"]["content"] or "")
        assert part["finish_reason"] == choice["finish_reason"]
        assert part["logprobs"] == (choice["logprobs"] or {"content": []})["content"]
        called = choice["message"].get("tool_calls", [])
        assert [call["function"] for call in part["calls"]] == [call["function"] for call in called]
        assert [call["index"] for call in part["calls"]] == [*range(len(called))]


def test_the_answer_is_that_of_the_engine(server, tokenizer):
    answer = server.chat(seed=3, temperature=0.7, top_p=0.9, max_tokens=20, logprobs=True, top_logprobs=2).json()
    engine = small_engine(tokenizer)
    prompt = chat.prompt(tokenizer, [{"role": "user", "content": "one two"}])
    heard = ask(engine, Request(prompt, 20, Sampling(temperature=0.7, top_p=0.9, seed=3), logprobs=2))[0]
    choice = answer["choices"][0]
    assert choice["message"]["content"] == heard.text
    assert [entry["logprob"] for entry in choice["logprobs"]["content"]] == [score.logprob for score in heard.logprobs]
    assert answer["usage"]["prompt_tokens"] == len(prompt)
    assert answer["usage"]["completion_tokens"] == len(heard.ids) == len(choice["logprobs"]["content"])
    for entry, score in zip(choice["logprobs"]["content"], heard.logprobs, strict=True):
        assert bytes(entry["bytes"]) == tokenizer.token_bytes(score.id)
        assert [bytes(top["bytes"]) for top in entry["top_logprobs"]] == [
            tokenizer.token_bytes(id) for id, _ in score.top
        ]


def test_the_same_seed_gives_the_same_answer_and_one_is_told(server):
    first = server.chat(max_tokens=20).json()
    again = server.chat(max_tokens=20, seed=first["seed"]).json()
    assert first["choices"] == again["choices"]
    assert server.chat(max_tokens=20).json()["seed"] != first["seed"]


def test_several_answers_differ_and_the_first_is_that_of_one(server):
    texts = [choice["message"]["content"] for choice in server.chat(n=4, seed=1, max_tokens=20).json()["choices"]]
    assert len(set(texts)) == 4
    assert server.chat(seed=1, max_tokens=20).json()["choices"][0]["message"]["content"] == texts[0]


def test_usage_counts_the_prompt_once_and_what_the_cache_held(server):
    words = "six seven eight nine ten " * 8
    first, second = (server.chat(words, n=3, max_tokens=5, temperature=0).json()["usage"] for _ in range(2))
    assert first["prompt_tokens"] == second["prompt_tokens"] > 40
    assert (
        first["prompt_tokens_details"]["cached_tokens"]
        < 32
        <= second["prompt_tokens_details"]["cached_tokens"]
        < first["prompt_tokens"]
    )
    assert first["total_tokens"] == first["prompt_tokens"] + first["completion_tokens"]


def test_a_stream_tells_usage_only_when_asked(server):
    chunks = events(server.chat(stream=True, max_tokens=4, temperature=0, stream_options={"include_usage": True}).text)
    assert chunks[-1]["choices"] == []
    counted = server.chat(max_tokens=4, temperature=0).json()["usage"]
    assert chunks[-1]["usage"]["total_tokens"] == counted["total_tokens"]
    assert chunks[-1]["usage"].keys() == counted.keys()
    assert all(chunk["usage"] is None for chunk in chunks[:-1])
    assert all("usage" not in chunk for chunk in events(server.chat(stream=True, max_tokens=4).text))


def test_bias_decides(server, tokenizer):
    [id] = tokenizer.encode("7")
    answer = server.chat(logit_bias={str(id): 100}, max_tokens=5).json()
    assert answer["choices"][0] == answer["choices"][0] | {"finish_reason": "length"}
    assert answer["choices"][0]["message"]["content"] == "7" * 5


def test_an_answer_ends_before_a_stop(server, tokenizer):
    [id] = tokenizer.encode("7")
    choice = server.chat(logit_bias={str(id): 100}, max_tokens=50, stop="777").json()["choices"][0]
    assert (choice["message"]["content"], choice["finish_reason"]) == ("", "stop")


def test_penalties_count(server, tokenizer):
    [id] = tokenizer.encode("7")
    fields = {"logit_bias": {str(id): 8}, "max_tokens": 12, "temperature": 0}
    assert server.chat(**fields).json()["choices"][0]["message"]["content"] == "7" * 12
    assert (
        server.chat(**fields, frequency_penalty=2, presence_penalty=2).json()["choices"][0]["message"]["content"]
        != "7" * 12
    )
    assert server.chat(**fields, repetition_penalty=5).json()["choices"][0]["message"]["content"] != "7" * 12


def test_a_developer_is_the_system(server):
    payload = [
        [{"role": role, "content": "one"}, {"role": "user", "content": "two"}] for role in ("system", "developer")
    ]
    answers = [
        server.post(
            "/v1/chat/completions", {"model": "small", "messages": each, "temperature": 0, "max_tokens": 9}
        ).json()
        for each in payload
    ]
    assert answers[0]["choices"] == answers[1]["choices"]


def test_what_clients_keep_of_earlier_turns_is_read(server):
    """Their answers come back with keys that say nothing, reasoning apart, and empty arguments of a call."""
    call = {"id": "a", "type": "function", "function": {"name": "stop", "arguments": ""}}
    plain = [
        {"role": "user", "content": "one"},
        {"role": "assistant", "content": "<think>\nso\n</think>\n\ntwo", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "a", "content": "done"},
        {"role": "system", "content": "three"},
        {"role": "user", "content": "four"},
    ]
    kept = {"refusal": None, "annotations": [], "audio": None, "function_call": None, "reasoning": ""}
    answer = {"role": "assistant", "content": "two", "reasoning_content": "so", "tool_calls": [call]} | kept
    fields = {"tools": [STOP], "seed": 1, "max_tokens": 8}
    usage = [
        server.chat(messages=messages, **fields).json()["usage"]["prompt_tokens"]
        for messages in (plain, [plain[0], answer, *plain[2:]])
    ]
    assert usage[0] == usage[1]
    first, second = (server.chat(messages=messages, **fields) for messages in (plain, [plain[0], answer, *plain[2:]]))
    assert first.json()["choices"] == second.json()["choices"]


def test_an_answer_without_a_limit_ends_with_the_context(server, tokenizer):
    never = {str(id): -100 for id in (tokenizer.im_end, tokenizer.end)}
    answer = server.chat(logit_bias=never).json()
    assert answer["choices"][0]["finish_reason"] == "length"
    assert answer["usage"]["total_tokens"] == 1024


# --- forms --------------------------------------------------------------------------------------------------


def test_a_schema_is_kept_to(server):
    form = {"type": "json_schema", "json_schema": {"name": "sorted", "schema": SCHEMA, "strict": True}}
    choices = server.chat(response_format=form, n=6, seed=1).json()["choices"]
    found = [json.loads(choice["message"]["content"]) for choice in choices]
    assert {choice["finish_reason"] for choice in choices} == {"stop"}
    assert all(value.keys() == {"bin", "sure"} and value["bin"] in ("one", "two") for value in found)
    assert len({str(value) for value in found}) > 1


def test_a_schema_with_references_is_kept_to(server):
    schema = {
        "type": "object",
        "properties": {"first": {"$ref": "#/$defs/bin"}},
        "required": ["first"],
        "additionalProperties": False,
        "$defs": {"bin": {"enum": ["one", "two"]}},
    }
    form = {"type": "json_schema", "json_schema": {"name": "sorted", "schema": schema}}
    assert json.loads(server.chat(response_format=form).json()["choices"][0]["message"]["content"])["first"] in (
        "one",
        "two",
    )
    tool = {"type": "function", "function": {"name": "sort", "parameters": schema}}
    [call] = server.chat(tools=[tool], tool_choice=parse_models("sort")).json()["choices"][0]["message"]["tool_calls"]
    assert json.loads(call["function"]["arguments"])["first"] in ("one", "two")


def test_a_pattern_and_a_grammar_are_kept_to(server):
    for form in (
        {"type": "regex", "pattern": "(one|two)( three){2}"},
        {"type": "grammar", "grammar": 'start: word " three" " three"\nword: "one" | "two"'},
    ):
        text = server.chat(response_format=form).json()["choices"][0]["message"]["content"]
        assert re.fullmatch("(one|two)( three){2}", text)


# --- tools --------------------------------------------------------------------------------------------------


def parse_models(name: str) -> dict:
    return {"type": "function", "function": {"name": name}}


def test_a_call_that_is_required_comes_and_fits_its_schema(server):
    choices = server.chat(tools=[SORT, STOP], tool_choice="required", parallel_tool_calls=False, n=8, seed=1).json()[
        "choices"
    ]
    assert {choice["finish_reason"] for choice in choices} == {"tool_calls"}
    assert {choice["message"]["content"] for choice in choices} == {None}
    calls = [call for choice in choices for call in choice["message"]["tool_calls"]]
    assert len({call["id"] for call in calls}) == len(calls) == 8
    assert {call["function"]["name"] for call in calls} == {"sort", "stop"}
    for call in calls:
        arguments = json.loads(call["function"]["arguments"])
        assert arguments.keys() == ({"bin", "sure"} if call["function"]["name"] == "sort" else set())


def test_a_function_gets_no_arguments_that_it_does_not_declare(server):
    open_ = {"type": "function", "function": {"name": "sort", "parameters": {"properties": SCHEMA["properties"]}}}
    for choice in server.chat(tools=[open_], tool_choice=parse_models("sort"), n=6).json()["choices"]:
        assert json.loads(choice["message"]["tool_calls"][0]["function"]["arguments"]).keys() <= {"bin", "sure"}


def test_a_call_that_is_named_comes_once(server):
    choices = server.chat(tools=[SORT, STOP], tool_choice=parse_models("stop"), n=4).json()["choices"]
    assert [[call["function"]["name"] for call in choice["message"]["tool_calls"]] for choice in choices] == [
        ["stop"]
    ] * 4


def test_several_calls_may_come_where_that_is_wanted(server, tokenizer):
    [line] = tokenizer.encode("\n")
    message = server.chat(tools=[STOP], tool_choice="required", logit_bias={str(line): 50}, max_tokens=200).json()[
        "choices"
    ][0]["message"]
    assert len(message["tool_calls"]) > 1


def test_a_strict_function_is_called_by_its_schema_where_calling_is_free(server, tokenizer):
    strict = {"type": "function", "function": SORT["function"] | {"strict": True}}
    call = {str(tokenizer.special("<tool_call>")): 100}
    choice = server.chat(tools=[strict], logit_bias=call, parallel_tool_calls=False).json()["choices"][0]
    assert choice["finish_reason"] == "tool_calls"
    assert json.loads(choice["message"]["tool_calls"][0]["function"]["arguments"]).keys() == {"bin", "sure"}
    never = {str(tokenizer.special("<tool_call>")): -100}
    assert (
        "tool_calls" not in server.chat(tools=[strict], logit_bias=never, max_tokens=20).json()["choices"][0]["message"]
    )


def test_json_or_a_call_where_both_are_allowed(server, tokenizer):
    form = {"type": "json_schema", "json_schema": {"name": "sorted", "schema": SCHEMA}}
    for bias in (100, -100):
        fields = {"logit_bias": {str(tokenizer.special("<tool_call>")): bias}, "parallel_tool_calls": False}
        message = server.chat(tools=[STOP], response_format=form, **fields).json()["choices"][0]["message"]
        if bias > 0:
            assert message["tool_calls"][0]["function"]["name"] == "stop"
        else:
            assert json.loads(message["content"]).keys() == {"bin", "sure"}


def test_tools_that_must_not_be_called_are_not_shown(server):
    plain, with_tools = (
        server.chat(max_tokens=5, temperature=0, **fields).json()
        for fields in ({}, {"tools": [SORT], "tool_choice": "none"})
    )
    assert plain["usage"]["prompt_tokens"] == with_tools["usage"]["prompt_tokens"]
    assert plain["choices"] == with_tools["choices"]


def test_a_conversation_with_a_result_goes_on(server):
    called = server.chat(tools=[SORT], tool_choice="required", parallel_tool_calls=False).json()["choices"][0][
        "message"
    ]
    result = {"role": "tool", "tool_call_id": called["tool_calls"][0]["id"], "content": "done"}
    messages = [{"role": "user", "content": "one"}, called, result]
    answer = server.post(
        "/v1/chat/completions", {"model": "small", "messages": messages, "tools": [SORT], "max_tokens": 5}
    )
    assert answer.status_code == 200


# --- time ---------------------------------------------------------------------------------------------------


def test_a_stream_shows_signs_of_life(server, tokenizer, page: Path):
    service, go = small_service(tokenizer), threading.Event()
    service._enqueue(lambda: go.wait(60))
    with serving(service, page, Limits(heartbeat=0.05)) as slow:
        timer = threading.Timer(0.3, go.set)
        timer.start()
        text = slow.chat(stream=True, max_tokens=3).text
        timer.join()
    service.close(0)
    assert ": still here\n\n" in text
    assert len(events(text)) >= 2


def test_an_event_is_one_line_whatever_it_says():
    value = {"said": "".join(map(chr, [*range(0x100), 0x2028, 0x2029, 0x732B])), "more": "\r\n"}
    text = sse_event(value)
    assert text.splitlines() == [text.strip(), ""]
    assert json.loads(text.removeprefix("data: ")) == value
    assert "\u732b" in text


def test_what_came_is_recorded(server):
    usage = server.chat(max_tokens=7, n=2).json()["usage"]
    until(lambda: server.records and server.records[-1].generated_tokens == usage["completion_tokens"])
    record = server.records[-1]
    assert (record.model, record.prompt_tokens) == ("small", usage["prompt_tokens"])
    assert record.finish in ("stop", "length")
    assert 0 < record.first_token_seconds < 30
    assert 0 < len(record.token_gaps) <= 14
