"""An export to GGUF is, in llama.cpp, the model that it is here; and read back it is the same."""

import json
import math
from pathlib import Path

import pytest
import torch

from groundup.codecs import chat
from groundup.codecs.normal import normalise
from groundup.codecs.text import Tokenizer
from groundup.core.errors import InputError
from groundup.core.gguf_file import GGUFFile
from groundup.model import weights
from groundup.model.gguf import GGUFSource
from groundup.model.rotary import RopeScaling
from groundup.model.transformer import Transformer
from groundup.release.export.gguf import TYPES, export, write
from tests.llama_cpp import llama_cpp, texts
from tests.random_models import random_model

CPU = torch.device("cpu")
CALL = {"id": "1", "type": "function", "function": {"name": "look", "arguments": '{"place": "door"}'}}
PLACE = {"type": "object", "properties": {"place": {"type": "string"}}}
TOOLS = [{"type": "function", "function": {"name": "look", "description": "Look there", "parameters": PLACE}}]
CONVERSATION = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "the cat 机器人 sat"},
    {"role": "assistant", "content": "", "tool_calls": [CALL]},
    {"role": "tool", "content": "three of them", "tool_call_id": "1"},
    {"role": "assistant", "content": "the dog"},
    {"role": "user", "content": "then?"},
]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    """A vocabulary of our own, learned from texts in ten scripts."""
    return Tokenizer.learn(texts(200), 700)


@pytest.fixture(scope="module")
def folder(tokenizer, tmp_path_factory) -> Path:
    """A model with random weights and that vocabulary."""
    folder = tmp_path_factory.mktemp("model")
    weights.save(random_model(width=64, ffn=96, vocab=tokenizer.size, context=256), folder, tokenizer.im_end)
    tokenizer.save(folder)
    return folder


def log_probabilities(model: Transformer, ids: list[int]) -> torch.Tensor:
    with torch.no_grad():
        return model.logits(model(torch.tensor([ids]), torch.arange(len(ids))[None]))[0].float().log_softmax(-1)


GEMMA = {"norms": "around", "activation": "gelu", "embed_scale": 8.0}
ARCHITECTURES = {
    "llama": {"qk_norm": "none"},
    "llama with biases": {"qk_norm": "none", "bias": "qkvo", "tied": False},
    "llama 3": {"qk_norm": "none", "rope_scaling": RopeScaling("llama3", 8.0, 64, 1.0, 4.0)},
    "qwen2": {"qk_norm": "none", "bias": "qkv"},
    "smollm3": {"qk_norm": "none", "layers": ("full", "full", "full", "unrotated"), "depth": 5},
    "olmo2": {"qk_norm": "width", "norms": "after", "tied": False},
    "olmo3": {
        "qk_norm": "width",
        "norms": "after",
        "tied": False,
        "layers": ("window", "window", "window", "full"),
        "window": 24,
        "depth": 5,
    },
    "olmo3 yarn": {
        "qk_norm": "width",
        "norms": "after",
        "tied": False,
        "layers": ("window", "window", "window", "full"),
        "window": 24,
        "depth": 4,
        "window_rope_base": 10_000.0,
        "rope_scaling": RopeScaling("yarn", 4.0, 64, 1.0, 32.0, 1 + 0.1 * math.log(4)),
    },
    "gemma3": {
        **GEMMA,
        "layers": ("window",) * 5 + ("full",),
        "window": 24,
        "depth": 7,
        "window_rope_base": 10_000.0,
        "rope_base": 1e6,
    },
    "gemma3 of another period": {
        **GEMMA,
        "layers": ("window", "full"),
        "window": 24,
        "depth": 4,
        "window_rope_base": 20_000.0,
        "rope_base": 1e6,
    },
    "gemma3 without windows": GEMMA,
    "qwen3 yarn": {"rope_scaling": RopeScaling("yarn", 4.0, 64, 1.0, 32.0, 1 + 0.1 * math.log(4))},
    "qwen3 linear": {"rope_scaling": RopeScaling("linear", 4.0), "tied": False, "rope_base": 1e6},
}


# --- files --------------------------------------------------------------------------------------------------


def test_the_files_are_written_and_named(original, tmp_path):
    written = export(original / "instruct", tmp_path / "out", "F32")
    assert {path.name for path in written} == {"model.gguf", "Modelfile", "about.json", "lineage.json"}
    said = GGUFFile.open(tmp_path / "out" / "model.gguf").metadata
    assert (said["general.name"], said["general.architecture"], said["tokenizer.ggml.pre"]) == (
        "instruct",
        "qwen3",
        "qwen2",
    )
    assert "PSF-2.0" in said["general.license"]


@pytest.mark.parametrize("kind", TYPES)
def test_what_is_exported_is_read_back(folder, tmp_path, kind):
    write(folder, tmp_path / "a.gguf", kind)
    ours, theirs = weights.load(folder, CPU), weights.load(GGUFSource(tmp_path / "a.gguf"), CPU)
    assert ours.config == theirs.config
    step = {"F32": 0.0, "F16": 2**-11, "BF16": 2**-8, "Q8_0": 1 / 127, "Q4_0": 1 / 7}[kind]  # of a row's largest weight
    for name, value in ours.state_dict().items():
        largest = value.abs().amax(-1, keepdim=True)
        assert (value - theirs.state_dict()[name]).abs().le(largest * step).all(), name


def test_norms_are_kept_exactly_and_embeddings_with_8_bits(folder, tmp_path):
    write(folder, tmp_path / "a.gguf", "Q4_0")
    kinds = {name: tensor.kind.name for name, tensor in GGUFFile.open(tmp_path / "a.gguf").tensors.items()}
    assert kinds["blk.0.attn_norm.weight"] == "F32" and kinds["token_embd.weight"] == "Q8_0"
    assert kinds["blk.0.attn_q.weight"] == "Q4_0"


def test_the_tokenizer_is_read_back(folder, tmp_path, tokenizer):
    from groundup.codecs import gguf_tokenizer

    write(folder, tmp_path / "a.gguf", "F16")
    files = gguf_tokenizer.files(GGUFFile.open(tmp_path / "a.gguf"))
    back = Tokenizer.of(files)
    assert back.digest == tokenizer.digest and back.ends == tokenizer.ends
    assert files.templates["default"] == json.loads((folder / "tokenizer_config.json").read_text())["chat_template"]


def test_the_modelfile_has_the_template_of_turns_and_the_stops(original, tmp_path):
    export(original / "instruct", tmp_path / "out", "F32")
    assert (tmp_path / "out" / "Modelfile").read_text() == (
        "FROM ./model.gguf\n"
        'TEMPLATE """{{ if .System }}<|im_start|>system\n{{ .System }}<|im_end|>\n{{ end }}{{ if .Prompt }}'
        '<|im_start|>user\n{{ .Prompt }}<|im_end|>\n<|im_start|>assistant\n{{ end }}{{ .Response }}<|im_end|>\n"""\n'
        'PARAMETER stop "<|im_end|>"\nPARAMETER stop "<|endoftext|>"\n'
    )


# --- refusals -----------------------------------------------------------------------------------------------


def test_an_unknown_type_is_refused(original, tmp_path):
    with pytest.raises(InputError, match=r"--type Q4_K: is none of F32, BF16, F16, Q8_0, Q4_0"):
        export(original / "instruct", tmp_path / "out", "Q4_K")
    assert not (tmp_path / "out").exists()


def test_a_model_that_sees_is_refused(run, tmp_path):
    weights.save(random_model(patch=8, patches=16), run / "instruct", None)
    with pytest.raises(InputError, match="sees images, which GGUF has no place for"):
        export(run / "instruct", tmp_path / "out")


def test_weights_that_a_type_cannot_hold_are_refused(folder, tmp_path):
    model = weights.load(folder, CPU)
    with torch.no_grad():
        model.model.layers[0].mlp.up_proj.weight[0, 0] = 1e6
    weights.save(model, tmp_path, 5)
    Tokenizer.load(folder).save(tmp_path)
    with pytest.raises(InputError, match=r"blk.0.ffn_up.weight has weights that are too large for F16"):
        write(tmp_path, tmp_path / "a.gguf", "F16")


# --- llama.cpp as the judge ---------------------------------------------------------------------------------


@pytest.mark.judge
def test_llama_cpp_gives_the_same_ids_of_texts_in_ten_scripts(folder, tmp_path, tokenizer):
    write(folder, tmp_path / "a.gguf", "F32")
    with llama_cpp(tmp_path / "a.gguf") as judge:
        assert [text for text in map(normalise, texts()) if judge.ids(text) != tokenizer.encode(text)] == []


@pytest.mark.judge
@pytest.mark.parametrize("tools", [None, TOOLS], ids=["plain", "tools"])
def test_llama_cpp_renders_conversations_to_the_same_ids(folder, tmp_path, tokenizer, tools):
    write(folder, tmp_path / "a.gguf", "F32")
    with llama_cpp(tmp_path / "a.gguf") as judge:
        body = {"messages": CONVERSATION} | ({"tools": tools} if tools else {})
        rendered = judge.post("/apply-template", body)["prompt"]
        assert judge.ids(rendered, special=True) == chat.prompt(tokenizer, CONVERSATION, tools)


@pytest.mark.judge
def test_llama_cpp_generates_the_same_greedy_ids_in_fp32(folder, tmp_path):
    write(folder, tmp_path / "a.gguf", "F32")
    prompt = [70, 80, 90, 100]
    with llama_cpp(tmp_path / "a.gguf") as judge:
        ids, found = judge.greedy(prompt, 64)
    ours = log_probabilities(weights.load(folder, CPU), prompt + ids)[len(prompt) - 1 : -1]
    assert ours.argmax(-1).tolist() == ids and len(ids) == 64
    assert float(ours[0, ids[0]]) == pytest.approx(found[0]["logprob"], abs=1e-3)


@pytest.mark.judge
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_architecture_goes_out_and_comes_in(tmp_path, tokenizer, name):
    """Read back it has the same bits, and llama.cpp chooses the same tokens, beyond the context that is scaled too."""
    model = random_model(3, width=64, ffn=96, vocab=tokenizer.size, context=256, **ARCHITECTURES[name])
    weights.save(model, tmp_path, tokenizer.im_end)
    tokenizer.save(tmp_path)
    write(tmp_path, tmp_path / "a.gguf", "F32")
    back = weights.load(tmp_path / "a.gguf", CPU)
    assert back.config == model.config
    assert [key for key, value in back.state_dict().items() if not torch.equal(value, model.state_dict()[key])] == []
    prompt = torch.randint(20, 200, (100,), generator=torch.Generator().manual_seed(0)).tolist()
    with llama_cpp(tmp_path / "a.gguf") as judge:
        ids, _ = judge.greedy(prompt, 16)
    assert log_probabilities(model, prompt + ids)[len(prompt) - 1 : -1].argmax(-1).tolist() == ids


@pytest.mark.judge
def test_8_bits_change_few_of_a_trained_models_choices(tmp_path, tokenizer):
    """The model is trained for a moment on texts, so that its choices have a margin, as those of a real one."""
    model = trained(tokenizer)
    weights.save(model, tmp_path, tokenizer.im_end)
    tokenizer.save(tmp_path)
    write(tmp_path, tmp_path / "a.gguf", "Q8_0")
    same = total = 0
    with llama_cpp(tmp_path / "a.gguf") as judge:
        for text in texts(6):
            prompt = tokenizer.encode(text)[:4]
            ids, _ = judge.greedy(prompt, 64)
            ours = log_probabilities(model, prompt + ids)[len(prompt) - 1 : -1].argmax(-1)
            same, total = same + int((ours == torch.tensor(ids)).sum()), total + len(ids)
    assert total > 300 and same >= 0.99 * total


def trained(tokenizer: Tokenizer) -> Transformer:
    """A small model that has learnt some texts by heart."""
    rows = torch.tensor([tokenizer.encode(text * 40)[:80] for text in texts(16)])
    model = random_model(width=64, ffn=96, vocab=tokenizer.size, context=256).train()
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for _ in range(40):
        logits = model.logits(model(rows[:, :-1], torch.arange(79).expand(len(rows), -1))).float()
        torch.nn.functional.cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten()).backward()
        optimizer.step()
        optimizer.zero_grad()
    return model.eval()
