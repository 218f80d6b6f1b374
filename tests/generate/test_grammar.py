"""Constrained answers: whatever a random model would say, it says something the grammar allows."""

import json
import re

import pytest

from groundup.core.errors import InputError
from groundup.generate.grammar import Constraint, Grammar
from groundup.generate.request import Request
from groundup.generate.sampling import Sampling
from tests.generate.generate_helpers import ask, engine, small_tokenizer

pytest.importorskip("llguidance", reason="needs the extra serve")
SCHEMA = {
    "type": "object",
    "properties": {"bin": {"enum": ["one", "two"]}, "sure": {"type": "boolean"}},
    "required": ["bin", "sure"],
    "additionalProperties": False,
}


@pytest.fixture
def tokenizer(tmp_path):
    return small_tokenizer(tmp_path)


def answers(tokenizer, grammar: Grammar, count: int = 6) -> list[str]:
    asked = [
        Request([number + 5], 60, Sampling(temperature=1.0, seed=number), grammar=grammar) for number in range(count)
    ]
    return [heard.text for heard in ask(engine(tokenizer=tokenizer), *asked) if heard.finish == "stop"]


def test_a_schema_is_kept_to(tokenizer):
    found = answers(tokenizer, Grammar.json_schema(SCHEMA | {"x-guidance": {"whitespace_flexible": False}}))
    assert len(found) == 6
    for text in found:
        value = json.loads(text)
        assert value.keys() == {"bin", "sure"}
        assert value["bin"] in ("one", "two")
        assert isinstance(value["sure"], bool)


def test_a_regular_expression_is_kept_to(tokenizer):
    found = answers(tokenizer, Grammar.regex("(one|two)( three){2,4}"))
    assert len(found) == 6
    assert len(set(found)) > 1
    assert all(re.fullmatch("(one|two)( three){2,4}", text) for text in found)


def test_a_grammar_is_kept_to(tokenizer):
    found = answers(tokenizer, Grammar.lark('start: "<" inner ">"\ninner: "one" | start'))
    assert found
    assert all(re.fullmatch("(<+)one(>+)", text) and text.count("<") == text.count(">") for text in found)


@pytest.mark.parametrize("text", ["a\r\nb", "e\u0301x", "a\x07\ufeffb"])
def test_texts_in_no_normal_form_can_be_kept_to(tokenizer, text):
    constraint = Constraint(Grammar.regex("".join(f"\\x{{{ord(character):x}}}" for character in text)), tokenizer)
    for byte in text.encode():
        assert constraint.token_mask()[byte]
        constraint.accept(byte)
    assert constraint.token_mask()[tokenizer.im_end]


def test_greedily_too(tokenizer):
    heard = ask(engine(tokenizer=tokenizer), Request([9], 60, grammar=Grammar.regex("[0-9]{3}")))[0]
    assert re.fullmatch("[0-9]{3}", heard.text)


def test_only_the_end_may_follow_a_whole_text(tokenizer):
    way = Constraint(Grammar.regex("ab"), tokenizer)
    for id in tokenizer.encode("ab"):
        assert way.token_mask()[id]
        way.accept(id)
    assert {int(id) for id in way.token_mask().nonzero()[0]} <= {tokenizer.im_end, tokenizer.end}


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Grammar.regex("(unclosed"), "regular expression cannot be used"),
        (lambda: Grammar.json_schema({"type": "no such type"}), "JSON schema cannot be used"),
        (lambda: Grammar.lark("start: missing"), "grammar cannot be used"),
        (lambda: Grammar.regex("a" * 70_000), "70,000 characters"),
    ],
)
def test_what_cannot_be_kept_to_is_refused(make, words):
    with pytest.raises(InputError, match=words):
        make()
