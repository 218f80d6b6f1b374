"""Try changed files on every parser, for a time: `python -m tests.fuzz --minutes 60 [TARGET ...]`.

Each target runs in a process of its own, which may die and has limited memory; a failure names the target and the seed,
with which `--seed` repeats it.
"""

import argparse
import multiprocessing
import random
import resource
import tempfile
import time
import traceback
from collections import Counter
from multiprocessing.connection import Connection
from pathlib import Path

from tests.fuzz import served
from tests.fuzz.mutations import mutated
from tests.fuzz.targets import TARGETS, Target, attempt

MEMORY = 6 << 30  # bytes of address space beyond what the process has at its start
SECONDS = 20.0  # of processor time that one file may take


def once(target: Target, folder: Path, seed: int) -> str:
    """Change one of the target's files by a seed, parse all, and put the file back; what came of it."""
    draw = random.Random(seed)
    paths = target.paths(folder)
    path = paths[draw.randrange(len(paths))]
    whole = path.read_bytes()
    path.write_bytes(mutated(whole, draw))
    began = time.process_time()
    try:
        outcome = attempt(target, folder)
    finally:
        path.write_bytes(whole)
    seconds = time.process_time() - began
    assert seconds < SECONDS, f"{seconds:.1f} s"
    return outcome


def work(name: str, first: int, seconds: float, channel: Connection) -> None:
    """Try seeds from `first` on for some seconds; tells each before it is tried, then what came of it."""
    target = next(each for each in TARGETS if each.name == name)
    with tempfile.TemporaryDirectory() as place:
        target.files(Path(place))
        assert attempt(target, Path(place)) == "read", "the unchanged files are refused"
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (_size() + MEMORY, hard))
        end, seed = time.monotonic() + seconds, first
        while time.monotonic() < end:
            channel.send(("try", seed))
            try:
                channel.send(("done", once(target, Path(place), seed)))
            except Exception:  # noqa: BLE001  every kind of it is a finding
                channel.send(("failed", traceback.format_exc()))
            seed += 1
    served.stop()


def main() -> int:
    """Run all or some targets in turn; returns 1 after a failure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*")
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=0, help="where each target begins")
    options = parser.parse_args()
    chosen = [target for target in TARGETS if not options.targets or target.name in options.targets]
    faults = sum(_target(target, options.seed, options.minutes * 60 / len(chosen)) for target in chosen)
    print(f"{faults} faults")
    return int(faults > 0)


def _target(target: Target, first: int, seconds: float) -> int:
    """Run one target, again after each death of its process; returns its faults."""
    outcomes, faults, seed, end = Counter[str](), 0, first, time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        here, there = multiprocessing.Pipe(duplex=False)
        process = multiprocessing.get_context("spawn").Process(target=work, args=(target.name, seed, left, there))
        process.start()
        there.close()
        try:
            while True:
                kind, value = here.recv()
                if kind == "try":
                    seed = value
                elif kind == "done":
                    outcomes[value] += 1
                else:
                    faults += 1
                    print(f"{target.name}, seed {seed}: {value}", flush=True)
        except EOFError:
            process.join()
        if process.exitcode:
            faults += 1
            print(f"{target.name}, seed {seed}: the process ended with {process.exitcode}", flush=True)
        seed += 1
    print(f"{target.name}: {sum(outcomes.values()):,} files, {dict(outcomes)}, {faults} faults", flush=True)
    return faults


def _size() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
