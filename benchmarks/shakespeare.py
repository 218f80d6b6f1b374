"""Steps and seconds to validation loss 1.88 on tiny Shakespeare, character level, in nanoGPT's CPU setting.

The setting: 4 layers, 4 heads, width 128, context 64, batch 12, 768 characters a step; the last tenth of the text
validates. nanoGPT's own 2,000 AdamW steps reach 1.88. Ours trains the same number of weights (a gated feed-forward of
352 instead of one of 512) with the same batch size and the standard loop. Validation covers the whole validation split;
its time is not counted, compilation is.

    python benchmarks/shakespeare.py --data input.txt [--steps 500] [--nanogpt FOLDER]

With `--nanogpt FOLDER`, a checkout of nanoGPT with data/shakespeare_char prepared, its train.py runs in the same
process environment.
"""

import argparse
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from groundup.core import process

process.configure_process()

import pyarrow as pa  # noqa: E402
import pyarrow.parquet as pq  # noqa: E402
import torch  # noqa: E402
from common import machine, table  # noqa: E402

from groundup import device  # noqa: E402
from groundup.codecs.text import SPECIAL_TOKENS, Tokenizer  # noqa: E402
from groundup.config.derived import Schedule  # noqa: E402
from groundup.data.batches import Batches  # noqa: E402
from groundup.data.document import SCHEMA, Document  # noqa: E402
from groundup.data.shards import Shards, write_shards  # noqa: E402
from groundup.model.config import ModelConfig  # noqa: E402
from groundup.train.distributed.mesh import ProcessMesh  # noqa: E402
from groundup.train.loop import Trainer, TrainingConfig  # noqa: E402

TARGET, CONTEXT, ROWS, REFERENCE_STEPS = 1.88, 64, 12, 2000
NANOGPT = (
    "--device=cpu --compile=False --eval_iters=20 --log_interval=100 --block_size=64 --batch_size=12 --n_layer=4"
    " --n_head=4 --n_embd=128 --max_iters=2000 --lr_decay_iters=2000 --dropout=0.0 --eval_interval=250"
)


class Clock:
    """Looks on, and notes the first step whose validation loss is below the target."""

    def __init__(self) -> None:
        self.start = time.perf_counter()
        self.spent: list[float] = []
        self.curve: list[tuple[int, float, float]] = []

    def note(self, text: str) -> None:
        """Nothing to say."""

    def begin(self, done: int) -> None:
        """Compiling is counted: it happens inside the first step."""

    def sample(self, model: Any, step: int) -> list[dict[str, str]]:
        """Nothing to ask."""
        return []

    def step(self, record: dict[str, Any]) -> None:
        """Sum up what training took, without validation."""
        self.spent.append(ROWS * CONTEXT / record["tokens_per_second"])
        if "heldout" in record:
            self.curve.append((record["step"], record["heldout"]["text"], sum(self.spent)))


def shards(text: str, folder: Path) -> dict[str, Shards]:
    """The text as one training and one validation document, in bytes."""
    cut = int(len(text) * 0.9)
    parts = [
        Document("text", "input.txt", "unstated", text=part, heldout=heldout)
        for part, heldout in ((text[:cut], False), (text[cut:], True))
    ]
    pq.write_table(pa.Table.from_pylist([part.row() for part in parts], SCHEMA), folder / "documents.parquet")
    tokenizer = Tokenizer.learn([text], 256 + len(SPECIAL_TOKENS))
    write_shards(folder / "documents.parquet", tokenizer, CONTEXT, folder / "shards", lambda _: None)
    return {name: Shards.open(folder / "shards" / name) for name in ("train", "heldout")}


def ours(text: str, steps: int) -> list[tuple[int, float, float]]:
    """The curve of (step, validation loss, seconds)."""
    here = device.pick()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        parts = shards(text, folder)
        heldout = parts["heldout"]
        job = TrainingConfig(
            title="shakespeare",
            model=ModelConfig(
                depth=4,
                width=128,
                heads=4,
                kv_heads=4,
                head_dim=32,
                ffn=352,
                vocab=256 + len(SPECIAL_TOKENS),
                context=CONTEXT,
            ),
            start=None,
            seed=17,
            batches=Batches({"text": parts["train"]}, {"text": 1.0}, ROWS, 17, assistant_only=False),
            heldout={
                "text": Batches({"text": heldout}, {"text": 1.0}, heldout.rows, 0, assistant_only=False)[0].micro(128)
            },
            steps=steps,
            schedule=Schedule(ROWS * CONTEXT, ROWS * CONTEXT, 0.02, 0.005, 0.01, 1.0, 0.02, 0.6),
            precision=torch.float32,
            recompute=False,
            checkpoint_steps=steps + 1,
            keep=1,
            sample_steps=0,
            validate_steps=25,
            end=256,
            folder=folder / "run",
        )
        clock = Clock()
        Trainer(job, here, ProcessMesh(), clock).run()
    return clock.curve


def nanogpt(folder: Path) -> tuple[float, float]:
    """Validation loss and seconds of nanoGPT's own 2,000 steps; its validations are inside its time, a twentieth of
    it.
    """
    start = time.perf_counter()
    command = [sys.executable, "train.py", "config/train_shakespeare_char.py", *NANOGPT.split()]
    out = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout
    return float(re.findall(r"step 2000: .*val loss ([\d.]+)", out)[-1]), time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--nanogpt", type=Path)
    arguments = parser.parse_args()
    print(machine())
    curve = ours(arguments.data.read_text(encoding="utf-8"), arguments.steps)
    for step, loss, seconds in curve:
        print(f"  step {step:5}  validation loss {loss:.3f}  {seconds:6.1f} s")
    reached = next(((step, seconds) for step, loss, seconds in curve if loss <= TARGET), None)
    if reached is None:
        rows = [
            (
                "groundup, best of the run",
                arguments.steps,
                f"{curve[-1][2]:.1f}",
                f"{min(loss for _, loss, _ in curve):.2f}",
            )
        ]
    else:
        rows = [("groundup, first below 1.88", reached[0], f"{reached[1]:.1f}", f"{TARGET:.2f}")]
    if arguments.nanogpt is not None:
        loss, seconds = nanogpt(arguments.nanogpt)
        rows.append(("nanoGPT, its whole setting", REFERENCE_STEPS, f"{seconds:.1f}", f"{loss:.2f}"))
        if reached is not None:
            print(f"ratio: {REFERENCE_STEPS / reached[0]:.1f}x fewer steps, {seconds / reached[1]:.1f}x less time")
    print(table(("contestant", "steps", "seconds", "validation loss"), rows))


if __name__ == "__main__":
    main()
