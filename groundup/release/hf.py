"""Export: a model in the Hugging Face layout, with the record of how it came about.

`transformers`, vLLM and the converters of llama.cpp load the folder. It carries a model card, rendered from the manifests,
and `lineage.json`, so that `groundup trace` answers for it wherever it goes.
"""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import torch

from groundup import ledger
from groundup.codecs.text import Tokenizer
from groundup.errors import InputError
from groundup.files import disk_error, write_json, write_text
from groundup.ledger import Manifest
from groundup.model import weights
from groundup.release.card import card
from groundup.release.lineage import LINEAGE, Lineage, lineage

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
STAGE = "export"


def export(model: Path, out: Path, dtype: Literal["fp32", "bf16"] = "fp32") -> list[Path]:
    """Write a finished stage's model to `out`, its weights in `dtype`; returns the files.

    Raises InputError when `out` holds anything that no export wrote, when the model's record is broken or its files are not
    those that its stage wrote, or when `model` is an export already. A failed export leaves `out` as it was.
    """
    _require_free(out)
    found = _sound(model)
    with _beside(out) as folder:
        _write_model(model, folder, dtype)
        table = Lineage((*found.stages, _manifest(found, folder, dtype)), found.evaluation, found.base)
        write_text(folder / "README.md", card(table))
        write_json(folder / LINEAGE, table.as_json())
        return _put(folder, out)


def _require_free(out: Path) -> None:
    if out.is_dir() and any(out.iterdir()) and not (out / LINEAGE).exists():
        raise InputError(f"{out}: holds files that no export wrote, and they are kept; name a new folder")
    if out.exists() and not out.is_dir():
        raise InputError(f"{out}: is a file; name a folder")


def _sound(model: Path) -> Lineage:
    found = lineage(model).require()
    if (model / LINEAGE).exists():
        raise InputError(f"{model}: is an export already; name the finished stage that it was made from")
    weights.shape_of(model)
    if (name := ledger.damaged(model, found.model)) is not None:
        raise InputError(f"{model / name}: is gone or has other content than its stage wrote; run the recipe again")
    return found


def _write_model(model: Path, folder: Path, dtype: Literal["fp32", "bf16"]) -> None:
    tokenizer = Tokenizer.load(model)
    weights.save(weights.load(model, torch.device("cpu")), folder, tokenizer.im_end, DTYPES[dtype])
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(model / name, folder / name)
    ends = [tokenizer.im_end, tokenizer.end]  # where groundup's own generation stops, greedy as it is by default
    write_json(folder / "generation_config.json", {"do_sample": False, "eos_token_id": ends, "pad_token_id": tokenizer.end})


def _manifest(found: Lineage, folder: Path, dtype: str) -> Manifest:
    """The export as the last link of the chain. The card is not in it: it is rendered from the chain."""
    part, parents = {"layout": "huggingface", "dtype": dtype}, {found.model.stage: found.model.digest}
    code = ledger.code_version(__name__)
    return Manifest(
        stage=STAGE,
        key=ledger.key(STAGE, part, code, found.model.seed, {}, parents),
        parents=parents,
        part=part,
        code=code,
        inputs={},
        seed=found.model.seed,
        outputs=ledger.outputs(folder, [path.name for path in folder.iterdir()]),
        libraries=ledger.libraries(),
        finished=ledger.now(),
    )


@contextmanager
def _beside(out: Path) -> Iterator[Path]:
    """A folder beside `out`, gone at the end. Raises InputError for a full disk or a place that cannot be written."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as folder:
            yield Path(folder)
    except OSError as error:
        raise disk_error(error, out) from error


def _put(folder: Path, out: Path) -> list[Path]:
    """Move the files over, the lineage first: it marks `out` as an export's, should the rest not follow."""
    out.mkdir(exist_ok=True)
    names = sorted((path.name for path in folder.iterdir()), key=lambda name: (name != LINEAGE, name))
    for name in names:
        (folder / name).replace(out / name)
    return [out / name for name in names]
