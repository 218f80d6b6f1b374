"""A tokenizer in a GGUF file gives the ids that llama.cpp gives, whichever its splits; damaged ones are refused."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers

from groundup.codecs import gguf_tokenizer
from groundup.codecs.gguf_tokenizer import BYTE, CONTROL, NORMAL, PRE_TOKENIZERS, UNKNOWN, USER_DEFINED
from groundup.codecs.text import Tokenizer
from groundup.codecs.tokenizer_files import TokenizerFiles
from groundup.core.errors import InputError
from groundup.core.gguf_file import GGUFFile
from tests.gguf_samples import write
from tests.llama_cpp import llama_cpp, texts

KEY = "tokenizer.ggml."
TEMPLATE = "{{ bos_token }}{% for message in messages %}<|im_start|>{{ message.content }}<|im_end|>{% endfor %}"


def byte_level(pre: str) -> dict[str, Any]:
    """The metadata of a small vocabulary of bytes, merged behind these splits, with special tokens at its end."""
    learner = tokenizers.Tokenizer(tokenizers.models.BPE())
    splits = {"pre_tokenizer": {"type": "Sequence", "pretokenizers": PRE_TOKENIZERS[pre]}}
    learner = tokenizers.Tokenizer.from_str(json.dumps(json.loads(learner.to_str()) | splits))
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    trainer = tokenizers.trainers.BpeTrainer(vocab_size=600, initial_alphabet=alphabet, show_progress=False)
    learner.train_from_iterator(texts(300), trainer)
    model = json.loads(learner.to_str())["model"]
    tokens = [*sorted(model["vocab"], key=model["vocab"].get), "<|im_start|>", "<|im_end|>", "<think>"]
    return {
        f"{KEY}model": "gpt2",
        f"{KEY}pre": pre,
        f"{KEY}tokens": tokens,
        f"{KEY}token_type": [NORMAL] * (len(tokens) - 3) + [CONTROL, CONTROL, USER_DEFINED],
        f"{KEY}merges": [" ".join(pair) for pair in model["merges"]],
        f"{KEY}bos_token_id": len(tokens) - 3,
        f"{KEY}eos_token_id": len(tokens) - 2,
        "tokenizer.chat_template": TEMPLATE,
    }


def sentencepiece(spaced: bool) -> dict[str, Any]:
    """The metadata of a small vocabulary of characters, with bytes for others, as SentencePiece makes one."""
    learner = tokenizers.Tokenizer(tokenizers.models.BPE())
    trainer = tokenizers.trainers.BpeTrainer(vocab_size=900, limit_alphabet=300, show_progress=False)
    learner.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace(prepend_scheme="never", split=True)
    learner.train_from_iterator(texts(300), trainer)
    model = json.loads(learner.to_str())["model"]
    learned = sorted(model["vocab"], key=model["vocab"].get)
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *learned, "<start_of_turn>"]
    kinds = [UNKNOWN, CONTROL, CONTROL] + [BYTE] * 256 + [NORMAL] * len(learned) + [CONTROL]
    return {
        f"{KEY}model": "llama",
        f"{KEY}tokens": tokens,
        f"{KEY}token_type": kinds,
        f"{KEY}scores": [0.0] * 259 + [-float(rank) for rank in range(len(learned))] + [0.0],
        f"{KEY}bos_token_id": 1,
        f"{KEY}eos_token_id": 2,
        f"{KEY}unknown_token_id": 0,
        f"{KEY}add_space_prefix": spaced,
    }


def model(path: Path, metadata: dict[str, Any]) -> Path:
    """The smallest model that llama.cpp loads, with this tokenizer."""
    sizes = {"context_length": 128, "embedding_length": 32, "block_count": 1, "feed_forward_length": 32}
    sizes |= {"attention.head_count": 1, "attention.head_count_kv": 1, "rope.dimension_count": 32}
    values = {f"llama.{key}": value for key, value in sizes.items()} | {"llama.attention.layer_norm_rms_epsilon": 1e-5}
    square, line = np.eye(32, dtype=np.float32), np.ones(32, np.float32)
    names = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")
    tensors = {f"blk.0.{name}.weight": square for name in names}
    tensors |= dict.fromkeys(("output_norm.weight", "blk.0.attn_norm.weight", "blk.0.ffn_norm.weight"), line)
    tensors["token_embd.weight"] = np.ones((len(metadata[f"{KEY}tokens"]), 32), np.float32)
    return write(path, values | metadata, tensors)


def files(path: Path, metadata: dict[str, Any], **changes: Any) -> TokenizerFiles:
    """The tokenizer of a file with this metadata; a change to None leaves a key out."""
    changed = metadata | {KEY + key: value for key, value in changes.items()}
    write(path / "a.gguf", {key: value for key, value in changed.items() if value is not None}, {})
    return gguf_tokenizer.files(GGUFFile.open(path / "a.gguf"))


# --- llama.cpp as the judge ---------------------------------------------------------------------------------


@pytest.mark.judge
@pytest.mark.parametrize("pre", PRE_TOKENIZERS)
def test_ids_are_those_of_llama_cpp(tmp_path, pre):
    path = model(tmp_path / "a.gguf", byte_level(pre))
    ours = Tokenizer.of(gguf_tokenizer.files(GGUFFile.open(path)))
    with llama_cpp(path) as judge:
        assert [text for text in texts(400) if judge.ids(text) != ours.encode(text)] == []
        said = "<|im_start|>one<|im_end|>"
        assert judge.ids(said, special=True) == [ours.special("<|im_start|>"), *ours.encode("one"), ours.ends[0]]


@pytest.mark.judge
@pytest.mark.parametrize("spaced", [True, False])
def test_ids_of_sentencepiece_are_those_of_llama_cpp(tmp_path, spaced):
    path = model(tmp_path / "a.gguf", sentencepiece(spaced))
    ours = Tokenizer.of(gguf_tokenizer.files(GGUFFile.open(path)))
    assert ours.begin == (1,)
    with llama_cpp(path) as judge:
        assert [text for text in texts(400) if judge.ids(text) != ours.encode(text)] == []


# --- there and back -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["llama-bpe", "smollm", "sentencepiece"])
def test_what_is_read_is_written(tmp_path, kind):
    metadata = sentencepiece(True) if kind == "sentencepiece" else byte_level(kind)
    found = files(tmp_path, metadata)
    again = gguf_tokenizer.metadata(found, len(metadata[f"{KEY}tokens"]))
    scores = metadata.pop(f"{KEY}scores", None)
    assert {key: again[key] for key in metadata} == metadata
    if scores:  # only their order counts, and only of tokens that merging makes
        made = [id for id, token in enumerate(metadata[f"{KEY}tokens"]) if id >= 259 and len(token) > 1][:-1]
        order = [sorted(made, key=lambda id, of=of: -of[id]) for of in (scores, again[f"{KEY}scores"])]
        assert order[0] == order[1]


def test_roles_templates_and_ends_are_named(tmp_path):
    metadata = byte_level("qwen2")
    found = files(tmp_path, metadata | {"tokenizer.chat_template.tool_use": "tools"}, eot_token_id=3)
    assert (found.config["bos_token"], found.config["eos_token"]) == ("<|im_start|>", "<|im_end|>")
    assert Tokenizer.of(found).begin == ()
    assert found.templates == {"default": TEMPLATE, "tool_use": "tools"}
    assert found.generation["eos_token_id"] == [metadata[f"{KEY}eos_token_id"], 3]


def test_a_tokenizer_json_that_the_file_carries_is_taken(tmp_path):
    table = {"model": {"type": "BPE"}}
    assert files(tmp_path, byte_level("qwen2") | {"tokenizer.huggingface.json": json.dumps(table)}).table == table


def test_more_embeddings_than_tokens_are_filled(tmp_path):
    again = gguf_tokenizer.metadata(files(tmp_path, byte_level("qwen2")), 640)
    assert len(again[f"{KEY}tokens"]) == 640 == len(set(again[f"{KEY}tokens"]))


def test_tags_of_training_are_taken_from_a_template():
    text = "a {%- generation -%} b {%  endgeneration %}{% set generation = 1 %}"
    assert gguf_tokenizer.plain_template(text) == "a {%- if true -%} b {%  endif %}{% set generation = 1 %}"


# --- refusals -----------------------------------------------------------------------------------------------

BAD: dict[str, tuple[dict[str, Any], str]] = {
    "no tokenizer": ({"model": None}, "tokenizer.ggml.model is missing; expected a text"),
    "another kind": ({"model": "bert"}, "the tokenizer is 'bert'; read are gpt2 .* and llama"),
    "no splits": ({"pre": None}, "tokenizer.ggml.pre is missing"),
    "unknown splits": ({"pre": "default"}, "tokenizer.ggml.pre is 'default'; read are qwen2, llama-bpe"),
    "no tokens": ({"tokens": None}, "tokenizer.ggml.tokens is missing; expected a list of texts"),
    "tokens that are numbers": ({"tokens": [1, 2]}, "tokenizer.ggml.tokens is of type ndarray"),
    "a token twice": ({"tokens": ["a", "b", "a"]}, "the token 'a' stands 2 times"),
    "types of other tokens": (
        {"token_type": [1, 1]},
        "tokenizer.ggml.token_type is of type ndarray; expected 603 numbers",
    ),
    "id beyond the vocabulary": (
        {"eos_token_id": 700},
        "tokenizer.ggml.eos_token_id is of type int; expected an id below",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_wrong_tokenizer_is_refused_in_one_sentence(tmp_path, name):
    changes, message = BAD[name]
    with pytest.raises(InputError, match=message) as raised:
        files(tmp_path, byte_level("qwen2"), **changes)
    assert "\n" not in str(raised.value) and "a.gguf" in str(raised.value)


def test_splits_without_a_name_in_llama_cpp_are_refused(tmp_path):
    found = files(tmp_path, byte_level("qwen2"))
    found.table["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = "x"
    with pytest.raises(InputError, match=r"llama\.cpp has no name for these splits; known are qwen2"):
        gguf_tokenizer.metadata(found, 700)


def test_more_tokens_than_embeddings_are_refused(tmp_path):
    with pytest.raises(InputError, match="a token has the id 602, and the model 600 embeddings"):
        gguf_tokenizer.metadata(files(tmp_path, byte_level("qwen2")), 600)
