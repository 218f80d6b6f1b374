"""Embeddings: those of the engine, as numbers or packed."""

import struct
from base64 import b64decode

import pytest


def embed(server, **fields):
    return server.post("/v1/embeddings", {"model": "small"} | fields)


def test_embeddings_are_those_of_the_engine(server, tokenizer):
    texts = ["one two", "three", "three"]
    answer = embed(server, input=texts).json()
    found = [item["embedding"] for item in answer["data"]]
    assert found == server.service.embed([tokenizer.encode(text) for text in texts]).result(60)
    assert [item["index"] for item in answer["data"]] == [0, 1, 2]
    assert sum(value * value for value in found[0]) == pytest.approx(1)
    count = sum(len(tokenizer.encode(text)) for text in texts)
    assert answer["usage"] == {"prompt_tokens": count, "total_tokens": count}


def test_texts_and_ids_and_packed_numbers_agree(server, tokenizer):
    ids = tokenizer.encode("one two")
    plain = embed(server, input="one two").json()["data"][0]["embedding"]
    for value in (ids, [ids], ["one two"]):
        assert embed(server, input=value).json()["data"][0]["embedding"] == plain
    packed = b64decode(embed(server, input="one two", encoding_format="base64").json()["data"][0]["embedding"])
    assert struct.unpack(f"<{len(plain)}f", packed) == pytest.approx(plain)


@pytest.mark.parametrize(
    ("fields", "param", "words"),
    [
        ({"input": "one", "dimensions": 8}, "dimensions", "not supported"),
        ({"input": ""}, "input", "at least one token"),
        ({"input": []}, "input", "at least one token"),
        ({"input": [[]]}, "input", "at least one token"),
        ({"input": [300]}, "input", "no token with the id 300"),
        ({"input": [-1]}, "input", "no token with the id -1"),
        ({"input": [True]}, "input", "holds bool"),
        ({"input": {"text": "one"}}, "input[0]", "must be a text, ids, or"),
        ({"input": ["one", 2]}, "input", "holds int"),
        ({"input": ["one"] * 257}, "input", "257 items; the most is 256"),
        ({"input": "7" * 1025}, "input", "1025 tokens"),
        ({"input": "one", "encoding_format": "hex"}, "encoding_format", "base64"),
    ],
)
def test_what_cannot_be_embedded_is_refused(server, fields, param, words):
    answer = embed(server, **fields)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == param
    assert words in answer.json()["error"]["message"]
    assert (answer.json()["error"]["code"] == "context_length_exceeded") == ("1025" in words)
    assert server.service.stats().alive


def test_a_text_as_long_as_the_context_can_be_embedded(server):
    assert embed(server, input="7" * 1024).status_code == 200
