"""An export loads elsewhere with the same numbers, and nothing of the user's is lost in making one."""

import errno
import json
import shutil

import pytest
import torch
from safetensors.torch import load_file

from groundup.codecs import chat
from groundup.codecs.text import Tokenizer
from groundup.core.errors import InputError
from groundup.evaluate.display import Cell, Table
from groundup.model import weights
from groundup.release.card import markdown
from groundup.release.export.hf import export
from tests.release.release_helpers import ATTACK

FILES = {
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
    "README.md",
    "about.json",
    "lineage.json",
}
CONVERSATION = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "the cat 机器人 sat"},
    {
        "role": "assistant",
        "content": "",
        "tool_calls": [{"function": {"name": "look", "arguments": {"place": "door"}}}],
    },
    {"role": "tool", "content": "three of them"},
    {"role": "assistant", "content": "the dog"},
    {"role": "user", "content": "then?"},
]
TOOLS = [
    {
        "type": "function",
        "function": {"name": "look", "parameters": {"type": "object", "properties": {"place": {"type": "string"}}}},
    }
]


def test_the_files_are_written_and_named(original, tmp_path):
    written = export(original / "instruct", tmp_path / "out")
    assert {path.name for path in written} == FILES == {path.name for path in (tmp_path / "out").iterdir()}
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize(("dtype", "expected"), [("fp32", torch.float32), ("bf16", torch.bfloat16)])
def test_weights_are_those_of_the_stage_in_the_dtype_asked_for(original, tmp_path, dtype, expected):
    export(original / "instruct", tmp_path / "out", dtype)
    here, there = (
        load_file(original / "instruct" / "model.safetensors"),
        load_file(tmp_path / "out" / "model.safetensors"),
    )
    assert here.keys() == there.keys()
    for name, tensor in there.items():
        assert tensor.dtype is expected and torch.equal(tensor, here[name].to(expected))
    assert json.loads((tmp_path / "out" / "config.json").read_text())["dtype"] == str(expected).removeprefix("torch.")


def test_an_export_is_itself_a_model_folder(original, tmp_path):
    export(original / "instruct", tmp_path / "out")
    model = weights.load(tmp_path / "out", torch.device("cpu"))
    assert torch.equal(
        model.model.norm.weight, weights.load(original / "instruct", torch.device("cpu")).model.norm.weight
    )
    assert Tokenizer.load(tmp_path / "out").digest == Tokenizer.load(original / "instruct").digest


# --- refusals ----------------------------------------------------------------------------------------------


def test_a_folder_with_other_files_is_kept(original, tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(InputError, match="holds files that no export wrote"):
        export(original / "instruct", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_stage_is_not_overwritten_with_its_own_export(run):
    before = (run / "instruct" / "model.safetensors").read_bytes()
    with pytest.raises(InputError, match="holds files that no export wrote"):
        export(run / "instruct", run / "instruct", "bf16")
    assert (run / "instruct" / "model.safetensors").read_bytes() == before


def test_an_earlier_export_is_replaced_and_files_beside_it_stay(original, tmp_path):
    export(original / "pretrain", tmp_path / "out")
    (tmp_path / "out" / "notes.txt").write_text("mine")
    export(original / "instruct", tmp_path / "out")
    assert json.loads((tmp_path / "out" / "lineage.json").read_text())["stages"][-2]["stage"] == "instruct"
    assert (tmp_path / "out" / "notes.txt").read_text() == "mine"


def test_a_full_disk_leaves_what_was_there(original, tmp_path, monkeypatch):
    export(original / "pretrain", tmp_path / "out")
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(InputError, match="the disk is full"):
        export(original / "instruct", tmp_path / "out")
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_file_in_the_place_of_the_folder_is_refused(original, tmp_path):
    (tmp_path / "out").write_text("")
    with pytest.raises(InputError, match="is a file"):
        export(original / "instruct", tmp_path / "out")


def test_a_model_whose_weights_changed_is_not_exported(run, tmp_path):
    shutil.copyfile(run / "pretrain" / "model.safetensors", run / "instruct" / "model.safetensors")
    with pytest.raises(InputError, match=r"model\.safetensors: is gone or has other content"):
        export(run / "instruct", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_model_with_a_broken_record_is_not_exported(run, tmp_path):
    shutil.rmtree(run / "tokenizer")
    with pytest.raises(InputError, match=r"tokenizer.*is gone"):
        export(run / "instruct", tmp_path / "out")


def test_an_export_is_not_exported(original, tmp_path):
    export(original / "instruct", tmp_path / "out")
    with pytest.raises(InputError, match="an export already"):
        export(tmp_path / "out", tmp_path / "again")


def test_a_stage_without_weights_is_not_exported(original, tmp_path):
    with pytest.raises(InputError, match=r"holds no config\.json"):
        export(original / "tokenizer", tmp_path / "out")


# --- the card ----------------------------------------------------------------------------------------------


def test_the_card_names_data_licences_and_warnings(original, tmp_path):
    export(original / "instruct", tmp_path / "out", "bf16")
    card = (tmp_path / "out" / "README.md").read_text()
    for words in (
        "weights in bf16",
        "the licence of source handbook is not stated",
        "| library | python-library | PSF-2.0 |",
        "4,500,000",
    ):
        assert words in card


def test_a_card_table_shows_texts_as_they_are():
    table = Table("said", ("who", ">times"), [[Cell("a|b\n# [x](y)"), "1"], [ATTACK, "2"]])
    assert markdown(table).splitlines()[2:] == [
        "| who | times |",
        "| --- | ---: |",
        r"| a\|b \# \[x\](y) | 1 |",
        r"| \<script\>alert(1)\</script\> | 2 |",
    ]


# --- transformers as the judge -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def transformers():
    return pytest.importorskip("transformers")


@pytest.mark.judge
def test_transformers_computes_the_same_logits(original, tmp_path, transformers):
    export(original / "instruct", tmp_path / "out")
    model = weights.load(original / "instruct", torch.device("cpu"))
    ids = torch.randint(0, model.config.vocab, (2, 48), generator=torch.Generator().manual_seed(0))
    reference = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out", local_files_only=True).eval()
    with torch.no_grad():
        theirs = reference(ids).logits
        ours = model.logits(model(ids, torch.arange(48).expand(2, -1)))
    # Sums in another order: differences of a few units in the last place of fp32, on logits of size one.
    torch.testing.assert_close(ours, theirs, atol=2e-5, rtol=1e-4)


@pytest.mark.judge
def test_transformers_renders_conversations_to_the_same_ids(original, tmp_path, transformers):
    export(original / "instruct", tmp_path / "out")
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "out", local_files_only=True)
    ours = Tokenizer.load(original / "instruct")
    for tools in (None, TOOLS):
        ids = theirs.apply_chat_template(CONVERSATION, tools=tools, add_generation_prompt=True, return_dict=False)
        assert ids == chat.prompt(ours, CONVERSATION, tools)
    assert theirs.eos_token_id == ours.im_end


@pytest.mark.judge
def test_transformers_stops_where_we_stop(original, tmp_path, transformers):
    export(original / "instruct", tmp_path / "out")
    settings = transformers.GenerationConfig.from_pretrained(tmp_path / "out", local_files_only=True)
    ours = Tokenizer.load(original / "instruct")
    assert settings.eos_token_id == [ours.im_end, ours.end] and settings.do_sample is False
