"""Seconds of `groundup --help`, and from the command that resumes a killed run to its first new step.

A run of the demo's model (depth 4) is started, killed after some steps and started again, several times. A later start
finds its data prepared and its code compiled.

    python benchmarks/startup.py [--repeats 5]
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from common import machine, table

RECIPE = Path(__file__).parent.parent / "recipes" / "demo.toml"
CHECKPOINT = 5


def help_seconds() -> float:
    """Wall time of the whole process."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-m", "groundup.cli", "--help"], check=True, capture_output=True)
    return time.perf_counter() - start


def import_seconds() -> float:
    """Wall time of importing torch in a fresh process."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import torch"], check=True)
    return time.perf_counter() - start


def steps_done(log: Path) -> int:
    """The last step of a log, 0 when there is none."""
    lines = log.read_text(encoding="utf-8").splitlines() if log.exists() else []
    return int(json.loads(lines[-1])["step"]) if lines else 0


def run_until(command: list[str], log: Path, after: int) -> float:
    """Start, wait for a step later than `after`, kill; returns the seconds that took."""
    size = log.stat().st_size if log.exists() else 0
    start = time.perf_counter()
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    while not (log.exists() and (log.stat().st_size != size or size == 0) and steps_done(log) > after):
        time.sleep(0.02)
        if process.poll() is not None:
            raise SystemExit(f"the run ended by itself with code {process.returncode}")
    seconds = time.perf_counter() - start
    process.kill()
    process.wait()
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    print(machine())
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "groundup.cli", "run", str(RECIPE), "--runs", folder, "--until", "pretrain"]
        command += ["--set", f"stage.pretrain.checkpoint_steps={CHECKPOINT}", "--set", "stage.pretrain.sample_steps=0"]
        log = Path(folder) / "demo" / "pretrain" / "metrics.jsonl"
        first = run_until(command, log, CHECKPOINT + 2)
        resumed = median(run_until(command, log, steps_done(log) // CHECKPOINT * CHECKPOINT) for _ in range(repeats))
    rows = [
        ("groundup --help", f"{median(help_seconds() for _ in range(repeats)):.2f}"),
        ("import torch, alone", f"{median(import_seconds() for _ in range(repeats)):.2f}"),
        (f"first command to step {CHECKPOINT + 3}, data prepared and compiled on the way", f"{first:.1f}"),
        ("resume: command to the first new step", f"{resumed:.1f}"),
    ]
    print(table(("what", "seconds"), rows))


if __name__ == "__main__":
    main()
