"""Text to ids: lossless, equal to Hugging Face tokenizers, blind to special tokens, steady."""

import json
from pathlib import Path

import pytest
import tokenizers
from hypothesis import example, given, settings
from hypothesis import strategies as st

from groundup.codecs.normal import normalise, repair_surrogates
from groundup.codecs.text import SPECIAL_TOKENS, Tokenizer
from groundup.core.errors import InputError
from tests.codecs.codec_helpers import CHINESE, SNIPPETS

texts = st.one_of(st.text(max_size=60), st.lists(st.sampled_from(SNIPPETS), max_size=40).map("".join))
surrogates = st.text(st.characters(min_codepoint=0xD800, max_codepoint=0xDFFF) | st.characters(), max_size=20)
quick = settings(deadline=None, derandomize=True, max_examples=150)


@given(texts)
@quick
def test_text_survives_in_its_normal_form(tokenizer: Tokenizer, text: str) -> None:
    assert tokenizer.decode_bytes(tokenizer.encode(text)) == normalise(text).encode()


@given(texts)
@quick
def test_ids_equal_those_of_hugging_face(tokenizer: Tokenizer, peer: tokenizers.Tokenizer, text: str) -> None:
    assert tokenizer.encode(text) == peer.encode(text).ids


def test_ids_of_real_text_equal_those_of_hugging_face(
    tokenizer: Tokenizer, peer: tokenizers.Tokenizer, library_texts: list[str]
) -> None:
    text = "\n".join(library_texts)
    assert tokenizer.encode(text) == peer.encode(text).ids


@pytest.mark.parametrize("run", [" " * 1_000_001 + "x", "\u3000" * 1_000_001], ids=["spaces", "wide spaces"])
def test_a_run_of_more_than_a_million_spaces_survives(tokenizer: Tokenizer, run: str) -> None:
    assert tokenizer.decode(tokenizer.encode(run)) == run


@pytest.mark.parametrize("spaces", [1, 2, 255, 256, 257, 511, 512, 513, 514, 767, 768, 769, 1024, 1025])
@pytest.mark.parametrize("after", ["", "x", "1", "!", "\n"])
def test_runs_of_spaces_of_every_kind_split_as_in_hugging_face(
    tokenizer: Tokenizer, peer: tokenizers.Tokenizer, spaces: int, after: str
) -> None:
    text = "a" + " " * spaces + after
    assert tokenizer.encode(text) == peer.encode(text).ids


@given(surrogates)
@example("\ud83d\ude42 and \ud83d alone")
@quick
def test_surrogates_pair_up_or_become_the_replacement_character(tokenizer: Tokenizer, text: str) -> None:
    assert repair_surrogates(text) == text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    assert tokenizer.decode(tokenizer.encode(text)) == normalise(repair_surrogates(text))


def test_special_literals_in_text_stay_text_where_hugging_face_makes_them_special(
    tokenizer: Tokenizer, peer: tokenizers.Tokenizer
) -> None:
    for name in SPECIAL_TOKENS:
        assert peer.encode(name).ids == [tokenizer.special(name)]
        assert not set(tokenizer.encode(f"a {name}b")) & {tokenizer.special(special) for special in SPECIAL_TOKENS}
        assert tokenizer.decode(tokenizer.encode(f"a {name}b")) == f"a {name}b"


def test_special_ids_follow_bytes_and_merges(tokenizer: Tokenizer) -> None:
    assert [tokenizer.special(name) for name in SPECIAL_TOKENS] == list(range(1493, 1500))
    assert (tokenizer.end, tokenizer.im_start, tokenizer.im_end) == (1493, 1494, 1495)


def test_every_id_has_its_bytes(tokenizer: Tokenizer, peer: tokenizers.Tokenizer) -> None:
    assert tokenizer.size == peer.get_vocab_size() == 1500
    assert len({tokenizer.token_bytes(id) for id in range(tokenizer.size)}) == 1500
    assert [tokenizer.token_bytes(byte) for byte in range(256)] == [bytes([byte]) for byte in range(256)]
    assert tokenizer.token_bytes(tokenizer.im_end) == b"<|im_end|>"


@pytest.mark.parametrize("id", [-1, 1500])
def test_an_id_outside_the_vocabulary_is_refused(tokenizer: Tokenizer, id: int) -> None:
    with pytest.raises(InputError, match=f"no token has the id {id}; there are 1500"):
        tokenizer.decode([1, id])


@given(st.lists(st.integers(0, 1499), max_size=30))
@quick
def test_a_stream_together_is_the_decoded_text(tokenizer: Tokenizer, ids: list[int]) -> None:
    assert "".join(tokenizer.stream(ids)) == tokenizer.decode(ids)


@given(texts)
@quick
def test_a_stream_yields_whole_characters_as_soon_as_they_are_there(tokenizer: Tokenizer, text: str) -> None:
    ids = list(text.encode())  # the ids of bytes: every character longer than a byte is cut
    assert list(tokenizer.stream(ids)) == list(text)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_a_batch_is_its_texts_in_order(tokenizer: Tokenizer, threads: int) -> None:
    batch = [f"{number} times {CHINESE}" for number in range(101)]
    assert tokenizer.encode_batch(batch, threads) == [tokenizer.encode(text) for text in batch]


def test_an_empty_batch_is_empty(tokenizer: Tokenizer) -> None:
    assert tokenizer.encode_batch([], threads=2) == []


# --- learning -----------------------------------------------------------------------------------------------


def test_learning_twice_gives_the_same_vocabulary(library_texts: list[str]) -> None:
    assert Tokenizer.learn(library_texts, 600).digest == Tokenizer.learn(iter(library_texts), 600).digest


def test_other_text_gives_another_digest(library_texts: list[str]) -> None:
    assert Tokenizer.learn(library_texts, 600).digest != Tokenizer.learn(library_texts[:1], 600).digest


def test_the_most_frequent_pair_merges_first() -> None:
    tokenizer = Tokenizer.learn(["ab ab ab ab cd cd"], 264)
    assert tokenizer.token_bytes(256) == b"ab"


def test_the_smallest_vocabulary_is_bytes() -> None:
    tokenizer = Tokenizer.learn([], 263)
    assert (tokenizer.size, tokenizer.encode("é!")) == (263, [0xC3, 0xA9, 0x21])


def test_a_vocabulary_without_room_for_bytes_is_refused() -> None:
    with pytest.raises(
        InputError, match="a vocabulary of 262 ids is too small; the bytes and special tokens alone are 263"
    ):
        Tokenizer.learn([], 262)


@pytest.mark.parametrize("asked", [266, 300])
def test_of_a_vocabulary_larger_than_the_text_supports_what_there_is_is_learned(asked: int) -> None:
    assert Tokenizer.learn(["abc abc"], asked).size == 266


def test_learning_takes_surrogates_and_long_runs_of_spaces() -> None:
    assert Tokenizer.learn(["\ud800 abab", " " * 1_100_000 + "x"], 264).size == 264


# --- files --------------------------------------------------------------------------------------------------


def test_saved_and_loaded_are_equal(tokenizer: Tokenizer, folder: Path, library_texts: list[str]) -> None:
    loaded = Tokenizer.load(folder)
    assert (loaded.digest, loaded.size) == (tokenizer.digest, tokenizer.size)
    assert loaded.encode_batch(library_texts) == tokenizer.encode_batch(library_texts)


def test_what_was_loaded_is_saved_unchanged(folder: Path, tmp_path: Path) -> None:
    Tokenizer.load(folder).save(tmp_path)
    assert [(tmp_path / name).read_bytes() for name in ("tokenizer.json", "tokenizer_config.json")] == [
        (folder / name).read_bytes() for name in ("tokenizer.json", "tokenizer_config.json")
    ]


def test_a_file_that_hugging_face_wrote_again_gives_the_same_ids(
    peer: tokenizers.Tokenizer, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    peer.save(str(tmp_path / "tokenizer.json"))
    assert Tokenizer.load(tmp_path).encode(CHINESE) == tokenizer.encode(CHINESE)


def test_a_tokenizer_that_hugging_face_trained_gives_its_ids(
    library_texts: list[str], peer: tokenizers.Tokenizer, tmp_path: Path
) -> None:
    theirs = tokenizers.Tokenizer(tokenizers.models.BPE())
    theirs.pre_tokenizer, theirs.decoder = peer.pre_tokenizer, peer.decoder
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    theirs.train_from_iterator(
        library_texts, tokenizers.trainers.BpeTrainer(vocab_size=900, initial_alphabet=alphabet, special_tokens=["<s>"])
    )
    theirs.save(str(tmp_path / "tokenizer.json"))
    ours, text = Tokenizer.load(tmp_path), CHINESE + "".join(library_texts)
    assert ours.encode(text) == theirs.encode(text).ids
    assert (ours.special("<s>"), ours.size) == (0, 900)


def test_a_special_token_that_is_not_there_is_refused_only_when_asked_for(folder: Path) -> None:
    table = json.loads((folder / "tokenizer.json").read_text())
    tokenizer = Tokenizer.read(table | {"added_tokens": []}, "bare.json")
    with pytest.raises(InputError, match=r"bare\.json: there is no special token <think>"):
        tokenizer.special("<think>")


def test_a_folder_without_a_tokenizer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"tokenizer\.json: cannot be read \(No such file"):
        Tokenizer.load(tmp_path)
