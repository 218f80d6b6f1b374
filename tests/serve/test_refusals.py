"""What is not supported or cannot be is refused, in OpenAI's shape, naming the field."""

import codecs
import gzip
import json
import threading
import zlib

import httpx
import pytest

from groundup.generate import grammar_worker
from tests.serve.serve_helpers import Model, events, serving, small_service

TOOL = {"type": "function", "function": {"name": "f"}}
USER = {"role": "user", "content": "one"}
IMAGE = {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]}
FORM = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "nothing known"}}}


def error(response: httpx.Response, status: int) -> dict:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    body = response.json()
    assert body.keys() == {"error"}
    assert body["error"].keys() == {"message", "type", "param", "code"}
    return body["error"]


@pytest.mark.parametrize(
    ("fields", "param", "words"),
    [
        ({"temprature": 1}, "temprature", "not supported"),
        ({"functions": []}, "functions", "not supported"),
        ({"audio": {}}, "audio", "not supported"),
        ({"modalities": ["text", "audio"]}, "modalities", "at most 1 item"),
        ({"modalities": ["audio"]}, "modalities.0", "'text'"),
        ({"reasoning_effort": "loud"}, "reasoning_effort", "'minimal'"),
        ({"prediction": {}}, "prediction", "not supported"),
        ({"web_search_options": {}}, "web_search_options", "not supported"),
        ({"verbosity": "loud"}, "verbosity", "'low'"),
        ({"store": True}, "store", "nothing is stored here"),
        ({"service_tier": "gold"}, "service_tier", "auto"),
        (
            {"stream_options": {"include_obfuscation": True}, "stream": True},
            "stream_options.include_obfuscation",
            "False",
        ),
        ({"stream_options": {"include_usage": True}}, "stream_options", "set stream"),
        ({"model": None}, "model", "missing"),
        ({"messages": None}, "messages", "missing"),
        ({"messages": []}, "messages", "at least 1"),
        ({"messages": ["one"]}, "messages.0", "object"),
        ({"messages": [USER] * 1025}, "messages", "1024"),
        ({"messages": [{"role": "judge", "content": "one"}]}, "messages", "unknown role 'judge'"),
        ({"messages": [USER | {"mood": "good"}]}, "messages", "unknown key 'mood'"),
        ({"messages": [IMAGE]}, "messages[0].content[0]", "no vision encoder"),
        ({"messages": [{"role": "user"}]}, "messages", "content is missing"),
        ({"messages": [USER | {"reasoning_content": "two"}]}, "messages", "unknown key 'reasoning_content'"),
        ({"messages": [{"role": "tool", "content": "one"}]}, "messages", "without a call"),
        ({"n": 0}, "n", "greater"),
        ({"n": 17}, "n", "16"),
        ({"n": "2"}, "n", "integer"),
        ({"n": True}, "n", "integer"),
        ({"n": 1.5}, "n", "integer"),
        ({"temperature": 2.1}, "temperature", "2"),
        ({"temperature": "hot"}, "temperature", "number"),
        ({"top_p": 0}, "top_p", "greater than 0"),
        ({"top_k": -1}, "top_k", "0"),
        ({"min_p": 1}, "min_p", "less than 1"),
        ({"repetition_penalty": 0}, "repetition_penalty", "0"),
        ({"presence_penalty": 3}, "presence_penalty", "2"),
        ({"frequency_penalty": -3}, "frequency_penalty", "-2"),
        ({"seed": 2**63}, "seed", "less than"),
        ({"max_tokens": 0}, "max_tokens", "1"),
        ({"max_tokens": 3, "max_completion_tokens": 4}, "max_tokens", "differ"),
        ({"stop": ["a", "b", "c", "d", "e"]}, "stop", "4"),
        ({"stop": ""}, "stop.0", "1 character"),
        ({"stop": ["a" * 257]}, "stop.0", "256"),
        ({"logit_bias": {"one": 1}}, "logit_bias", "'one'"),
        ({"logit_bias": {"290": 1}}, "logit_bias", "'290'"),
        ({"logit_bias": {"²": 1}}, "logit_bias", "'²'"),
        ({"logit_bias": {"1": 101}}, "logit_bias.1", "100"),
        ({"logit_bias": {str(id): 1 for id in range(1025)}}, "logit_bias", "object has 1025 fields; the most is 1024"),
        ({"metadata": {str(id): "a" for id in range(17)}}, "metadata", "the most is 16"),
        ({str(id): 1 for id in range(70)}, None, "the body: object has 72 fields"),
        ({"top_logprobs": 2}, "top_logprobs", "needs logprobs"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs", "20"),
        ({"response_format": {"type": "xml"}}, "response_format.type", "json_schema"),
        ({"response_format": {"type": "json_schema"}}, "response_format", "needs json_schema"),
        ({"response_format": {"type": "text", "pattern": "a"}}, "response_format", "no other field"),
        ({"response_format": {"type": "regex", "pattern": "("}}, "response_format", "cannot be used"),
        ({"response_format": {"type": "grammar", "grammar": "start: nothing"}}, "response_format", "cannot be used"),
        ({"response_format": FORM}, "response_format", "cannot be used"),
        (
            {"response_format": {"type": "regex", "pattern": "a"}, "tools": [TOOL]},
            "response_format",
            "together with tools",
        ),
        ({"tool_choice": "required"}, "tool_choice", "no tools"),
        ({"tools": [TOOL], "tool_choice": "perhaps"}, "tool_choice.type", "required"),
        (
            {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "g"}}},
            "tool_choice.function.name",
            "names g",
        ),
        ({"tools": [TOOL], "tool_choice": {"type": "function"}}, "tool_choice", "exactly"),
        ({"tools": [TOOL, TOOL]}, "tools", "two tools of the name f"),
        ({"tools": [{"type": "search"}]}, "tools.0.type", "function"),
        ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, "tools.0.function.name", "pattern"),
        (
            {
                "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "array"}}}],
                "tool_choice": "required",
            },
            "tools",
            "object",
        ),
    ],
    ids=lambda value: str(value)[:60],
)
def test_a_chat_that_cannot_be_had_is_refused(server, fields, param, words):
    found = error(server.chat(**fields), 400)
    assert found["type"] == "invalid_request_error"
    assert found["param"] == param
    assert words in found["message"]


@pytest.mark.parametrize(
    ("fields", "param", "words"),
    [
        ({"best_of": 2}, "best_of", "not supported"),
        ({"suffix": "!"}, "suffix", "not supported"),
        ({"max_tokens": 0}, "max_tokens", "set echo"),
        ({"max_tokens": -1}, "max_tokens", "0"),
        ({"logprobs": 21}, "logprobs", "20"),
        ({"logprobs": True}, "logprobs", "integer"),
        ({"prompt": None}, "prompt", "missing"),
        ({"prompt": ""}, "prompt", "at least one token"),
        ({"prompt": ["one", ""]}, "prompt", "at least one token"),
        ({"prompt": 7}, "prompt", "holds int"),
        ({"prompt": ["one", [1]], "n": 1, "top_k": -1}, "top_k", "0"),
        ({"prompt": [1.5]}, "prompt", "holds float"),
        ({"prompt": [290]}, "prompt", "no token with the id 290"),
        ({"prompt": ["one"] * 65}, "prompt", "65 items; the most is 64"),
        ({"prompt": ["one"] * 64, "n": 3}, "n", "192 answers; the most in one request is 128"),
    ],
    ids=lambda value: str(value)[:60],
)
def test_a_completion_that_cannot_be_had_is_refused(server, fields, param, words):
    found = error(server.complete(**fields), 400)
    assert found["param"] == param
    assert words in found["message"]


def test_what_changes_nothing_is_taken(server):
    fields = {
        "user": "me",
        "metadata": {"a": "b", "task": {"chat": 7}},
        "store": False,
        "parallel_tool_calls": True,
        "service_tier": "flex",
        "audio": None,
        "reasoning_effort": "minimal",
        "verbosity": "low",
        "modalities": ["text"],
        "safety_identifier": "me",
        "prompt_cache_key": "key",
        "prompt_cache_retention": "24h",
        "top_logprobs": 0,
        "tools": [],
        "stop": [],
    }
    assert server.chat(max_tokens=1, **fields).status_code == 200


@pytest.mark.parametrize("stream", [False, True])
def test_a_prompt_that_leaves_no_room_is_refused(server, stream):
    found = error(server.chat("7" * 1100, stream=stream), 400)
    assert (found["code"], found["param"]) == ("context_length_exceeded", "messages")
    found = error(server.complete([7] * 1024, stream=stream), 400)
    assert (found["code"], found["param"]) == ("context_length_exceeded", "prompt")
    assert "1024 tokens and the model's context 1024" in found["message"]
    assert server.complete([7] * 1023, max_tokens=1, stream=stream).status_code == 200


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions", "/v1/embeddings"])
def test_an_unknown_model_is_named_with_those_there_are(server, path):
    rest = {"messages": [USER]} if "chat" in path else {"input": "one"} if "embed" in path else {"prompt": "one"}
    found = error(server.post(path, {"model": "large"} | rest), 404)
    assert (found["code"], found["param"]) == ("model_not_found", "model")
    assert "'large'" in found["message"]
    assert "small" in found["message"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'"one"',
        b"null",
        b"{} {}",
        b'{"model": "small", "messages": [NaN]}',
        b"\xff\xfe",
        b'{"a":' * 100_000,
        b'{"a": "\\ud800"}',
    ],
    ids=lambda body: repr(body[:12]),
)
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/embeddings"])
def test_a_body_that_is_no_request_is_refused(server, path, body):
    error(server.client.post(server.url + path, content=body, headers={"content-type": "application/json"}), 400)


@pytest.mark.parametrize(
    "kind", [None, "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=a"]
)
def test_only_json_is_read(server, kind):
    headers = {} if kind is None else {"content-type": kind}
    body = json.dumps({"model": "small", "messages": [USER]}).encode()
    assert (
        "application/json"
        in error(server.client.post(server.url + "/v1/chat/completions", content=body, headers=headers), 415)["message"]
    )
    body_type = {"content-type": "application/json; charset=utf-8"}
    assert (
        server.client.post(server.url + "/v1/chat/completions", content=body, headers=body_type, timeout=60).status_code
        == 200
    )


def test_what_is_not_there_is_not_there(server):
    for path in (
        "/v2",
        "/v1",
        "/v1/responses/resp_1",
        "/docs",
        "/redoc",
        "/openapi.json",
        "/v1/models/",
        "/v1/models/large",
    ):
        assert error(server.client.get(server.url + path), 404)["type"] == "not_found_error"
    assert error(server.post("/v1/images", {}), 404)
    assert (
        error(server.client.get(server.url + "/v1/chat/completions"), 405)["message"]
        == "/v1/chat/completions does not answer to GET"
    )
    assert error(server.client.delete(server.url + "/v1/models"), 405)
    assert server.client.delete(server.url + "/v1/models").headers["allow"] == "GET"


def encoded(server, body: bytes, coding: str = "identity") -> httpx.Response:
    headers = {"content-type": "application/json", "content-encoding": coding}
    return server.client.post(server.url + "/v1/chat/completions", content=body, headers=headers)


BODY = json.dumps({"model": "small", "messages": [USER | {"content": "\u00e9"}], "max_tokens": 1}, ensure_ascii=False)
UTF8 = BODY.encode()


@pytest.mark.parametrize(
    ("body", "coding"),
    [
        (gzip.compress(UTF8, mtime=0), "gzip"),
        (gzip.compress(UTF8, mtime=0), "X-GZip"),
        (zlib.compress(UTF8), "deflate"),
        (codecs.BOM_UTF8 + UTF8, "identity"),
        (gzip.compress(codecs.BOM_UTF8 + UTF8, mtime=0), "gzip"),
    ],
)
def test_bodies_may_be_compressed_or_begin_with_a_mark(server, body, coding):
    assert encoded(server, body, coding).status_code == 200


@pytest.mark.parametrize(
    ("body", "coding", "status", "words"),
    [
        (UTF8, "br", 415, "Content-Encoding 'br'; send it as it is, or as one of gzip, x-gzip, deflate"),
        (UTF8, "gzip, gzip", 415, "Content-Encoding 'gzip, gzip'"),
        (UTF8, "gzip", 400, "is not gzip as its Content-Encoding says"),
        (gzip.compress(UTF8, mtime=0), "identity", 400, "is gzip; say so with Content-Encoding: gzip"),
        (b"\x28\xb5\x2f\xfd" + UTF8, "identity", 400, "is zstd; send it as it is, or as gzip"),
        (gzip.compress(UTF8, mtime=0)[:-9], "gzip", 400, "only a part of one gzip stream"),
        (gzip.compress(UTF8, mtime=0) * 2, "gzip", 400, "more than one gzip stream"),
        (
            gzip.compress(b" " * (5 << 20) + UTF8, mtime=0),
            "gzip",
            413,
            "more than 4,194,304 bytes after gzip decompression",
        ),
        (BODY.encode("utf-16"), "identity", 400, "is UTF-16; send JSON in UTF-8"),
        (BODY.encode("utf-32"), "identity", 400, "is UTF-32; send JSON in UTF-8"),
        (BODY.encode("latin-1"), "identity", 400, f"is not UTF-8 (byte {UTF8.index(0xC3)})"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_body_in_another_encoding_is_refused_by_its_name(server, body, coding, status, words):
    response = encoded(server, body, coding)
    assert words in error(response, status)["message"]
    assert ("accept-encoding" in response.headers) == (status == 415)


@pytest.mark.parametrize("path", ["/", "/parts/app.js", "/v1/models", "/v1/models/small"])
def test_head_answers_as_get_does_without_the_body(server, path):
    head, get = server.client.head(server.url + path), server.client.get(server.url + path)
    assert (head.status_code, head.content) == (200, b"")
    for name in ("content-length", "content-type"):
        assert head.headers[name] == get.headers[name]
    assert server.client.head(server.url + "/nowhere").status_code == 404
    assert server.client.head(server.url + "/v1/chat/completions").status_code == 405


def test_models_are_listed(server):
    [model] = server.client.get(server.url + "/v1/models").json()["data"]
    assert model == server.client.get(server.url + "/v1/models/small").json()
    assert model | {"id": "small", "object": "model", "owned_by": "groundup", "context": 1024} == model


# --- what the server cannot do now --------------------------------------------------------------------------


def test_a_full_queue_says_when_to_come_again(tokenizer, page):
    service, held, go = small_service(tokenizer, queue=4), threading.Event(), threading.Event()
    with serving(service, page) as busy:
        service._enqueue(lambda: held.set() or go.wait(60))
        held.wait(60)
        refused = [busy.chat(n=5), busy.chat(n=5, stream=True), busy.complete(["one"] * 5)]
        refused.append(busy.post("/v1/embeddings", {"model": "small", "input": ["one"] * 5}))
        go.set()
        for response in refused:
            found = error(response, 429)
            assert (found["type"], found["code"]) == ("rate_limit_error", "queue_full")
            assert int(response.headers["retry-after"]) >= 1
        busy.idle()  # what was taken of those is forgotten in the engine's thread
        assert busy.chat(max_tokens=2).status_code == 200
        busy.idle()
    service.close(0)


def test_a_server_that_shuts_down_says_so(tokenizer, page):
    service = small_service(tokenizer)
    with serving(service, page) as server:
        service.close()
        for response in (
            server.chat(),
            server.chat(stream=True),
            server.post("/v1/embeddings", {"model": "small", "input": "one"}),
        ):
            assert error(response, 503)["code"] == "shutting_down"
            assert int(response.headers["retry-after"]) >= 1


def test_answers_that_a_shutdown_cuts_off_say_so(tokenizer, page):
    service, never = small_service(tokenizer), {str(id): -100 for id in (tokenizer.im_end, tokenizer.end)}
    with (
        serving(service, page) as server,
        httpx.stream(
            "POST",
            server.url + "/v1/chat/completions",
            json={"model": "small", "messages": [USER], "logit_bias": never, "stream": True},
            timeout=60,
        ) as response,
    ):
        lines = response.iter_lines()
        assert next(lines).startswith("data: ")
        service.close(0)
        said = [line.removeprefix("data: ") for line in lines if line]
    assert said[-1] == "[DONE]"
    assert json.loads(said[-2])["error"]["code"] == "shutting_down"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("stream", [False, True])
def test_an_engine_that_fails_is_a_500_that_tells_nothing_of_the_inside(tokenizer, page, monkeypatch, stream):
    service = small_service(tokenizer)
    monkeypatch.setattr(service.engine.model, "logits", lambda states: {}["secret place"])
    with serving(service, page) as server:
        response = server.chat(stream=stream)
        assert "secret" not in response.text
        if stream:
            assert events(response.text)[-1]["error"]["code"] == "internal_error"
        else:
            assert error(response, 500)["type"] == "server_error"
        assert error(server.chat(), 503)


def test_a_mistake_in_an_endpoint_is_a_500_that_tells_nothing_of_the_inside(server, monkeypatch):
    monkeypatch.setattr("groundup.serve.chat.requests", lambda *_: {}["secret place"])
    for _ in range(5):
        response = server.chat()
        assert error(response, 500)["code"] == "internal_error"
        assert response.headers["connection"] == "close"
        assert "secret" not in response.text


def test_a_grammar_that_turns_out_wrong_is_the_askers_fault(server):
    form = {"type": "grammar", "grammar": "start: <no_such_token>"}
    for stream in (False, True):
        assert error(server.chat(response_format=form, stream=stream), 400)["param"] == "response_format"


def test_no_grammar_of_a_client_is_compiled_in_this_process(server, monkeypatch):
    for name in ("vocabulary", "matcher", "check"):
        monkeypatch.setattr(grammar_worker, name, lambda *_: {}["never"])
    assert (
        server.chat(response_format={"type": "regex", "pattern": "(one|two){1,7}"}, n=3, max_tokens=20).status_code
        == 200
    )


def test_a_model_that_is_replaced_meanwhile_answers_all_the_same(tokenizer, page, monkeypatch):
    old, new = small_service(tokenizer), small_service(tokenizer)
    with serving(old, page) as server:
        shelf, get = server.shelf, server.shelf.get

        def swapped(name):
            found = get(name)
            shelf.models[name] = Model(name, new)
            return found

        old.close()
        monkeypatch.setattr(shelf, "get", swapped)
        assert server.chat(max_tokens=2).status_code == 200
    new.close(0)
