"""Training images/s compared with transformers' ViT of equal shape: the same images, patches, layers, width, weights,
precision and threads.

    groundup        the loop's own step: rows of one image, a question and an answer each, from shards on disk
    transformers    ViTForImageClassification, autocast, a plain torch loop, its images ready in memory
    transformers-c  the same under torch.compile (with --compiled)

Ours processes more than the peer: sixteen tokens of conversation beside the patches. Each contestant runs in a process
of its own, in alternating rounds, with AdamW and the same OpenMP wait policy
(`groundup.core.process.configure_process`). The last column is the fraction of time that our loop waits for the next,
augmented batch.

    python benchmarks/seeing.py [--rounds 3] [--compiled]
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

SIDE, GRID, ROWS, STEPS = 16, (12, 16), 32, 8
DEPTH, WIDTH, HEADS = 6, 192, 6
CLASSES = ("glass", "metal", "paper", "plastic", "cardboard")


def pictures(count: int) -> list[bytes]:
    """Encoded images of noise, all different."""
    import io

    from PIL import Image

    source, found = np.random.default_rng(0), []
    for _ in range(count):
        small = source.integers(0, 256, (24, 32, 3), dtype=np.uint8)
        out = io.BytesIO()
        Image.fromarray(small).resize((GRID[1] * SIDE, GRID[0] * SIDE)).save(out, "JPEG")
        found.append(out.getvalue())
    return found


def groundup() -> tuple[Callable[[int], float], int]:
    """One step of the loop's work; returns the seconds it waited for its batch."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    import torch

    from groundup import device
    from groundup.codecs.text import VISION_TOKENS, Tokenizer
    from groundup.config.model import ModelPart
    from groundup.data.batches import Batches
    from groundup.data.document import SCHEMA, Document
    from groundup.data.image_shards import ImageResolution
    from groundup.data.shards import Shards, write_shards
    from groundup.model.config import ModelConfig
    from groundup.model.transformer import Transformer
    from groundup.train.loop import Prefetcher
    from groundup.train.loss_module import LossModule, speed_up, tensors
    from groundup.train.patch_objective import PatchObjective

    said = [f"user\nWhat?\nassistant\n{name}" for name in CLASSES]
    tokenizer = Tokenizer.learn(
        said, 256 + len(VISION_TOKENS) + 28, VISION_TOKENS
    )  # a token a word, as a recipe's would have
    documents = []
    for number, data in enumerate(pictures(4 * ROWS)):
        content = [{"type": "image"}, {"type": "text", "text": "What?"}]
        messages = [{"role": "user", "content": content}, {"role": "assistant", "content": CLASSES[number % 5]}]
        documents.append(Document("pictures", str(number), "CC0-1.0", messages=messages, images=(data,)).row())
    folder = Path(tempfile.mkdtemp())
    pq.write_table(pa.Table.from_pylist(documents, schema=SCHEMA), folder / "documents.parquet")
    part = ModelPart(depth=DEPTH, width=WIDTH, heads=HEADS, kv_heads=HEADS, context=209, patches=GRID[0] * GRID[1])
    write_shards(
        folder / "documents.parquet",
        tokenizer,
        part.context,
        folder,
        lambda done: None,
        ImageResolution(SIDE, part.patches),
    )
    batches = Batches(
        {"pictures": Shards.open(folder / "train")}, {"pictures": 1.0}, ROWS, 1, True, PatchObjective("none", 0.8, ())
    )
    here = device.pick()
    model = (
        Transformer(ModelConfig.of(part, tokenizer.size, SIDE), here.precision("auto"))
        .initialise(0)
        .to(here.handle)
        .train()
    )
    speed_up(model, here, part.context)
    learner, ahead = LossModule(model), Prefetcher(batches, 1000)
    optimizer = torch.optim.AdamW(learner.parameters(), lr=1e-3)

    def step(number: int) -> float:
        start = time.perf_counter()
        batch = ahead[number]
        waited = time.perf_counter() - start
        (learner(tensors(batch, here.handle)) / batch.count).backward()
        optimizer.step()
        optimizer.zero_grad()
        return waited

    weights = sum(weight.numel() for name, weight in model.named_parameters() if ".layers." in name)
    return step, weights


def transformers(compiled: bool) -> tuple[Callable[[int], float], int]:
    """ViT with a class token, on patches of the same size."""
    import torch
    from transformers import ViTConfig, ViTForImageClassification

    from groundup import device

    here = device.pick()
    config = ViTConfig(
        hidden_size=WIDTH, num_hidden_layers=DEPTH, num_attention_heads=HEADS, intermediate_size=4 * WIDTH,
        patch_size=SIDE,
        image_size=(GRID[0] * SIDE, GRID[1] * SIDE), num_labels=len(CLASSES), hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    model = ViTForImageClassification(config).train()
    target = torch.compile(model) if compiled else model
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    images, labels = torch.randn(ROWS, 3, GRID[0] * SIDE, GRID[1] * SIDE), torch.arange(ROWS) % len(CLASSES)

    def step(number: int) -> float:
        with torch.autocast(here.kind, here.precision("auto")):
            loss = torch.nn.functional.cross_entropy(target(images).logits.float(), labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return 0.0

    weights = sum(
        weight.numel() for name, weight in model.named_parameters() if ".layer." in name or ".layers." in name
    )
    return step, weights


def measure(name: str) -> dict[str, float]:
    """Images/s of one contestant in this process."""
    from groundup.core import process

    process.configure_process()
    kind, _, suffix = name.partition("-")
    step, weights = groundup() if kind == "groundup" else transformers(suffix == "c")
    for number in range(3):
        step(number)
    times, waits = [], []
    for number in range(3, 3 + STEPS):
        start = time.perf_counter()
        waits.append(step(number))
        times.append(time.perf_counter() - start)
    return {"speed": ROWS / statistics.median(times), "weights": weights, "waited": sum(waits) / sum(times)}


def main() -> None:
    """Contestants in turns; medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--compiled", action="store_true", help="the peer under torch.compile as well")
    parser.add_argument("--only", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.only:
        print(json.dumps(measure(arguments.only)))
        return
    from common import machine, table

    from groundup.core import process

    process.configure_process()
    print(machine())
    print(f"{GRID[0] * GRID[1]} patches of {SIDE} pixels, {DEPTH} layers of width {WIDTH}, {ROWS} images a step\n")
    names = ("groundup", "transformers", *(("transformers-c",) if arguments.compiled else ()))
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    for _ in range(arguments.rounds):
        for name in names:
            command = [sys.executable, "-W", "ignore", __file__, "--only", name]
            out = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
            runs[name].append(json.loads(out.splitlines()[-1]))
    speed = {name: statistics.median(run["speed"] for run in found) for name, found in runs.items()}
    rows = []
    for name, value in speed.items():
        waited = statistics.median(run["waited"] for run in runs[name])
        rows.append(
            (
                name,
                f"{value:,.1f}",
                f"{value / speed['transformers']:.2f}x",
                f"{runs[name][0]['weights']:,}",
                f"{waited:.2%}",
            )
        )
    print(table(("contestant", "images/s", "of transformers", "weights in layers", "waits for images"), rows))


if __name__ == "__main__":
    main()
