"""Merging by lowest id and merging by a list of pairs give the same ids, whatever the list."""

import json
import random

import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st

from groundup.codecs.bpe import halves, reachable
from groundup.codecs.text import PATTERN, Tokenizer
from groundup.codecs.tokenizer_json import Vocabulary, compose

BYTES = {bytes([byte]): byte for byte in range(256)}


def table_of(pairs: list[tuple[str, str]], **model: object) -> dict:
    """A tokenizer.json whose merges are exactly `pairs`, ids in their order."""
    table = compose(Vocabulary.of(PATTERN, BYTES, {}), ())
    for left, right in pairs:
        table["model"]["vocab"].setdefault(left + right, len(table["model"]["vocab"]))
    table["model"] |= {"merges": [list(pair) for pair in pairs], **model}
    return table


def random_pairs(rng: random.Random, count: int) -> list[tuple[str, str]]:
    """Merges as no training would make them: any two tokens, with or without the other ways to split the result."""
    tokens, pairs = ["a", "b", "c"], []
    for _ in range(count):
        pair = (rng.choice(tokens), rng.choice(tokens))
        token = "".join(pair)
        if token in tokens:
            continue
        others = [
            (token[:cut], token[cut:])
            for cut in range(1, len(token))
            if token[:cut] in tokens and token[cut:] in tokens
        ]
        pairs += others if rng.random() < 0.3 else [pair]
        tokens.append(token)
    return pairs


@given(st.integers(0, 2**32))
@settings(deadline=None, derandomize=True, max_examples=150)
def test_any_merge_list_gives_the_ids_of_hugging_face(seed: int) -> None:
    rng = random.Random(seed)
    table = table_of(random_pairs(rng, 15))
    ours, theirs = Tokenizer.read(table), tokenizers.Tokenizer.from_str(json.dumps(table))
    for _ in range(60):
        text = "".join(rng.choices("abc", k=rng.randint(1, 30)))
        assert ours.encode(text) == theirs.encode(text).ids


def test_some_random_merge_lists_hold_tokens_that_are_never_made() -> None:
    lists = [
        [(left.encode(), right.encode()) for left, right in random_pairs(random.Random(seed), 15)] for seed in range(20)
    ]
    made = [
        reachable(BYTES | {left + right: 256 + place for place, (left, right) in enumerate(pairs)}, pairs)
        for pairs in lists
    ]
    assert any(
        len(ids) < 256 + len({left + right for left, right in pairs}) for ids, pairs in zip(made, lists, strict=True)
    )


def test_a_token_cut_through_by_an_earlier_merge_is_never_made() -> None:
    ids = BYTES | {b"bc": 256, b"ab": 257, b"abc": 258}
    assert b"abc" not in reachable(ids, [(b"b", b"c"), (b"a", b"b"), (b"ab", b"c")])


def test_a_merge_listed_before_its_parts_is_refused() -> None:
    with pytest.raises(ValueError, match="stands before the merges of its parts"):
        reachable(BYTES | {b"abc": 256, b"ab": 257}, [(b"ab", b"c"), (b"a", b"b")])


def test_ids_that_do_not_rise_along_the_merges_are_refused() -> None:
    with pytest.raises(ValueError, match="lower than that of a merge before it"):
        reachable(BYTES | {b"ab": 257, b"cd": 256}, [(b"a", b"b"), (b"c", b"d")])


def test_halves_of_a_run_split_where_merging_from_the_left_does() -> None:
    assert halves(BYTES | {b"aa": 256, b"aaa": 257})[1] == (b"aa", b"a")


def test_halves_refuse_a_token_that_merging_does_not_make() -> None:
    with pytest.raises(ValueError, match="not made of two tokens"):
        halves(BYTES | {b"bc": 256, b"abcd": 257})
