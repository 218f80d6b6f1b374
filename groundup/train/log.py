"""The training log `metrics.jsonl`: one JSON object a line, one line a step, repaired before training resumes."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from groundup.core.files import disk_errors, lines, sync, write_bytes

NUMBERS = (
    "tokens",
    "tokens_per_second",
    "share_of_peak",
    "flops",
)  # of a stage's figures and charts, beside the loss
LARGEST = 1e30  # above any number of a training; sums of such numbers are finite
ESCAPED = str.maketrans(
    {mark: f"\\u{ord(mark):04x}" for mark in "\x85\u2028\u2029"}
)  # not escaped by JSON; some readers end a line there
Record = dict[str, Any]


class Log:
    """Records of a training in a file; a crash may lose the last ones and leave a line torn."""

    def __init__(self, path: Path):
        self.path = path

    def add(self, record: Record) -> None:
        """Append the record of a step. Raises InputError when the disk is full."""
        with disk_errors(self.path), self.path.open("ab") as file:
            file.write(line_of(record))

    def sync(self) -> None:
        """Sync the records so far to disk, as a checkpoint needs them to survive a power cut."""
        if self.path.exists():
            sync(self.path)

    def repair(self, steps: int, note: Callable[[str], None], known: Sequence[Record] = ()) -> None:
        """Keep one record of each of the first `steps`, in order; `note` is called for lost ones not `known`."""
        with disk_errors(self.path):
            whole, broken = self._sorted_out() if self.path.exists() else ({}, 0)
        whole = {record["step"]: line_of(record) for record in known} | whole
        kept = [whole[step] for step in sorted(whole) if step <= steps]
        if steps and broken:
            note(f"{self.path}: lines that are torn, or of a step that stands there already, are dropped: {broken:,}")
        if len(kept) < steps:
            note(
                f"{self.path}: records of the first {steps:,} steps that are lost: {steps - len(kept):,}; figures come"
                " from the others"
            )
        write_bytes(self.path, b"".join(kept))

    def records(self) -> list[Record]:
        """The records, in the order of the steps."""
        return [record for line in lines(self.path) if (record := read(line)) is not None]

    def _sorted_out(self) -> tuple[dict[int, bytes], int]:
        """The first valid line of each step, and the number of invalid lines."""
        found: dict[int, bytes] = {}
        broken = 0
        for line in lines(self.path):
            record = read(line)
            if record is None or record["step"] in found:
                broken += 1
            else:
                found[record["step"]] = line + b"\n"
        return found, broken


def line_of(record: Record) -> bytes:
    """A record as its line."""
    return json.dumps(record, ensure_ascii=False).translate(ESCAPED).encode() + b"\n"


def read(line: bytes) -> Record | None:
    """The record on a line, or None if the line is torn or no record."""
    try:
        record = json.loads(line)
        line_of(record)  # raises for text with lone surrogates
    except (ValueError, RecursionError):
        return None
    if not isinstance(record, dict) or not _is_step(record.get("step")) or not _is_loss(record.get("loss", "")):
        return None
    sound = all(_is_number(record.get(key)) for key in NUMBERS) and record["tokens_per_second"] > 0
    return (
        record if sound and _is_heldout(record.get("heldout", {})) and _is_samples(record.get("samples", [])) else None
    )


def _is_step(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _is_loss(value: object) -> bool:
    return value is None or _is_number(value)  # None: the step had no supervised token


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= LARGEST


def _is_heldout(value: object) -> bool:
    return isinstance(value, dict) and all(
        isinstance(each, float) for each in value.values()
    )  # it stops no training where it is no number


def _is_samples(value: object) -> bool:
    return isinstance(value, list) and all(
        isinstance(each, dict) and {*map(type, map(each.get, ("prompt", "text")))} == {str} for each in value
    )
