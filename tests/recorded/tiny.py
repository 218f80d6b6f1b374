"""Tiny runs through the command line, one for each way to train, and the digests of what they come to.

Only what decides a model is digested: values of documents, ids, pixels, weights and figures. Names of columns, keys and
tensors are not, so that they may be renamed.
"""

import csv
import hashlib
import json
import math
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from PIL import Image
from safetensors import safe_open

from tests.model.test_tower import written

RECIPES = Path(__file__).parent.parent.parent / "recipes"
WORDS = ("river", "stone", "cloud", "lamp", "paper", "glass", "winter", "garden", "letter", "bridge")
CLOCK = ("seconds", "brain", "steps_a_second")  # figures that a clock gives
MODEL = 'vocab_size = 1270\n\n[model]\ndepth = 2\nwidth = 32\nhead_dim = 16\nprecision = "fp32"\n'
STEPS = "tokens = 4096\nbatch_tokens = 768\ncheckpoint_steps = 2\nsample_steps = 0\n"

TEXT = f"""\
name = "text"

[[source]]
name = "notes"
kind = "text"
path = "notes/*.txt"
heldout_share = 0.2

[[source]]
name = "rows"
kind = "table"
path = "rows.csv"
heldout_share = 0.2

[[source]]
name = "made"
kind = "tasks"
count = 300
families = {{ copying = 1, arithmetic = 1 }}

[tokenizer]
vocab_size = 320

[model]
depth = 2
width = 32
context = 64
precision = "fp32"

[[stage]]
do = "pretrain"
{STEPS}mix = {{ notes = 0.5, rows = 0.2, made = 0.3 }}

[[stage]]
do = "instruct"
{STEPS}mix = {{ made = 1.0 }}

[evaluate]
suites = ["bits-per-byte", "tasks"]
per_family = 3
baselines = true
prompts = ["What is 1 + 1?"]
"""

MESSAGES = f"""\
name = "messages"

[[source]]
name = "talks"
kind = "messages"
path = "talks.jsonl"
heldout_share = 0.2

[tokenizer]
{MODEL}context = 96
patch = 16
patches = 16

[[stage]]
do = "pretrain"
{STEPS}mix = {{ talks = 1.0 }}

[[stage]]
do = "instruct"
{STEPS}augment = 0.5
mix = {{ talks = 1.0 }}

[evaluate]
suites = ["images"]
per_family = 2
"""

IMAGES = f"""\
name = "images"

[[source]]
name = "photographs"
kind = "images"
path = "photographs"
heldout_share = 0.3

[[source]]
name = "waste"
kind = "boxes"
path = "boxes.jsonl"
images = "photographs"
heldout_share = 0.4

[tokenizer]
{MODEL}context = 96
patch = 16
patches = 16

[[stage]]
do = "pretrain"
{STEPS}mix = {{ photographs = 0.5, waste = 0.5 }}

[[stage]]
do = "instruct"
{STEPS}augment = 0.7
mix = {{ photographs = 0.5, waste = 0.5 }}

[evaluate]
suites = ["images", "boxes", "probe"]
per_family = 2
"""

SCENES = f"""\
name = "scenes"

[[source]]
name = "scenes"
kind = "scenes"
count = 80
heldout_share = 0.05

[tokenizer]
{MODEL}context = 304
patch = 8
patches = 64

[[stage]]
do = "instruct"
{STEPS}mix = {{ scenes = 1.0 }}

[evaluate]
suites = ["images", "boxes"]
per_family = 2
"""

MASKED = f"""\
name = "masked"

[[source]]
name = "photographs"
kind = "images"
path = "photographs"
classes = "none"
heldout_share = 0.3

[tokenizer]
{MODEL.replace("1270", "1266")}context = 96
patch = 16
patches = 16

[[stage]]
do = "pretrain"
images = "masked"
{STEPS}mix = {{ photographs = 1.0 }}
"""

TOWER = f"""\
name = "tower"

[[source]]
name = "photographs"
kind = "images"
path = "photographs"
heldout_share = 0.3

[tokenizer]
{MODEL}context = 96
patch = 4
patches = 24
vision_tower = "tower"

[[stage]]
do = "pretrain"
{STEPS}mix = {{ photographs = 1.0 }}

[[stage]]
do = "instruct"
{STEPS}mix = {{ photographs = 1.0 }}

[evaluate]
suites = ["images"]
"""

SORTER = f"""\
name = "sorter"

[[source]]
name = "belt"
kind = "simulator"
count = 40

[source.world]
pixels = 64
odd = 0.1

[[source]]
name = "orders"
kind = "orders"
count = 60

[tokenizer]
{MODEL}context = 152
patch = 16
patches = 16

[[stage]]
do = "instruct"
{STEPS}mix = {{ belt = 0.6, orders = 0.4 }}

[evaluate]
suites = ["boxes", "orders"]
per_family = 2

[line]
items = 2
"""


# --- what goes in ----------------------------------------------------------------------------------------------


def notes(folder: Path) -> None:
    """Forty texts, and a table of a hundred."""
    (folder / "notes").mkdir()
    for number in range(40):
        (folder / "notes" / f"{number}.txt").write_text(" ".join(random.Random(number).choices(WORDS, k=60)))
    with (folder / "rows.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["id", "text"])
        rows.writerows([number, " ".join(random.Random(-number).choices(WORDS, k=30))] for number in range(1, 101))


def photographs(folder: Path) -> None:
    """Two classes of twelve images, with boxes in lines of JSON."""
    lines = []
    for name, place in (("red", 0), ("blue", 2)):
        (folder / "photographs" / name).mkdir(parents=True)
        for number in range(12):
            pixels = np.random.default_rng(100 * place + number).integers(0, 90, (48, 64, 3), dtype=np.uint8)
            pixels[:, :, place] += 150
            Image.fromarray(pixels).save(folder / "photographs" / name / f"{name}{number}.png")
            box = [0.1 + number / 100, 0.2, 0.7, 0.9]
            lines.append(json.dumps({"file": f"{name}/{name}{number}.png", "boxes": [{"class": name, "xyxy": box}]}))
    (folder / "boxes.jsonl").write_text("\n".join(lines) + "\n")


def talks(folder: Path) -> None:
    """Conversations, of which some show an image and some call a tool."""
    photographs(folder)
    lines = []
    for number in range(40):
        question: Any = f"Repeat: {WORDS[number % 10]} {number}"
        if number % 4 == 1:
            url = f"photographs/red/red{number % 12}.png"
            question = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": question}]
        table: dict[str, Any] = {
            "messages": [
                {"role": "user", "content": question},
                {"role": "assistant", "content": f"{WORDS[number % 10]} {number}"},
            ]
        }
        if number % 4 == 2:
            call = {"type": "function", "function": {"name": "add", "arguments": json.dumps({"number": number})}}
            table["messages"][1] = {"role": "assistant", "content": "", "tool_calls": [call]}
            table["tools"] = [{"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}]
        lines.append(json.dumps(table))
    (folder / "talks.jsonl").write_text("\n".join(lines) + "\n")


def tower(folder: Path) -> None:
    """Photographs, and the folder of a tiny vision tower with random weights."""
    photographs(folder)
    written(folder / "tower")


@dataclass(frozen=True)
class Tiny:
    """A tiny run: its recipe, what fills its folder, and how many processes train it."""

    recipe: str
    fill: Callable[[Path], None]
    processes: int = 1


RUNS = {
    "text": Tiny(TEXT, notes),
    "messages": Tiny(MESSAGES, talks),
    "images": Tiny(IMAGES, photographs),
    "scenes": Tiny(SCENES, lambda folder: None),
    "masked": Tiny(MASKED, photographs),
    "tower": Tiny(TOWER, tower),
    "sorter": Tiny(SORTER, lambda folder: None),
    "two processes": Tiny(TEXT, notes, 2),
}


# --- what comes out --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Outcome:
    """What a stage of a tiny run comes to: the digest of its outputs, its versions, and the last loss of a training."""

    digest: str
    versions: dict[str, int]
    loss: float | None


def outcomes(name: str, folder: Path) -> dict[str, Outcome]:
    """Go through a tiny run in an empty folder; returns what each stage but the report comes to."""
    tiny = RUNS[name]
    tiny.fill(folder)
    (folder / "tiny.toml").write_text(tiny.recipe)
    launcher = (
        ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(tiny.processes)]
        if tiny.processes > 1
        else []
    )
    command = [sys.executable, *launcher, "-m", "groundup.cli", "run", "tiny.toml"]
    tree = str(RECIPES.parent)  # this very code, whatever is installed
    quiet = os.environ | {"TORCHDYNAMO_DISABLE": "1", "OMP_NUM_THREADS": "1", "PYTHONPATH": tree}
    done = subprocess.run(command, cwd=folder, env=quiet, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    root = next((folder / "runs").iterdir())
    return {
        stage.parent.name: _outcome(stage.parent)
        for stage in sorted(root.glob("*/manifest.json"))
        if stage.parent.name != "report"
    }


def _outcome(stage: Path) -> Outcome:
    manifest = json.loads((stage / "manifest.json").read_text(encoding="utf-8"))
    return Outcome(_digest(stage), manifest["versions"], manifest["metrics"].get("loss"))


def _digest(stage: Path) -> str:
    manifest = json.loads((stage / "manifest.json").read_text(encoding="utf-8"))
    parts: list[str] = []
    for name in manifest["outputs"]:
        path = stage / name
        if path.suffix == ".parquet":
            parts += _rows(path)
        elif path.suffix == ".safetensors":
            parts += _tensors(path)
        elif path.suffix == ".bin" or path.name == "tokenizer.json":
            parts.append(hashlib.sha256(path.read_bytes()).hexdigest())
    if not manifest["outputs"] or stage.name == "line":
        parts += sorted(_numbers(manifest["metrics"]))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _rows(path: Path) -> Iterator[str]:
    for row in pq.read_table(path).to_pylist():
        yield repr(_values(row))


def _values(value: Any) -> Any:
    """A value without the names of its fields; bytes as their hash."""
    if isinstance(value, dict):
        return [_values(each) for each in value.values()]
    if isinstance(value, list):
        return [_values(each) for each in value]
    return hashlib.sha256(value).hexdigest() if isinstance(value, bytes) else value


def _tensors(path: Path) -> list[str]:
    with safe_open(path, "numpy") as file:
        tensors = [file.get_tensor(name) for name in file.keys()]  # noqa: SIM118 # no mapping
    return sorted(f"{each.dtype} {each.shape} {hashlib.sha256(each.tobytes()).hexdigest()}" for each in tensors)


def _numbers(value: Any) -> Iterator[str]:
    """All figures of a table, but those of a clock, without their names."""
    if isinstance(value, dict):
        for key, each in value.items():
            if key not in CLOCK:
                yield from _numbers(each)
    elif isinstance(value, list):
        for each in value:
            yield from _numbers(each)
    elif isinstance(value, int | float) and math.isfinite(value):
        yield repr(value)
