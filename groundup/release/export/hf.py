"""Export in the Hugging Face layout, with model card and `lineage.json`; transformers and vLLM load it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import torch

from groundup.codecs.text import Tokenizer
from groundup.codecs.tokenizer_files import GENERATION, copy
from groundup.core.files import write_json
from groundup.core.tables import EXPORTS
from groundup.model import weights
from groundup.release.card import card
from groundup.release.exporter import Export
from groundup.release.folder import release

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def export(model: Path, out: Path, dtype: Literal["fp32", "bf16"] = "fp32") -> list[Path]:
    """Write a finished stage's model to `out`, weights in `dtype`; return the files. Raises InputError as `release`."""
    part = {"layout": "huggingface", "dtype": dtype}
    return release(model, out, part, __name__, lambda folder: _write_model(model, folder, dtype), card)


def _write_model(model: Path, folder: Path, dtype: Literal["fp32", "bf16"]) -> None:
    tokenizer = Tokenizer.load(model)
    weights.save(weights.load(model, torch.device("cpu")), folder, tokenizer.turn_end, DTYPES[dtype])
    if GENERATION not in copy(model, folder):  # as groundup's own generation stops, greedy as it is by default
        ends = list(tokenizer.ends)
        write_json(folder / GENERATION, {"do_sample": False, "eos_token_id": ends, "pad_token_id": tokenizer.pad})


def _write(model: Path, out: Path, options: Mapping[str, str]) -> list[Path]:
    return export(model, out, "bf16" if options.get("dtype") == "bf16" else "fp32")


_ANY_SIZE = "the layout hf has pictures of any size; leave it out, or export --to onnx"
_TYPE = "the layout hf has --dtype instead; leave it out, or export --to gguf"
EXPORTS.add("hf", Export(_write, {"type": _TYPE, "size": _ANY_SIZE}))
