"""Which tokenizer.json is read, and what is said of those that are not."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import tokenizers

from groundup.codecs.text import Tokenizer
from groundup.core.errors import InputError


@pytest.fixture(scope="module")
def table(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))


def changed(table: dict[str, Any], key: str, value: Any) -> dict[str, Any]:
    """A copy of the table with one value, named by a dotted path, put in."""
    copied = target = copy.deepcopy(table)
    *steps, last = [int(step) if step.isdigit() else step for step in key.split(".")]
    for step in steps:
        target = target[step]
    target[last] = value
    return copied


REFUSED = {
    "normalizer": ({"type": "Lowercase"}, "normalizer.type: Input should be 'NFC', found 'Lowercase'"),
    "truncation": ({"max_length": 5}, "truncation: Input should be None"),
    "padding": ({"strategy": "BatchLongest"}, "padding: Input should be None"),
    "pre_tokenizer": ({"type": "Whitespace"}, "pre_tokenizer.type: Input should be 'Sequence', found 'Whitespace'"),
    "pre_tokenizer.pretokenizers.0.behavior": ("Removed", "Input should be 'Isolated', found 'Removed'"),
    "pre_tokenizer.pretokenizers.0.invert": (True, "Input should be False, found True"),
    "pre_tokenizer.pretokenizers.0.pattern": ({"String": " "}, "pattern.Regex: Field required"),
    "pre_tokenizer.pretokenizers.0.pattern.Regex": ("(", "the pattern is not a regular expression that can be used"),
    "pre_tokenizer.pretokenizers.1.add_prefix_space": (True, "Input should be False, found True"),
    "decoder.type": ("WordPiece", "decoder.type: Input should be 'ByteLevel', found 'WordPiece'"),
    "model.type": ("Unigram", "model.type: Input should be 'BPE', found 'Unigram'"),
    "model.dropout": (0.1, "model.dropout: Input should be None, found 0.1"),
    "model.end_of_word_suffix": ("</w>", "model.end_of_word_suffix"),
    "model.vocab": ({"a": 0}, "255 of the 256 bytes are missing, byte 0 first"),
    "model.vocab.▁a": (5000, "the character '▁' stands for no byte"),
    "model.vocab.zzqz": (256, "two tokens have the id 256"),
    "model.vocab.zzqy": (-1, "model.vocab.zzqy: Input should be greater than or equal to 0, found -1"),
    "added_tokens.1.id": (256, "two tokens have the id 256"),
    "model.merges.0": (["q", "天"], "is not two tokens of the vocabulary"),
    "model.merges.1": ("ab", "model.merges"),
    "added_tokens.0.id": ("7", "added_tokens.0.id: Input should be a valid integer, found '7'"),
}


@pytest.mark.parametrize("key", REFUSED)
def test_what_would_change_the_ids_is_refused(table: dict[str, Any], key: str) -> None:
    value, reason = REFUSED[key]
    with pytest.raises(InputError) as refusal:
        Tokenizer.read(changed(table, key, value), "theirs.json")
    assert str(refusal.value).startswith("theirs.json: ") and reason in str(refusal.value)


@pytest.mark.parametrize("table", [[], {}, "text", None])
def test_other_json_is_refused(table: Any) -> None:
    with pytest.raises(InputError, match=r"theirs\.json: "):
        Tokenizer.read(table, "theirs.json")


def test_merges_in_another_order_are_refused(table: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"model\.merges: .* lower than that of a merge before it"):
        Tokenizer.read(changed(table, "model.merges", table["model"]["merges"][::-1]))


def test_ignored_merges_are_read_where_merges_make_every_token(table: dict[str, Any]) -> None:
    assert Tokenizer.read(changed(table, "model.ignore_merges", True)).encode("return") == Tokenizer.read(table).encode(
        "return"
    )


def test_ignored_merges_are_refused_where_a_token_is_made_by_none(table: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"model\.ignore_merges: 1 tokens are not made by merges"):
        Tokenizer.read(changed(changed(table, "model.vocab.zzqzz", 5000), "model.ignore_merges", True))


def test_merges_as_texts_are_read_like_merges_as_pairs(table: dict[str, Any]) -> None:
    texts = changed(table, "model.merges", [" ".join(pair) for pair in table["model"]["merges"]])
    assert Tokenizer.read(texts).encode("def __init__(self):") == Tokenizer.read(table).encode("def __init__(self):")


def test_normalisation_form_c_is_applied_as_hugging_face_does(table: dict[str, Any]) -> None:
    nfc = changed(table, "normalizer", {"type": "NFC"})
    text = "e\u0301té \u1112\u1161\u11ab \u212b"
    assert Tokenizer.read(nfc).encode(text) == tokenizers.Tokenizer.from_str(json.dumps(nfc)).encode(text).ids


@pytest.mark.parametrize(
    "pattern",
    [r"\p{L}+|\p{N}", r"[a-z]+| +(?!x)|\s+(?!\S)|\s+", r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+"],
)
def test_text_that_a_pattern_leaves_out_is_kept_as_hugging_face_does(table: dict[str, Any], pattern: str) -> None:
    other = changed(table, "pre_tokenizer.pretokenizers.0.pattern.Regex", pattern)
    ours, theirs = Tokenizer.read(other), tokenizers.Tokenizer.from_str(json.dumps(other))
    text = "return  self.x, 1234 == !!  \n\n 今天天气 return_value   "
    assert ours.encode(text) == theirs.encode(text).ids
    assert ours.decode(ours.encode(text)) == text


def test_added_tokens_anywhere_are_special(table: dict[str, Any]) -> None:
    added = [{"id": 9000, "content": "<|im_end|>"}, {"id": 8999, "content": "<|mine|>"}]
    tokenizer = Tokenizer.read(changed(table, "added_tokens", added))
    assert (tokenizer.im_end, tokenizer.special("<|mine|>"), tokenizer.size) == (9000, 8999, 9001)
