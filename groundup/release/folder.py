"""Writes an export's folder atomically, with the model's lineage."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from groundup.core import ledger
from groundup.core.errors import InputError
from groundup.core.files import disk_errors, sync, temporary_folder, write_json, write_text
from groundup.core.ledger import Manifest
from groundup.core.source_code import code_version
from groundup.model import weights
from groundup.release.about import ABOUT, About, about
from groundup.release.lineage import LINEAGE, Lineage, company, lineage

STAGE = "export"
VERSIONS = {"export": 2}  # raised when the same model gives other files
CARD = "README.md"


def release(
    model: Path, out: Path, part: dict[str, Any], module: str, write: Callable[[Path], None], card: Callable[[Lineage,
    About], str] | None = None
) -> list[Path]:  # fmt: skip
    """Export a finished stage's model to `out`; return the files. A failed export leaves `out` as it was.

    `write` fills a folder as `part` says, by the code of `module`; `card` makes its README.md. Raises InputError when
    `out` holds other files, the model's record is broken, its files have changed, or the model is itself an export.
    """
    _require_free(out)
    found, stated = _sound(model), about(model)
    with disk_errors(out), temporary_folder(out.resolve()) as folder:  # "." has no parent to write beside
        write(folder)
        write_json(folder / ABOUT, stated.model_dump(mode="json"))
        link = _manifest(found, folder, part, module)
        if card is not None:
            write_text(folder / CARD, card(_ended(found, link), stated))
            link = replace(link, outputs=link.outputs | ledger.outputs(folder, [CARD]))
        write_json(folder / LINEAGE, _ended(found, link).as_json())
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
    weights.config_of(model)
    if (name := ledger.damaged(model, found.model)) is not None:
        raise InputError(f"{model / name}: is gone or has other content than its stage wrote; run the recipe again")
    return found


def _ended(found: Lineage, link: Manifest) -> Lineage:
    """A model's chain with the export as its last link."""
    measured = () if found.evaluation is None else (found.evaluation,)
    return Lineage((*found.stages, link), measured, found.base)


def _manifest(found: Lineage, folder: Path, part: dict[str, Any], module: str) -> Manifest:
    """The export as the last link of the chain."""
    parents, code = {found.model.stage: found.model.digest}, code_version(module)
    return Manifest(
        stage=STAGE,
        key=ledger.key(STAGE, part, VERSIONS, found.model.seed, {}, parents),
        parents=parents,
        part=part,
        code=code,
        inputs={},
        seed=found.model.seed,
        outputs=ledger.outputs(folder, [path.name for path in folder.iterdir()]),
        libraries=ledger.libraries(),
        finished=ledger.now(),
        records={found.model.stage: found.model.record, **company(found)},
        versions=VERSIONS,
    )


def _put(folder: Path, out: Path) -> list[Path]:
    """Rename a new export into place, or replace an older one file by file, the lineage first: it lists the others."""
    names = sorted((path.name for path in folder.iterdir()), key=lambda name: (name != LINEAGE, name))
    for name in names:
        sync(folder / name)
    if out.exists():
        for name in names:
            (folder / name).replace(out / name)
    else:
        folder.rename(out.resolve())
    sync(out.resolve().parent)
    return [out / name for name in names]
