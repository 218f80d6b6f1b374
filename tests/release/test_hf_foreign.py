"""An exported model of another project keeps its words: transformers gives the same ids and the same rendering."""

import json
from pathlib import Path

import pytest

from groundup.codecs import chat
from groundup.codecs.text import Tokenizer
from groundup.model import weights
from groundup.release.export import hf
from tests.codecs import foreign_samples
from tests.codecs.chat_templates import TEMPLATES
from tests.codecs.test_foreign_chat import TALK
from tests.random_models import random_model


@pytest.mark.parametrize("name", ["SmolLM2", "Qwen3", "Gemma 3", "Mistral"])
def test_the_export_has_the_same_ids_and_rendering_in_transformers(name: str, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers", reason="transformers is the judge")
    form, template = TEMPLATES[name]
    model = foreign_samples.write(tmp_path / "model", form, template, eos_token_id=[1, 2], temperature=0.6)
    tokenizer = Tokenizer.load(model)
    weights.save(random_model(depth=1, width=16, ffn=16, vocab=tokenizer.size), model, tokenizer.turn_end)
    (tmp_path / "out").mkdir()
    hf._write_model(model, tmp_path / "out", "fp32")
    for file in ("tokenizer.json", "tokenizer_config.json", "generation_config.json"):
        assert (tmp_path / "out" / file).read_bytes() == (model / file).read_bytes()
    theirs = transformers.PreTrainedTokenizerFast.from_pretrained(tmp_path / "out")
    rendered = theirs.apply_chat_template(TALK[:3], tokenize=False, add_generation_prompt=True)
    assert theirs(rendered, add_special_tokens=False).input_ids == chat.prompt(tokenizer, TALK[:3])
    assert json.loads((tmp_path / "out" / "generation_config.json").read_text())["eos_token_id"] == [1, 2]
