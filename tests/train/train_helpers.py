"""What the training tests share: a small world of text, jobs over it, and processes that can be killed.

Processes come from a fork server that has torch loaded, so that starting one takes milliseconds.
"""

import json
import os
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, fields
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path
from random import Random
from typing import Any

from groundup.core import process

process.configure_process()  # before torch, as the command line does

import pyarrow as pa  # noqa: E402
import pyarrow.parquet as pq  # noqa: E402
import torch  # noqa: E402

from groundup.codecs.text import Tokenizer  # noqa: E402
from groundup.config.derived import Schedule  # noqa: E402
from groundup.core.errors import Interrupted  # noqa: E402
from groundup.core.files import sha256  # noqa: E402
from groundup.data.batches import Batches  # noqa: E402
from groundup.data.document import SCHEMA, Document  # noqa: E402
from groundup.data.shards import Shards, write_shards  # noqa: E402
from groundup.device import Device  # noqa: E402
from groundup.model.config import ModelConfig  # noqa: E402
from groundup.train.distributed.mesh import ProcessMesh, join  # noqa: E402
from groundup.train.loop import Trainer, TrainingConfig  # noqa: E402
from groundup.train.result import TrainingResult  # noqa: E402

CONTEXT = 64
CONFIG = ModelConfig(depth=2, width=32, heads=4, kv_heads=2, head_dim=8, ffn=64, vocab=263, context=CONTEXT)
SCHEDULE = Schedule(
    batch_tokens=8 * CONTEXT, micro_tokens=8 * CONTEXT, muon_lr=0.02, adamw_lr=0.004, weight_decay=0.01, clip=1.0,
    warmup=0.1, decay=0.4
)  # fmt: skip
FORKS = get_context("forkserver")
FORKS.set_forkserver_preload(
    ["pytest", "torch._dynamo", "groundup.train.loop"]
)  # what a child would take seconds to import


def bytes_only() -> Tokenizer:
    """The smallest vocabulary: bytes and special tokens."""
    return Tokenizer.learn([""], CONFIG.vocab)


def prepare(folder: Path) -> Path:
    """Shards of a source of plain texts and of one of conversations."""
    chance = Random(7)
    nouns, verbs = ("cat", "dog", "bird", "fish"), ("sees", "hears", "finds")
    sentences = [f"the {chance.choice(nouns)} {chance.choice(verbs)} the {chance.choice(nouns)}. " for _ in range(600)]
    texts = [
        Document("texts", str(n), "CC0-1.0", text="".join(sentences[n : n + 1 + n % 4]), heldout=n % 9 == 0)
        for n in range(400)
    ]
    talks = [
        Document("talks", str(n), "CC0-1.0", messages=_talk(chance.choice(nouns)), heldout=n % 9 == 0)
        for n in range(200)
    ]
    for name, documents in (("texts", texts), ("talks", talks)):
        pq.write_table(
            pa.Table.from_pylist([document.row() for document in documents], schema=SCHEMA), folder / f"{name}.parquet"
        )
        write_shards(folder / f"{name}.parquet", bytes_only(), CONTEXT, folder / name, lambda done: None)
    return folder


def _talk(word: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": f"say {word}"}, {"role": "assistant", "content": word}]


def make_job(data: Path, folder: Path, **changes: Any) -> TrainingConfig:
    """A tiny job in `folder`; `changes` are fields of Job, of Schedule or of Shape, or `source`."""
    source = changes.pop("source", "texts")
    config = _with(CONFIG, changes)
    schedule = _with(SCHEDULE, changes)
    parts = {part: Shards.open(data / source / part) for part in ("train", "heldout")}
    tuned = source == "talks"
    values: dict[str, Any] = {
        "title": "pretrain",
        "model": config,
        "start": None,
        "seed": 3,
        "batches": Batches({source: parts["train"]}, {source: 1.0}, schedule.batch_tokens // CONTEXT, 3, tuned),
        "heldout": {source: [Batches({source: parts["heldout"]}, {source: 1.0}, 4, 0, tuned)[0]]},
        "steps": 6,
        "schedule": schedule,
        "precision": torch.float32,
        "recompute": False,
        "checkpoint_steps": 2,
        "keep": 2,
        "sample_steps": 0,
        "validate_steps": 3,
        "end": 258,
        "folder": folder,
    }
    return TrainingConfig(**values | changes)


def _with(base: Any, changes: dict[str, Any]) -> Any:
    """The dataclass with those of the changes that are its fields, which are taken out."""
    own = {name: changes.pop(name) for name in [field.name for field in fields(base)] if name in changes}
    return type(base)(**{field.name: own.get(field.name, getattr(base, field.name)) for field in fields(base)})


@dataclass
class Record:
    """A Watch that remembers, and may act after each step."""

    after_step: Callable[[int], None] = lambda step: None
    notes: list[str] = field(default_factory=list)
    records: list[dict[str, Any]] = field(default_factory=list)

    def note(self, text: str) -> None:
        self.notes.append(text)

    def begin(self, done: int) -> None:
        self.done = done

    def step(self, record: dict[str, Any]) -> None:
        self.records.append(record)
        self.after_step(record["step"])

    def sample(self, model: torch.nn.Module, step: int) -> list[dict[str, str]]:
        return [{"prompt": "", "text": str(step)}]

    @property
    def losses(self) -> list[float]:
        return [record["loss"] for record in self.records]


class Eager(Device):
    """The processor without its compiler and with a given speed: compiling and measuring take longer than these
    trainings.
    """

    @property
    def compiles(self) -> bool:
        return False

    def matrix_peak(self, dtype: torch.dtype) -> float:
        return 1e12


def train(
    job: TrainingConfig, watch: Record | None = None, device: Device | None = None, mesh: ProcessMesh | None = None
) -> tuple[Record, TrainingResult]:
    """Run a job here, eagerly."""
    watch = watch or Record()
    return watch, Trainer(job, device or Eager("cpu"), mesh or ProcessMesh(), watch).run()


def weights(folder: Path) -> str:
    """Hash of the final weights."""
    return sha256(folder / "model.safetensors")


def start(function: Callable[..., None], *arguments: Any) -> BaseProcess:
    """Call a function in a process of its own, which may be killed."""
    child = FORKS.Process(target=function, args=arguments)
    child.start()
    return child


def together(size: int, function: Callable[..., None], *arguments: Any) -> None:
    """Call a function in `size` processes that torchrun could have started, and wait for all."""
    children = peers(size, function, *arguments)
    for child in children:
        child.join(timeout=120)
    codes = [child.exitcode for child in children]
    for child in children:
        child.kill()
    assert codes == [0] * size, f"exit codes {codes}"


def peers(size: int, function: Callable[..., None], *arguments: Any) -> list[BaseProcess]:
    """The same without waiting: the processes, which may be killed."""
    port = free_port()
    return [start(_as_peer, rank, size, port, function, arguments) for rank in range(size)]


def _as_peer(rank: int, size: int, port: int, function: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    os.environ.update(
        RANK=str(rank), WORLD_SIZE=str(size), LOCAL_RANK=str(rank), MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port)
    )
    torch.set_num_threads(1)
    function(*arguments)


def train_together(
    size: int, data: Path, folder: Path, changes: dict[str, Any], act: Callable[[int], None] = print
) -> list[dict[str, Any]]:
    """Run a job in several processes; returns its log. `act` is called after each step, in every process."""
    together(size, _train_as_peer, data, folder, changes, act)
    return logged(folder)


def _train_as_peer(data: Path, folder: Path, changes: dict[str, Any], act: Callable[[int], None]) -> None:
    device = Eager("cpu")
    with suppress(Interrupted):
        train(make_job(data, folder, **changes), Record(after_step=act), device, join(device))


def logged(folder: Path) -> list[dict[str, Any]]:
    """The records of a run, without what depends on the clock."""
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [
        {key: value for key, value in record.items() if key not in ("tokens_per_second", "share_of_peak", "waited")}
        for record in records
    ]


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
