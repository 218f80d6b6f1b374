"""Changes bytes of a finished run and of an export, everywhere: `python -m tests.release.flips` counts what tracing
does not notice.

Every bit of every manifest is flipped alone, two bits of every seventh byte of an export's `lineage.json`, and some of
every output; every field of every manifest that others follow gets another value, the manifest's own identities written
anew.
"""

import random
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from groundup.core import ledger
from groundup.core.errors import InputError
from groundup.core.ledger import Manifest
from groundup.release.export.hf import export
from groundup.release.lineage import LINEAGE, lineage
from tests.release.release_helpers import Run, evaluation, make_run

HEAD = "report"  # the last manifest: none follows it


def finished(home: Path) -> tuple[Path, Path]:
    """A finished run with its report, and an export of its model."""
    root = make_run(home, evaluation())
    run = Run(root)
    run.folder(HEAD).mkdir()
    (run.folder(HEAD) / "report.html").write_text("<!doctype html>a page", encoding="utf-8")
    parents = tuple(stage.stage for stage in lineage(root / "instruct").stages)
    run.record(HEAD, "small", (*parents, "evaluate"))
    export(root / "instruct", home / "out")
    return root, home / "out"


def flipped(path: Path, step: int, bits: tuple[int, ...]) -> Iterator[tuple[int, int]]:
    """Flip bits of every so manieth byte of a file, one at a time; yields place and bit while they are flipped."""
    data = path.read_bytes()
    for place in range(0, len(data), step):
        for bit in bits:
            changed = bytearray(data)
            changed[place] ^= 1 << bit
            path.write_bytes(changed)
            yield place, bit
    path.write_bytes(data)


def noticed(model: Path, verify: bool = True) -> bool:
    """Whether tracing says that something is wrong."""
    try:
        return bool(lineage(model, verify).breaks)
    except InputError:
        return True


def refused(folder: Path) -> bool:
    """Whether a stage's manifest is refused."""
    try:
        ledger.read(folder)
    except InputError:
        return True
    return False


def of_manifests(root: Path, step: int = 1, bits: tuple[int, ...] = tuple(range(8))) -> list[bool]:
    """Of each flip in a manifest whether it is refused, which tracing takes for a break: that is looked at for the
    first byte of each.
    """
    found = []
    for path in sorted(root.glob("*/manifest.json")):
        assert [noticed(root / "instruct") for _ in flipped(path, 1 << 40, (0,))] == [True], path
        found += [refused(path.parent) for _ in flipped(path, step, bits)]
    return found


def of_lineage(out: Path, step: int = 1, bits: tuple[int, ...] = tuple(range(8))) -> list[bool]:
    """Of each flip in an export's lineage whether it is noticed."""
    return [noticed(out, verify=False) for _ in flipped(out / LINEAGE, step, bits)]


def of_outputs(root: Path, out: Path, tries: int) -> list[bool]:
    """Of flips of random bytes of every output of a run and of an export whether they are noticed."""
    chance, found = random.Random(1), []
    outputs = [
        (root / "instruct", path) for path in root.glob("*/**/*") if path.is_file() and path.name != "manifest.json"
    ]
    outputs += [(out, path) for path in out.iterdir() if path.name != LINEAGE]
    for model, path in sorted(outputs):
        data = path.read_bytes()
        for _ in range(tries):
            changed = bytearray(data)
            changed[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
            path.write_bytes(changed)
            found.append(noticed(model))
        path.write_bytes(data)
    return found


def of_fields(root: Path) -> dict[str, bool]:
    """Of another value in each field of each manifest but the last, its own identities written anew, whether it is
    noticed.
    """
    found = {}
    for path in sorted(root.glob("*/manifest.json")):
        manifest, text = ledger.read(path.parent), path.read_bytes()
        assert manifest is not None
        for field in fields(Manifest) if manifest.stage != HEAD else ():
            path.unlink()
            ledger.write(path.parent, replace(manifest, **{field.name: other(getattr(manifest, field.name))}))
            found[f"{manifest.stage}.{field.name}"] = noticed(root / "instruct")
        path.write_bytes(text)
    return found


def other(value: Any) -> Any:
    """Another value of the same type."""
    match value:
        case str():
            return value[:-1] + "x"
        case dict() if value:
            return {name: each for name, each in value.items() if name != next(iter(value))}
        case dict():
            return {"more": {"sha256": "x", "bytes": 1}}
        case list():
            return [*value, "x"]
        case None:
            return 1.0
        case _:
            return value / 2 + 1 if isinstance(value, float) else value + 1


def main() -> None:
    """Print tries and what was not noticed."""
    with tempfile.TemporaryDirectory() as home:
        root, out = finished(Path(home))
        assert not noticed(root / "instruct") and not noticed(out)
        tell("fields of manifests, identities written anew", list(of_fields(root).values()))
        tell("bits of outputs", of_outputs(root, out, 20))
        tell("bits of manifests", of_manifests(root))
        tell("bits of an export's lineage", of_lineage(out, 7, (0, 5)))


def tell(name: str, found: list[bool]) -> None:
    """Print a count."""
    print(f"{name}: {len(found):,} changed, {found.count(False):,} not noticed", flush=True)


if __name__ == "__main__":
    main()
