"""Checkpoints: safetensors files, written atomically, hashed, and readable by any number of processes.

A folder `step-00000400` has `state.json` (step, fingerprint, hashes of each file and of itself) and one file
`part-00001-of-00002.safetensors` for each process: its rows of every tensor, with the number of the first row.
`end.json` beside the folders says that the final weights are written.
"""

import json
import shutil
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor
from torch.distributed.tensor import DTensor

from groundup.core.errors import InputError
from groundup.core.files import clear, digest, discard, disk_error, read_json, sha256, sync, write_json, write_text
from groundup.model.tensor_file import write_tensors
from groundup.train.distributed.mesh import ProcessMesh, local, slice_of

END = "end.json"


@dataclass(frozen=True)
class Checkpoint:
    """A complete checkpoint on disk."""

    folder: Path
    step: int
    fingerprint: str


class Saver:
    """Writes checkpoints in the background: training continues as soon as the tensors are copied.

    Without `copies` it waits for them to be written, and so needs no memory.
    """

    def __init__(self, folder: Path, fingerprint: str, mesh: ProcessMesh, keep: int, copies: bool = True):
        self.folder, self.fingerprint, self.mesh, self.keep, self.copies = folder, fingerprint, mesh, keep, copies
        self.thread = ThreadPoolExecutor(1, "checkpoint")
        self.pending: tuple[int, Future[None]] | None = None

    @property
    def writing(self) -> bool:
        """Whether this process is still writing."""
        return self.pending is not None and not self.pending[1].done()

    def clear(self) -> None:
        """Remove the unfinished files of a killed process."""
        if self.mesh.is_main and self.folder.exists():
            clear(self.folder)
            for leftover in self.folder.glob(".step-*.tmp"):
                shutil.rmtree(leftover)
        self.mesh.barrier()

    def save(self, step: int, tensors: dict[str, Tensor]) -> None:
        """Copy the tensors and write them in the background. Raises InputError if the last write met a full disk."""
        self.finish()
        copies = {
            name: local(tensor).detach().to("cpu", copy=self.copies).contiguous() for name, tensor in tensors.items()
        }
        places = {name: _first_row(tensor, self.mesh) for name, tensor in tensors.items()}
        self.pending = (step, self.thread.submit(self._write, step, copies, places))
        if not self.copies:
            self.finish()

    def finish(self) -> None:
        """Wait for the current write, then delete checkpoints older than the last K. Every process must call it.

        Raises InputError when the disk is full; earlier checkpoints stay unchanged.
        """
        if self.pending is None:
            return
        step, future = self.pending
        self.pending = None
        error = future.exception()
        (failed,) = self.mesh.any_reduce(error is not None)
        if failed:
            self.clear()
            raise self._failure(step, error)
        if self.mesh.is_main:
            self._publish(step)
        self.mesh.barrier()

    def _failure(self, step: int, error: BaseException | None) -> BaseException:
        if isinstance(error, OSError):
            return disk_error(error, self.folder)
        return error or InputError(
            f"{self.folder}: another process could not write its part of step {step}; see what it says"
        )

    def _beside(self, step: int) -> Path:
        return self.folder / f".step-{step:08d}.tmp"

    def _write(self, step: int, tensors: dict[str, Tensor], places: dict[str, int]) -> None:
        file = self._beside(step) / f"part-{self.mesh.rank + 1:05d}-of-{self.mesh.size:05d}.safetensors"
        file.parent.mkdir(parents=True, exist_ok=True)
        write_tensors(tensors, file, {"places": json.dumps(places)})
        sync(file)
        write_text(file.with_suffix(".sha256"), sha256(file))

    def _publish(self, step: int) -> None:
        beside, final = self._beside(step), self.folder / f"step-{step:08d}"
        hashes = {file.name: file.with_suffix(".sha256").read_text() for file in sorted(beside.glob("*.safetensors"))}
        state = {"step": step, "fingerprint": self.fingerprint, "files": hashes}
        write_json(beside / "state.json", state | {"digest": digest(state)})
        discard(final)  # it exists if it was found damaged
        beside.rename(final)
        sync(self.folder)
        for old in complete(self.folder)[self.keep :]:
            discard(old)


def _first_row(tensor: Tensor, mesh: ProcessMesh) -> int:
    """The number, in the whole tensor, of the first row this process holds."""
    return slice_of(tensor.shape[0], mesh.rank, mesh.size).start if isinstance(tensor, DTensor) else 0


def complete(folder: Path) -> list[Path]:
    """The complete checkpoints of a folder, newest first."""
    return sorted((path for path in folder.glob("step-*") if (path / "state.json").exists()), reverse=True)


def newest(folder: Path, fingerprint: str, mesh: ProcessMesh, note: Callable[[str], None]) -> Checkpoint | None:
    """The newest undamaged checkpoint, or None; `note` is called for damaged ones. Every process must call it.

    Raises InputError when it was made from other data or another recipe (fingerprint).
    """
    for path in complete(folder):
        problem = _damage(path, mesh)
        (damaged,) = mesh.any_reduce(problem is not None)
        if damaged:
            note(f"checkpoint {path} is damaged ({problem or 'another process found it'}); using the one before it")
            continue
        state = read_json(path / "state.json")
        _require_same(path, state["fingerprint"], fingerprint)
        return Checkpoint(path, state["step"], fingerprint)
    return None


def _require_same(path: Path, found: str, fingerprint: str) -> None:
    if found != fingerprint:
        raise InputError(
            f"{path}: made from other data or another recipe (fingerprint {found[:12]}, now {fingerprint[:12]}); "
            f"give the recipe another name, or run with --retrain to start this stage again"
        )


def end(folder: Path, fingerprint: str, weights: Path, last: list[dict[str, Any]]) -> None:
    """Record that the final weights are written, with the log's `last` record: a killed run retrains no step then."""
    state = {"fingerprint": fingerprint, "weights": sha256(weights), "last": last}
    write_json(folder / END, state | {"digest": digest(state)})


def ended(folder: Path, fingerprint: str, weights: Path, mesh: ProcessMesh) -> list[dict[str, Any]] | None:
    """The `last` of `end` if the final weights are written and undamaged, else None. Every process must call it.

    Raises InputError when they were made from other data or another recipe.
    """
    state = _end(folder / END)
    sound = state is not None and (not mesh.is_main or (weights.exists() and sha256(weights) == state["weights"]))
    (unsound,) = mesh.any_reduce(not sound)
    if unsound or state is None:
        return None
    _require_same(folder / END, state["fingerprint"], fingerprint)
    last: list[dict[str, Any]] = state["last"]
    return last


def _end(path: Path) -> dict[str, Any] | None:
    """The state that `end` wrote, or None if missing or damaged."""
    try:
        state = read_json(path)
    except (InputError, FileNotFoundError):
        return None
    return state if _is_whole(state) else None


def _is_whole(state: Any) -> bool:
    """Whether the state still has the hash that it was written with."""
    return isinstance(state, dict) and digest(
        {key: value for key, value in state.items() if key != "digest"}
    ) == state.get("digest")


def _damage(path: Path, mesh: ProcessMesh) -> str | None:
    """The damage of a checkpoint, or None; each process verifies a fraction of the files."""
    try:
        state = read_json(path / "state.json")
    except InputError:
        return "state.json cannot be read"
    if not _is_whole(state):
        return "state.json does not have the hash it was written with"
    for name, expected in list(state["files"].items())[mesh.rank :: mesh.size]:
        if not (path / name).is_file():
            return f"{name} is missing"
        if sha256(path / name) != expected:
            return f"{name} does not have the hash it was written with"
    return None


@torch.no_grad()
def read_into(checkpoint: Checkpoint, tensors: dict[str, Tensor], mesh: ProcessMesh) -> None:
    """Fill tensors, full or sharded over any number of processes, from a checkpoint of any number of processes."""
    missing = set(tensors)
    for file in sorted(read_json(checkpoint.folder / "state.json")["files"]):  # only these were verified
        with safe_open(checkpoint.folder / file, framework="pt") as stored:
            places = json.loads(stored.metadata()["places"])
            for name in sorted(tensors.keys() & places.keys()):
                _copy_shared_rows(
                    local(tensors[name]), _first_row(tensors[name], mesh), stored.get_slice(name), places[name]
                )
            missing -= places.keys()
    if missing:
        raise InputError(f"{checkpoint.folder}: lacks {min(missing)}; it belongs to another model")


def _copy_shared_rows(target: Tensor, first: int, source: Any, start: int) -> None:
    """Copy the rows common to a target, from row `first` of the full tensor, and a stored slice, from row `start`."""
    if target.ndim == 0:
        target.copy_(source[...])
        return
    low, high = max(start, first), min(start + source.get_shape()[0], first + len(target))
    if low < high:
        target[low - first : high - first].copy_(source[low - start : high - start])
