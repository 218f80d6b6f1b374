"""One normal form of text: idempotent, and the same in Hugging Face tokenizers, character by character and mixed."""

import json
import sys
import unicodedata
from pathlib import Path
from typing import Any

import pytest
import tokenizers
from hypothesis import example, given, settings
from hypothesis import strategies as st

from groundup.codecs.normal import _many_accents, normalise, repair_surrogates
from groundup.codecs.text import SPECIAL_TOKENS, Tokenizer
from tests.codecs.codec_helpers import DIRT, DIRTY

dirty = st.one_of(st.text(max_size=40), st.lists(st.sampled_from(DIRTY), max_size=30).map("".join))
quick = settings(deadline=None, derandomize=True, max_examples=200)


@given(dirty)
@example("e\x07\u0301")  # a control character that keeps a letter from its accent
@example("\r\x00\n")
@quick
def test_normalising_twice_changes_nothing_more(text: str) -> None:
    assert normalise(normalise(text)) == normalise(text)


@given(dirty)
@quick
def test_normal_text_has_no_control_character_but_tab_and_line_feed_and_is_composed(text: str) -> None:
    normal = normalise(text)
    assert {character for character in normal if unicodedata.category(character) == "Cc"} <= {"\t", "\n"}
    assert "\ufeff" not in normal and unicodedata.is_normalized("NFC", normal)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("e\u0301", "\u00e9"),
        ("a\r\nb\rc\nd", "a\nb\nc\nd"),
        ("a\x07b\x7f\x85", "ab"),
        ("\ufeffa\ufeffb", "ab"),
        ("two  \n\n\n\tspaces  ", "two  \n\n\n\tspaces  "),
        ("\ufb01\u2028\u2029\ue000\u200b", "\ufb01\u2028\u2029\ue000\u200b"),
    ],
)
def test_only_the_stated_things_are_mended(text: str, expected: str) -> None:
    assert normalise(text) == expected


def test_every_character_alone_is_as_in_hugging_face(peer: tokenizers.Tokenizer) -> None:
    characters = [chr(code) for code in range(sys.maxunicode + 1) if not 0xD800 <= code < 0xE000]
    differing = [
        hex(ord(each)) for each in characters if peer.normalizer.normalize_str(f"a{each}b") != normalise(f"a{each}b")
    ]
    assert not differing


@given(dirty)
@quick
def test_ids_are_those_of_the_normal_form_here_and_in_hugging_face(
    tokenizer: Tokenizer, peer: tokenizers.Tokenizer, text: str
) -> None:
    assert (
        tokenizer.encode(text)
        == tokenizer.encode(normalise(text))
        == peer.encode(text).ids
        == peer.encode(normalise(text)).ids
    )


@pytest.mark.parametrize("dirt", DIRT)
def test_special_literals_with_dirt_inside_stay_text(tokenizer: Tokenizer, dirt: str) -> None:
    specials = {tokenizer.special(name) for name in SPECIAL_TOKENS}
    assert not specials & {id for name in SPECIAL_TOKENS for id in tokenizer.encode(name[:4] + dirt + name[4:] + dirt)}


def test_halves_of_characters_are_joined_before_they_are_composed(tokenizer: Tokenizer) -> None:
    letter = "\U00011099\U000110ba"  # composes to one letter
    halves = letter.encode("utf-16-be").hex()
    text = "".join(chr(int(halves[place : place + 4], 16)) for place in range(0, len(halves), 4))
    assert repair_surrogates(text) == letter
    assert tokenizer.decode(tokenizer.encode(text)) == "\U0001109a"


@pytest.mark.parametrize("theirs", [None, {"type": "NFC"}])
def test_a_tokenizer_of_others_is_saved_with_the_normal_form(tokenizer: Tokenizer, tmp_path: Path, theirs: Any) -> None:
    loaded = Tokenizer.read(json.loads(tokenizer.json) | {"normalizer": theirs})
    loaded.save(tmp_path)
    peer = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    text = "a\r\nb\x07 e\u0301"
    assert loaded.encode(text) == peer.encode(text).ids == tokenizer.encode(text)


@pytest.mark.parametrize(
    "accents", ["\u0301\u0323", "\u0344\u0323", "\u0f73", "\u0f72\u0f71", "\u3099\u0323\u0301", "\u0345\u0301"]
)
@pytest.mark.parametrize("letter", ["a", "é", "\u1ea5", "か", ""])
def test_any_number_of_accents_is_composed_in_a_time_that_grows_with_their_number(letter: str, accents: str) -> None:
    for count in (15, 16, 31, 32, 33, 300):
        text = f"x{letter}{accents * count}x"
        assert normalise(text) == unicodedata.normalize("NFC", text)
    normalise(letter + accents * 200_000)  # would take half an hour


def test_every_accent_there_is_is_known_as_one() -> None:
    accents = [
        mark
        for mark in map(chr, range(sys.maxunicode + 1))
        if unicodedata.combining(unicodedata.normalize("NFD", mark)[0])
    ]
    for accent in accents:
        assert _many_accents().fullmatch(accent * 32), hex(ord(accent))
