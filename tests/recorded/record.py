"""The record of digests and versions: what each stage of a tiny run came to, and by which versions.

Documents, tokenizer and shards are the same on every processor. Weights and figures depend on its instructions: their
digests are recorded by processor, and the last loss of each training for all others.
"""

import json
import platform
import tempfile
from pathlib import Path
from typing import Any

import torch

from tests.recorded.tiny import Outcome, outcomes

FILE = Path(__file__).parent / "recorded.json"
PORTABLE = ("documents-", "tokenizer", "shards-")  # the same bits on every processor
TOLERANCE = 0.02  # nats a token, of the last step: other instructions round otherwise, by less than a thousandth


def processor() -> str:
    """What decides the bits of floating-point results: vendor and vector instructions."""
    table = Path("/proc/cpuinfo")
    lines = table.read_text().splitlines() if table.exists() else []
    vendor = next((line.split(":")[1].strip() for line in lines if line.startswith("vendor_id")), platform.machine())
    return f"{vendor} {torch.backends.cpu.get_cpu_capability()}"


def read() -> dict[str, Any]:
    """The record: by run and stage the versions, the last loss, and digests by processor ("any": on all)."""
    table: dict[str, Any] = json.loads(FILE.read_text()) if FILE.exists() else {}
    return table


def write(names: list[str]) -> None:
    """Go through tiny runs and record what they come to; digests of other processors go where the versions changed."""
    record = read()
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            found = outcomes(name, Path(folder))
        before = record.get(name, {})
        record[name] = {stage: _entry(stage, outcome, before.get(stage)) for stage, outcome in found.items()}
        FILE.write_text(json.dumps(record, indent=1) + "\n")
        print(name, flush=True)


def _entry(stage: str, outcome: Outcome, before: dict[str, Any] | None) -> dict[str, Any]:
    kept = before["digests"] if before and before["versions"] == outcome.versions else {}
    digests = kept | {where(stage): outcome.digest}
    return {"versions": outcome.versions, "loss": outcome.loss, "digests": digests}


def where(stage: str) -> str:
    """The processors on which a stage comes to the same bits as on this one."""
    return "any" if stage.startswith(PORTABLE) else processor()


def broken_promises(name: str, found: dict[str, Outcome]) -> list[str]:
    """What is wrong with what the stages of a tiny run come to."""
    recorded = read()[name]
    broken = [f"{stage}: not in both" for stage in sorted(found.keys() ^ recorded.keys())]
    both = [stage for stage in found if stage in recorded]
    return broken + [sentence for stage in both if (sentence := broken_promise(stage, found[stage], recorded[stage]))]


def broken_promise(stage: str, outcome: Outcome, entry: dict[str, Any]) -> str | None:
    """What is wrong with what a stage comes to, or None."""
    if outcome.versions != entry["versions"]:
        return f"{stage}: made by versions {outcome.versions}, recorded by {entry['versions']}; record it anew"
    if (recorded := entry["digests"].get(where(stage))) is not None:
        changed = recorded != outcome.digest
    else:
        changed = outcome.loss is not None and abs(outcome.loss - entry["loss"]) > TOLERANCE
    if not changed:
        return None
    return f"{stage}: its outputs changed, but no version of {outcome.versions}; raise the one of what you changed"
