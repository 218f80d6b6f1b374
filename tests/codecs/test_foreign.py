"""Tokenizers of other projects as they come: ids, text and special tokens as Hugging Face gives them."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st

from groundup.codecs.foreign import ForeignTokenizer
from groundup.codecs.text import Tokenizer
from groundup.codecs.tokenizer_files import TokenizerFiles
from groundup.core.errors import InputError
from tests.codecs import foreign_samples
from tests.codecs.codec_helpers import SNIPPETS

FAMILIES = sorted(foreign_samples.families())
RUNS = [
    " " * 17,
    "\n" * 7,
    "\t\t\n \n",
    "1234567",
    "0" * 12,
    "  \n\n  x",
    "▁▁",
    "\r\n\r",
    "\x00\x07\x9f",
    "<table>",
    "🙂👩‍👩‍👧",
]
texts = st.one_of(
    st.text(max_size=40),
    st.lists(st.sampled_from([*SNIPPETS, *RUNS, *foreign_samples.TEXTS]), max_size=12).map("".join),
)
quick = settings(deadline=None, derandomize=True, max_examples=30)


def read(name: str, **config: Any) -> ForeignTokenizer:
    """The tokenizer of a family's form."""
    files = TokenizerFiles("theirs.json", foreign_samples.table(name), foreign_samples.config(name) | config, {}, {})
    found = Tokenizer.of(files)
    assert isinstance(found, ForeignTokenizer)
    return found


def peer(name: str) -> tokenizers.Tokenizer:
    """The same in Hugging Face tokenizers."""
    return tokenizers.Tokenizer.from_str(json.dumps(foreign_samples.table(name)))


@pytest.mark.parametrize("name", FAMILIES)
def test_ids_and_text_are_those_of_hugging_face(name: str) -> None:
    ours, theirs = read(name), peer(name)

    @given(texts)
    @quick
    def equal(text: str) -> None:
        ids = theirs.encode(text, add_special_tokens=False).ids
        assert ours.encode(text) == ids
        assert ours.decode(ids).encode(errors="replace") == theirs.decode(ids, skip_special_tokens=False).encode()
        assert "".join(ours.stream(ids)) == ours.decode(ids)

    equal()


@pytest.mark.parametrize("name", FAMILIES)
def test_special_tokens_in_text_stay_text(name: str) -> None:
    tokenizer = read(name)
    control = set(tokenizer.vocabulary.specials.values())
    for literal in tokenizer.vocabulary.specials:
        assert not control & set(tokenizer.encode(f"a {literal}b"))
        assert tokenizer.decode(tokenizer.encode(f"a {literal}b")).replace("\ufffd", "") == f"a {literal}b"


@pytest.mark.parametrize("name", FAMILIES)
def test_what_stands_before_a_text_is_what_transformers_puts_there(name: str, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers", reason="transformers is the judge")
    for wanted in ({}, {"add_bos_token": True}, {"add_bos_token": False}):
        folder = foreign_samples.write(tmp_path / str(wanted), name)
        (folder / "tokenizer_config.json").write_text(json.dumps(foreign_samples.config(name) | wanted))
        theirs = transformers.PreTrainedTokenizerFast.from_pretrained(folder)
        assert Tokenizer.load(folder).encode_start("one two") == theirs("one two").input_ids, wanted


@pytest.mark.parametrize(
    "flags", [{"lstrip": True}, {"rstrip": True}, {"lstrip": True, "rstrip": True}, {"single_word": True}]
)
def test_a_template_s_tokens_take_the_spaces_they_take_in_hugging_face(flags: dict[str, bool]) -> None:
    table = copy.deepcopy(foreign_samples.table("smollm2"))
    table["added_tokens"][2] |= flags
    ours = Tokenizer.of(TokenizerFiles("theirs.json", table, {"eos_token": "<|im_end|>"}, {}, {}))
    assert isinstance(ours, ForeignTokenizer)
    theirs = tokenizers.Tokenizer.from_str(json.dumps(table))
    for text in ("a  <|im_end|>  b", "<|im_end|>\n\n<|im_start|> x", "a<|im_end|>b <|im_end|>", "word<|im_end|>"):
        assert ours.spell(text, True, str) == theirs.encode(text, add_special_tokens=False).ids, text


def test_text_inside_a_sequence_gets_no_space_of_its_own() -> None:
    tokenizer, theirs = read("mistral"), peer("mistral")
    assert (
        tokenizer.spell("[INST] a[/INST] b", True, str)
        == theirs.encode("[INST] a[/INST] b", add_special_tokens=False).ids
    )
    assert tokenizer.token_bytes(tokenizer.encode("the")[0]).startswith(b" ")
    assert not tokenizer.token_bytes(tokenizer.encode("the", opens=False)[0]).startswith(b" ")


@pytest.mark.parametrize("name", FAMILIES)
def test_a_choice_goes_on_with_its_question_as_one_text(name: str) -> None:
    tokenizer = read(name)
    before = tokenizer.encode("Answer:")
    assert [*before, *tokenizer.encode_after(" the fox")] == tokenizer.encode("Answer: the fox")


def test_tokens_that_the_template_writes_are_control_tokens() -> None:
    files = TokenizerFiles("theirs.json", foreign_samples.table("qwen"), foreign_samples.config("qwen"), {}, {})
    plain, written = (
        Tokenizer.of(files),
        Tokenizer.of(TokenizerFiles(**vars(files) | {"templates": {"default": "<think>"}})),
    )
    theirs = peer("qwen").token_to_id("<think>")
    assert plain.encode("<think>") == [theirs] and theirs not in written.encode("<think>")
    assert written.special("<think>") == theirs


def test_generation_stops_at_every_declared_end(tmp_path: Path) -> None:
    folder = foreign_samples.write(tmp_path, "gemma", "{{ messages[-1].content }}<end_of_turn>", eos_token_id=[1, 4])
    tokenizer = Tokenizer.load(folder)
    assert tokenizer.ends == (5, 1, 4) and tokenizer.turn_end == 5 and tokenizer.end == 1


def test_ends_of_config_json_serve_where_nothing_else_says_them(tmp_path: Path) -> None:
    folder = foreign_samples.write(tmp_path, "llama3")
    (folder / "config.json").write_text(json.dumps({"eos_token_id": [1, 2]}))
    assert set(Tokenizer.load(folder).ends) == {1, 2, 4}


def test_a_saved_tokenizer_is_the_same(tmp_path: Path) -> None:
    first = foreign_samples.write(tmp_path / "a", "gemma", "{{ 1 }}", eos_token_id=[1, 5])
    Tokenizer.load(first).save(tmp_path / "b")
    for name in ("tokenizer.json", "tokenizer_config.json", "generation_config.json"):
        assert json.loads((first / name).read_text()) == json.loads((tmp_path / "b" / name).read_text())


REFUSED: dict[str, tuple[Any, str]] = {
    "model.type": ("Unigram", "model.type: Input should be 'BPE', found 'Unigram'"),
    "model.dropout": (0.1, "model.dropout"),
    "model.end_of_word_suffix": ("</w>", "model.end_of_word_suffix"),
    "model.vocab": ({}, "model.vocab"),
    "model.merges": ([["a", "zzz"]], "is no tokenizer that can be used"),
    "decoder": ({"type": "WordPiece"}, "decoder"),
    "pre_tokenizer": ({"type": "Nothing"}, "is no tokenizer that can be used"),
    "normalizer": ({"type": "Nothing"}, "is no tokenizer that can be used"),
    "added_tokens": ([{"id": 7, "content": "<|im_end|>"}], "<|im_end|>"),
}


@pytest.mark.parametrize("key", REFUSED)
def test_what_cannot_be_used_is_refused_by_its_part(key: str) -> None:
    value, reason = REFUSED[key]
    table = target = copy.deepcopy(foreign_samples.table("smollm2"))
    *steps, last = key.split(".")
    for step in steps:
        target = target[step]
    target[last] = value
    with pytest.raises(InputError) as refusal:
        Tokenizer.of(TokenizerFiles("theirs.json", table, {}, {}, {}))
    assert str(refusal.value).startswith("theirs.json: ") and reason in str(refusal.value)


@pytest.mark.parametrize(
    ("file", "content", "reason"),
    [
        ("tokenizer.json", "{", "not valid JSON"),
        ("tokenizer_config.json", "[]", "must be a JSON object"),
        ("tokenizer_config.json", '{"chat_template": 7}', "chat_template is int"),
        ("tokenizer_config.json", '{"chat_template": [{"name": "default"}]}', "chat_template is list"),
        ("generation_config.json", '{"eos_token_id": "x"}', "no token has the id 'x'"),
        ("generation_config.json", '{"eos_token_id": [99999999]}', "no token has the id 99999999"),
    ],
)
def test_a_damaged_file_is_refused_by_its_name(tmp_path: Path, file: str, content: str, reason: str) -> None:
    folder = foreign_samples.write(tmp_path, "smollm2")
    (folder / file).write_text(content)
    with pytest.raises(InputError, match=reason) as refusal:
        assert Tokenizer.load(folder).ends
    assert "\n" not in str(refusal.value)


def test_a_tokenizer_without_an_end_is_refused_where_it_is_needed() -> None:
    tokenizer = Tokenizer.of(TokenizerFiles("theirs.json", foreign_samples.table("llama3"), {}, {}, {}))
    with pytest.raises(InputError, match="no token ends a text; name it as eos_token"):
        assert tokenizer.ends


def test_sentencepiece_s_own_file_is_refused_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.model").write_bytes(b"\n")
    with pytest.raises(InputError, match=r"holds tokenizer\.model and no tokenizer\.json"):
        Tokenizer.load(tmp_path)
