"""Completions: texts and ids, echoes and log-probabilities, in the shape of OpenAI's older endpoint."""

import pytest

from groundup.generate.request import Request
from groundup.generate.sampling import Sampling
from tests.generate.generate_helpers import ask
from tests.serve.serve_helpers import events, small_engine


def texts(response) -> list[str]:
    assert response.status_code == 200, response.text
    return [choice["text"] for choice in response.json()["choices"]]


def test_the_answer_is_that_of_the_engine(server, tokenizer):
    heard = ask(small_engine(tokenizer), Request(tokenizer.encode("one two"), 16, Sampling(temperature=1.0, seed=2)))[0]
    assert texts(server.complete(seed=2)) == [heard.text]


def test_texts_and_ids_alone_and_together_answer_alike(server, tokenizer):
    ids = [tokenizer.encode(text) for text in ("one two", "three", "four five")]
    fields = {"temperature": 0, "max_tokens": 6}
    alone = [texts(server.complete(each, **fields))[0] for each in ("one two", "three", "four five")]
    assert [texts(server.complete(each, **fields))[0] for each in ids] == alone
    assert texts(server.complete(["one two", "three", "four five"], **fields)) == alone
    assert texts(server.complete(ids, **fields)) == alone


def test_several_answers_to_several_prompts_come_in_order(server):
    fields = {"seed": 4, "max_tokens": 6}
    choices = server.complete(["one two", "three"], n=2, **fields).json()["choices"]
    assert [choice["index"] for choice in choices] == [0, 1, 2, 3]
    assert [choice["text"] for choice in choices] == texts(server.complete("one two", n=2, **fields)) + texts(
        server.complete("three", n=2, **fields)
    )


def test_sixteen_tokens_unless_more_are_asked_for(server, tokenizer):
    never = {str(id): -100 for id in (tokenizer.im_end, tokenizer.end)}
    assert server.complete(logit_bias=never).json()["usage"]["completion_tokens"] == 16


@pytest.mark.parametrize("max_tokens", [0, 1, 5])
def test_an_echo_scores_the_prompt(server, tokenizer, max_tokens):
    ids = tokenizer.encode("one two three four")
    answer = server.complete(ids, echo=True, logprobs=2, temperature=0, max_tokens=max_tokens).json()
    choice, heard = (
        answer["choices"][0],
        ask(small_engine(tokenizer), Request(ids, max(1, max_tokens), logprobs=2, echo=True))[0],
    )
    scores = [*heard.pieces[0].prompt_logprobs, *(heard.logprobs if max_tokens else [])]
    columns = choice["logprobs"]
    assert columns["token_logprobs"] == [None] + [score.logprob for score in scores[1:]]
    assert columns["top_logprobs"][0] is None
    for top, score in zip(columns["top_logprobs"][1:], scores[1:], strict=True):
        assert max(top.values()) == score.top[0][1]
        assert score.logprob in top.values()
    assert columns["text_offset"][: len(ids)] == [len(tokenizer.decode(ids[:place])) for place in range(len(ids))]
    assert choice["text"] == "one two three four" + (heard.text if max_tokens else "")
    assert answer["usage"]["completion_tokens"] == (len(heard.ids) if max_tokens else 0)


def test_what_ends_an_answer_has_its_log_probability(server, tokenizer):
    choice = server.complete(echo=True, logprobs=1, max_tokens=1, logit_bias={str(tokenizer.im_end): 100}).json()[
        "choices"
    ][0]
    assert (choice["text"], choice["finish_reason"]) == ("one two", "stop")
    assert choice["logprobs"]["tokens"] == ["one", " two", "<|im_end|>"]
    assert None not in choice["logprobs"]["token_logprobs"][1:]


def test_an_echo_without_log_probabilities_is_text(server):
    assert texts(server.complete(echo=True, max_tokens=0)) == ["one two"]
    assert texts(server.complete(echo=True, max_tokens=3, seed=1)) == [
        "one two" + texts(server.complete(max_tokens=3, seed=1))[0]
    ]


def test_parts_of_characters_have_names_of_their_own(server, tokenizer):
    ids = tokenizer.encode("é東")
    columns = server.complete(ids, echo=True, logprobs=0, max_tokens=0).json()["choices"][0]["logprobs"]
    assert columns["tokens"] == [f"bytes:\\x{byte:02x}" for byte in "é東".encode()]
    assert columns["text_offset"] == [0, 0, 1, 1, 1]


@pytest.mark.parametrize(
    "fields", [{}, {"echo": True, "logprobs": 1}, {"echo": True, "max_tokens": 0}, {"n": 2, "logprobs": 2}]
)
def test_a_stream_adds_up_to_the_answer_in_one(server, fields):
    fields = {"seed": 6, "max_tokens": 9} | fields
    whole = server.complete(["one two", "six"], **fields).json()
    chunks = events(
        server.complete(["one two", "six"], stream=True, stream_options={"include_usage": True}, **fields).text
    )
    assert chunks[-1]["usage"]["completion_tokens"] == whole["usage"]["completion_tokens"]
    for choice in whole["choices"]:
        parts = [part for chunk in chunks for part in chunk["choices"] if part["index"] == choice["index"]]
        assert "".join(part["text"] for part in parts) == choice["text"]
        assert parts[-1]["finish_reason"] == choice["finish_reason"]
        for column, values in (choice["logprobs"] or {}).items():
            assert [value for part in parts for value in part["logprobs"][column]] == values
