"""Tuning all parameters of open weights beside peft's LoRA and a plain transformers loop: memory, speed, loss.

Each contestant runs in a process of its own, on the same rows of the same text, with the same number of tokens a step:

    blocks        all parameters, a block at a time (`blocks`): weights in bf16, compiled layers
    full          all parameters at once, as stages train by default: fp32, compiled layers
    lora          peft, rank 16 on all linear layers of the decoder, AdamW, under torch.compile
    transformers  all parameters at once, AdamW, under torch.compile
    *-e           the peer without torch.compile, where that is faster or smaller

The folder holds weights in the Hugging Face layout with their tokenizer.json; the text is a JSON lines file of which
the values of `--keys` are joined. Peak memory is the largest resident set of the process, whole and beside what it had
after its imports. The loss is that of the same held-out rows, before and after.

    python benchmarks/tuning.py FOLDER TEXT.jsonl [--steps 40] [--rounds 1]
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

CONTEXT, ROWS, HELDOUT, WARM = 256, 2, 8, 2  # tokens a row, rows a step and held out; steps that are not timed
BLOCKS = 12
CONTESTANTS = ("blocks", "full", "lora", "transformers")
EAGER = ("lora-e", "transformers-e")
RATES = {"lora": 2e-4, "transformers": 5e-5, "full": 5e-5, "blocks": 2e-4}  # of AdamW


def rows_of(folder: Path, text: Path, keys: list[str], count: int) -> "Any":
    """So many rows of token ids, documents in the file's order, one after the other."""
    import numpy as np
    from tokenizers import Tokenizer

    codec = Tokenizer.from_file(str(folder / "tokenizer.json"))
    chosen = np.random.default_rng(0)
    lines = text.read_text(encoding="utf-8").splitlines()
    chosen.shuffle(lines)
    ids: list[int] = []
    for line in lines:
        table = json.loads(line)
        ids += [*codec.encode("\n".join(str(table[key]) for key in keys)).ids, 0]
        if len(ids) >= count * CONTEXT:
            break
    return np.array(ids[: count * CONTEXT]).reshape(count, CONTEXT)


def batch_of(ids: "Any") -> "Any":
    """Rows as one batch of the loop: a document a row, every token but the last predicted."""
    import numpy as np

    from groundup.data.batches import Batch

    zeros = np.zeros(ids.shape, np.int32)
    weights = np.ones(ids.shape, np.float32)
    weights[:, -1] = 0
    positions = np.broadcast_to(np.arange(ids.shape[1]), ids.shape).copy()
    return Batch(ids, np.roll(ids, -1, 1), weights, zeros, positions, zeros)


class Rows:
    """`data.batches.Batches` of given rows, in order."""

    rows, context, fingerprint = ROWS, CONTEXT, "benchmark"

    def __init__(self, ids: "Any"):
        self.ids = ids

    def __getitem__(self, step: int) -> "Any":
        return batch_of(self.ids[step * ROWS : (step + 1) * ROWS])

    def require_lessons(self) -> None:
        """They are text."""


def pieces(heldout: "Any") -> "list[Any]":
    return [heldout[at : at + ROWS] for at in range(0, len(heldout), ROWS)]


def own(folder: Path, train: "Any", heldout: "Any", blocks: int, rate: float) -> dict[str, float]:
    from groundup import device
    from groundup.config.derived import Schedule
    from groundup.model.weights import config_of
    from groundup.train.distributed.mesh import ProcessMesh
    from groundup.train.loop import Trainer, TrainingConfig

    here, steps = device.pick(), len(train) // ROWS
    schedule = Schedule(
        ROWS * CONTEXT, ROWS * CONTEXT, muon_lr=rate, adamw_lr=rate, weight_decay=0.0, clip=1.0, warmup=0.0, decay=1.0,
        optimizer="adamw", blocks=blocks,
        block_steps=max(1, steps // (3 * blocks)),
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as out:
        job = TrainingConfig(
            title="tuning", model=config_of(folder), start=folder, seed=1, batches=Rows(train),  # type: ignore[arg-type]
            heldout={"text": [batch_of(part) for part in pieces(heldout)]}, steps=steps, schedule=schedule,
            precision=here.precision("auto"),
            recompute=False, checkpoint_steps=steps + 1, keep=1, sample_steps=0, validate_steps=0, end=0,
            folder=Path(out),
        )  # fmt: skip
        quiet = SimpleNamespace(
            note=lambda text: print(text, file=sys.stderr), begin=lambda done: None, step=lambda record: None
        )
        trainer = Trainer(job, here, ProcessMesh(), quiet)  # type: ignore[arg-type]
        before = trainer._validate()[0]["text"]
        outcome = trainer.run()
    return {
        "before": before,
        "after": outcome.heldout["text"],
        "speed": outcome.tokens_per_second,
        "predicted": outcome.predicted_memory,
    }


def peer(folder: Path, train: "Any", heldout: "Any", lora: bool, compiled: bool) -> dict[str, float]:
    import torch
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    if lora:
        from peft import LoraConfig, get_peft_model

        model = get_peft_model(
            model, LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")
        )
    model.train()
    net = torch.compile(model) if compiled else model
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=RATES["lora" if lora else "transformers"], weight_decay=0.0)
    steps = len(train) // ROWS

    def loss(ids: "Any") -> "Any":
        rows = torch.from_numpy(ids)
        return net(input_ids=rows, labels=rows, use_cache=False).loss

    def measured() -> float:
        with torch.no_grad():
            return float(sum(loss(part).item() for part in pieces(heldout)) / len(pieces(heldout)))

    before, times = measured(), []
    for step in range(steps):
        began = time.perf_counter()
        for group in optimizer.param_groups:
            group["lr"] = RATES["lora" if lora else "transformers"] * (1 - step / steps)
        loss(train[step * ROWS : (step + 1) * ROWS]).backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        times.append(time.perf_counter() - began)
    middle = sorted(times[WARM:])[len(times[WARM:]) // 2]
    return {"before": before, "after": measured(), "speed": ROWS * CONTEXT / middle}


def resident() -> int:
    """Bytes that the process holds now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def measure(name: str, arguments: argparse.Namespace) -> dict[str, float]:
    """One contestant in this process."""
    kind, _, suffix = name.partition("-")
    if kind in ("blocks", "full"):
        from groundup.core import process

        process.configure_process()
        import groundup.train.loop  # noqa: F401
    else:
        import peft  # noqa: F401
        import transformers  # noqa: F401
    ids = rows_of(arguments.folder, arguments.text, arguments.keys, arguments.steps * ROWS + HELDOUT)
    train, heldout = ids[HELDOUT:], ids[:HELDOUT]
    Path("/proc/self/clear_refs").write_text("5")  # proc(5): the peak starts again
    before = resident()
    if kind in ("blocks", "full"):
        blocks = arguments.blocks if kind == "blocks" else 1
        found = own(arguments.folder, train, heldout, blocks, arguments.rate or RATES[kind])
    else:
        found = peer(arguments.folder, train, heldout, kind == "lora", suffix != "e")
    lines = Path("/proc/self/status").read_text().splitlines()
    peak = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024
    return found | {"peak": peak, "grown": peak - before}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("text", type=Path)
    parser.add_argument("--keys", nargs="+", default=["instruction", "problem", "solution"])
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--blocks", type=int, default=BLOCKS)
    parser.add_argument("--rate", type=float, help="of AdamW; left out: what suits each contestant")
    parser.add_argument("--contestants", nargs="+", default=CONTESTANTS, choices=CONTESTANTS + EAGER)
    parser.add_argument("--only", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.only:
        print(json.dumps(measure(arguments.only, arguments)))
        return
    from common import machine, table

    print(machine())
    rows = []
    for name in arguments.contestants:
        command = [sys.executable, "-W", "ignore", __file__, "--only", name, *sys.argv[1:]]
        out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        found = json.loads(out.splitlines()[-1])
        mega = [f"{found[key] / 2**20:,.0f} MiB" for key in ("grown", "peak")]
        rows.append((name, f"{found['speed']:,.0f}", *mega, f"{found['before']:.3f}", f"{found['after']:.3f}"))
        print(rows[-1], flush=True)
    print(table(("contestant", "tokens/s", "peak memory", "with imports", "loss before", "after"), rows), flush=True)


if __name__ == "__main__":
    main()
