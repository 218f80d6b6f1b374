"""Lets a command end badly at every change of a file, runs it again, and compares: `python -m
tests.pipeline.kill_everywhere --help`.

`fault.c` is loaded before the C library, counts what changes files, in Python, Rust and C++ alike, and at a number
kills the process (kill), kills it after half of a write (tear), fills the disk (full) or sends Ctrl-C (interrupt).
`power` is a kill after which what was not synced is damaged. Children are forked from a process that has imported all,
so that a try takes a second. After each, the same command must end with 0 and leave the bits of a command that nothing
happened to, no file more, and no step of training done twice but those after the newest checkpoint.
"""

import argparse
import ctypes
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

ACTIONS = {"kill": 1, "tear": 2, "full": 3, "interrupt": 4, "power": 1}
CLOCK = (
    "seconds",
    "joules",
    "finished",
    "tokens_per_second",
    "share_of_peak",
    "waited",
    "peak_memory",
    "predicted_memory",
    "digest",
    "code",
)
RECIPE = """\
name = "tiny"

[[source]]
name = "notes"
kind = "text"
path = "notes/*.txt"
licence = "CC0-1.0"
heldout_share = 0.3

[[source]]
name = "talks"
kind = "messages"
path = "talks.jsonl"
licence = "CC0-1.0"
heldout_share = 0.3

[tokenizer]
vocab_size = 288

[model]
depth = 1
width = 16
context = 32
precision = "fp32"

[[stage]]
do = "pretrain"
tokens = 256
batch_tokens = 64
checkpoint_steps = 2
sample_steps = 2
keep = 1
mix = { notes = 1.0 }

[[stage]]
do = "instruct"
tokens = 192
batch_tokens = 64
checkpoint_steps = 2
mix = { talks = 1.0 }

[evaluate]
suites = ["bits-per-byte"]
baselines = false
prompts = ["a\\u2028b\\u0085c"]
"""


# --- the processes that end badly ------------------------------------------------------------------------------


def build(folder: Path) -> Path:
    """The compiled `fault.c`."""
    library = folder / "fault.so"
    subprocess.run(
        ["cc", "-O1", "-shared", "-fPIC", "-o", library, Path(__file__).parent / "fault.c", "-ldl"], check=True
    )
    return library


def ready(home: Path) -> None:
    """Import what takes long, in the process that will be forked; leave out what takes long and changes no file; note
    each step.
    """
    import torch

    from groundup.cli import main  # noqa: F401
    from groundup.core import ledger
    from groundup.device import Device
    from groundup.pipeline import run
    from groundup.release import plots
    from groundup.train import loop, memory

    torch.set_num_threads(1)
    memory.predict = lambda *arguments: 1  # type: ignore[assignment] # these take most of the time, and change no file
    plots._picture = lambda *arguments: ""  # type: ignore[assignment,return-value]
    Device.matrix_peak = lambda *arguments: 1e12  # type: ignore[method-assign]
    ledger.libraries, run.code_version = cache(ledger.libraries), cache(run.code_version)
    update = loop.Trainer._update
    steps = os.open(home / "steps", os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)

    def told(trainer: Any, step: int) -> Any:
        os.write(steps, f"{trainer.job.title} {step}\n".encode())
        return update(trainer, step)

    loop.Trainer._update = told  # type: ignore[method-assign]


def warm(home: Path) -> None:
    """Do once what takes longer the first time. Learning a vocabulary is left out: it starts threads, which no fork
    survives.
    """
    for stage in ("pretrain", "instruct", "evaluate", "report"):
        shutil.rmtree(home / "work/runs/tiny" / stage)
    before, folder = (os.dup(1), os.dup(2)), Path.cwd()
    os.chdir(home / "work")
    assert command(["run", "tiny.toml"], home / "said") == 0
    os.chdir(folder)
    os.dup2(before[0], 1)
    os.dup2(before[1], 2)


def command(arguments: list[str], said: Path) -> int:
    """Run the command line in this process, which is a child's; its exit code."""
    from groundup import cli

    file = os.open(said, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
    os.dup2(file, 1)
    os.dup2(file, 2)
    sys.argv = ["groundup", *arguments]
    signal.signal(signal.SIGINT, signal.default_int_handler)  # an ended command has given it back to the system
    try:
        cli.main()
    except SystemExit as end:
        return int(end.code or 0)
    return 0


@dataclass
class Ended:
    """How a child ended: its exit code (-9: killed), how many changes it tried, what it said."""

    code: int
    count: int
    said: str
    refused: bool = False  # a change, for want of space


def child(home: Path, arguments: list[str], action: int = 0, at: int = 0) -> Ended:
    """Run a command in a child, which ends badly at a change."""
    changes, said = home / "changes", home / "said"
    changes.unlink(missing_ok=True)
    process = os.fork()
    if process == 0:
        code = 1
        try:
            os.chdir(home / "work")
            ctypes.CDLL(None).fault_arm(os.fsencode(home / "work"), action, at, os.fsencode(changes))
            code = command(arguments, said)
        except BaseException:
            traceback.print_exc()
            raise
        finally:
            sys.stderr.flush()
            sys.stdout.flush()
            os._exit(code)
    _, status = os.waitpid(process, 0)
    lines = changes.read_text().splitlines() if changes.exists() else []
    refused = any(line.startswith("full\t") for line in lines)
    return Ended(os.waitstatus_to_exitcode(status), len(lines), said.read_text(errors="replace"), refused)


# --- a power cut -----------------------------------------------------------------------------------------------


def unsynced(changes: Path) -> dict[str, int]:
    """The files whose last bytes may not be on disk, with the size that is."""
    sizes: dict[str, int] = {}
    for line in changes.read_text().splitlines():
        name, size, path, other = line.split("\t")
        if name == "open":
            sizes[path] = 0
        elif name == "write":
            sizes.setdefault(path, 0)
        elif name in ("unlink", "sync"):
            sizes.pop(path, None)
            if name == "sync":
                sizes[path] = int(size)
        elif name == "rename":
            sizes = {re.sub(f"^{re.escape(path)}(?=/|$)", other, file): known for file, known in sizes.items()}
    return {path: size for path, size in sizes.items() if Path(path).is_file() and Path(path).stat().st_size > size}


def cut_power(changes: Path, number: int) -> list[str]:
    """Damage what was not synced: zeros, or half of it gone, or all."""
    found = unsynced(changes)
    for path, size in found.items():
        length = Path(path).stat().st_size
        os.truncate(path, [size, (size + length) // 2, size][number % 3])
        if number % 3 == 0:
            os.truncate(path, length)
    return sorted(found)


# --- what there is afterwards ----------------------------------------------------------------------------------


def content(folder: Path) -> dict[str, Any]:
    """Everything that lies in a folder, without what depends on the clock."""
    return {
        str(path.relative_to(folder)): _content(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() or not any(path.iterdir())
    }


def _content(path: Path) -> Any:
    from groundup.core.files import sha256

    if path.is_dir():
        return "an empty folder"
    if path.name in (".lock", "report.html", "README.md", "hashes.json"):
        return "there"
    if path.name in ("manifest.json", "lineage.json"):
        return _timeless(json.loads(path.read_bytes()))
    if path.name == "metrics.jsonl":
        return [_timeless(json.loads(line)) for line in path.read_bytes().split(b"\n") if line]
    return sha256(path)


def _timeless(value: Any) -> Any:
    """Without what depends on the clock, and on the logs and pages that tell the time."""
    if isinstance(value, list):
        return [_timeless(each) for each in value]
    if not isinstance(value, dict):
        return value
    return {
        key: "" if key in ("metrics.jsonl", "report.html", "README.md", "key", "parents", "record",
        "records") or key.endswith("/manifest.json") else _timeless(each)
        for key, each in value.items() if key not in CLOCK
    }  # fmt: skip


def floors(root: Path, before: dict[str, Any]) -> dict[str, int]:
    """For each training stage the step that a run must not go back behind: its end, or its newest checkpoint."""
    found: dict[str, int] = {}
    for stage, steps in (("pretrain", 4), ("instruct", 3)):
        folder, whole = root / stage, root / stage / "manifest.json"
        finished = whole.exists() and _content(whole) != before.get(f"runs/tiny/{stage}/manifest.json")
        kept = [int(path.parent.name.removeprefix("step-")) for path in folder.glob("checkpoints/step-*/state.json")]
        found[stage] = steps if finished or (folder / "checkpoints/end.json").exists() else max(kept, default=0)
    return found


# --- scenarios -------------------------------------------------------------------------------------------------


@dataclass
class Scenario:
    """A command, what lies there before it, and how the same command may be refused afterwards because it had come to
    its end.
    """

    name: str
    arguments: list[str]
    prepare: Callable[[Path], object]
    done: str = "nothing says so"
    secret: tuple[str, ...] = ()  # files that differ each time


def sources(work: Path) -> None:
    """The recipe and its files."""
    (work / "notes").mkdir(parents=True)
    for number in range(8):
        (work / "notes" / f"{number}.txt").write_text(
            f"The river and stone number {number} lie in garden {number * 7}. " * 2
        )
    talks = [[{"role": "user", "content": f"{n}?"}, {"role": "assistant", "content": f"{n}."}] for n in range(40)]
    (work / "talks.jsonl").write_text("".join(json.dumps({"messages": talk}) + "\n" for talk in talks))
    (work / "tiny.toml").write_text(RECIPE)


def scenarios(finished: Path) -> list[Scenario]:
    """All of them; `finished` will hold a finished run."""

    def after(work: Path) -> None:
        shutil.copytree(finished, work)

    def exported(work: Path) -> None:
        after(work)
        (work / "out").mkdir()
        (work / "out" / "lineage.json").write_text("{}")

    again = [
        "run",
        "tiny.toml",
        "--retrain",
        "--set",
        "source.notes.min_chars=2",
        "--set",
        "stage.pretrain.muon_lr=0.5",
    ]
    return [
        Scenario("run", ["run", "tiny.toml"], sources),
        Scenario("retrain", again, after),
        Scenario("export", ["export", "runs/tiny", "out"], after),
        Scenario("export-over", ["export", "runs/tiny", "out"], exported),
        Scenario("new", ["new", "mine", "--like", "tiny.toml"], sources, "there already"),
        Scenario("key", ["key", "me", "--keys", "keys.txt"], sources, "has a key 'me' already", ("keys.txt",)),
    ]


# --- tries -----------------------------------------------------------------------------------------------------


@dataclass
class Tries:
    """The tries of one scenario with one action."""

    scenario: str
    action: str
    changes: int
    tries: int = 0
    faults: list[str] = field(default_factory=list)
    seconds: float = 0.0


class Trial:
    """One scenario: the run that nothing happens to, and those that something does."""

    def __init__(self, home: Path, scenario: Scenario):
        self.home, self.scenario, self.work = home, scenario, home / "work"
        self._prepare()
        self.before = content(self.work)
        ended = child(home, scenario.arguments)
        assert ended.code == 0, ended.said
        self.changes, self.expected = ended.count, self._content()

    def _prepare(self) -> None:
        shutil.rmtree(self.work, ignore_errors=True)
        self.scenario.prepare(self.work)
        os.truncate(self.home / "steps", 0)

    def _content(self) -> dict[str, Any]:
        return {name: "secret" if name in self.scenario.secret else what for name, what in content(self.work).items()}

    def attempt(self, action: str, at: int) -> list[str]:
        """What is wrong after the command ended badly at a change and ran again."""
        self._prepare()
        ended = child(self.home, self.scenario.arguments, ACTIONS[action], at)
        if action == "power":
            cut_power(self.home / "changes", at)
        found = list(_wrong_end(action, ended))
        least, done = floors(self.work / "runs/tiny", self.before), self._steps()
        again = child(self.home, self.scenario.arguments)
        if again.code and self.scenario.done not in again.said:
            return [*found, f"the same command ends with {again.code}: {again.said[-2000:]}"]
        for title, step in self._steps()[len(done) :]:
            if step < least[title]:
                found.append(f"{title}: step {step} was done again behind {least[title]}")
        return found + differences(self.expected, self._content())

    def _steps(self) -> list[tuple[str, int]]:
        words = (line.split() for line in (self.home / "steps").read_text().splitlines())
        return [(title, int(step)) for title, step in words]


def _wrong_end(action: str, ended: Ended) -> Iterator[str]:
    """A full disk ends with one sentence and 2, where a change was refused; Ctrl-C with 130 or, at the end, 0."""
    if (
        action == "full"
        and ended.refused
        and (ended.code != 2 or "the disk is full" not in ended.said.splitlines()[-1])
    ):
        yield f"with a full disk the command ends with {ended.code}: {ended.said[-2000:]}"
    if action == "interrupt" and ended.code not in (0, 130):
        yield f"interrupted, the command ends with {ended.code}: {ended.said[-2000:]}"


def differences(expected: dict[str, Any], found: dict[str, Any]) -> list[str]:
    """What is missing, too much or other."""
    missing = [f"{name} is missing" for name in expected.keys() - found.keys()]
    more = [f"{name} is left over" for name in found.keys() - expected.keys()]
    other = [f"{name} differs" for name in expected.keys() & found.keys() if expected[name] != found[name]]
    return missing + more + other


def tries(trial: Trial, action: str, sample: int, until: float) -> Tries:
    """End badly at every change, or at a sample spread over them."""
    table, began = Tries(trial.scenario.name, action, trial.changes), time.monotonic()
    count = min(sample, trial.changes) or trial.changes
    for place in range(count):
        if time.monotonic() > until:
            break
        at = 1 + place * trial.changes // count
        table.tries += 1
        table.faults += [
            f"{action} at change {at} of {trial.scenario.name}: {fault}" for fault in trial.attempt(action, at)
        ]
    table.seconds = time.monotonic() - began
    return table


def inside(options: argparse.Namespace) -> int:
    """The work, in a process in which `fault.c` is loaded."""
    with tempfile.TemporaryDirectory() as name:
        home = Path(name).resolve()
        ready(home)
        known = scenarios(home / "finished")
        finished = Trial(home, known[0])
        shutil.copytree(home / "work", home / "finished")
        warm(home)
        faults, samples = 0, dict(sample.split("=") for sample in options.sample)
        for scenario in known:
            if options.scenario and scenario.name not in options.scenario:
                continue
            trial = finished if scenario is known[0] else Trial(home, scenario)
            for action in options.action or ACTIONS:
                table = tries(trial, action, int(samples.get(scenario.name, 0)), time.monotonic() + options.seconds)
                faults += len(table.faults)
                print(
                    f"{table.scenario:<12} {action:<10} {table.tries:>5} tries of {table.changes} changes,"
                    f" {len(table.faults)} faults,",
                    end=" ",
                )
                print(f"{table.seconds / 60:.1f} minutes", *table.faults, sep="\n" if table.faults else " ", flush=True)
    return 1 if faults else 0


def main() -> int:
    """Load `fault.c`, and go on in a new process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--sample", action="append", default=[], help="SCENARIO=N: try N changes, spread over all; left out: every one"
    )
    parser.add_argument("--seconds", type=float, default=86400.0, help="most seconds for a scenario and action")
    parser.add_argument("--scenario", action="append", help="only this one; may be repeated")
    parser.add_argument("--action", action="append", choices=list(ACTIONS), help="only this one; may be repeated")
    options = parser.parse_args()
    if "GROUNDUP_FAULTS" in os.environ:
        return inside(options)
    with tempfile.TemporaryDirectory() as folder:
        loaded = {
            "LD_PRELOAD": str(build(Path(folder))),
            "GROUNDUP_FAULTS": "1",
            "TORCHDYNAMO_DISABLE": "1",
            "OMP_NUM_THREADS": "1",
        }
        return subprocess.run(
            [sys.executable, "-m", "tests.pipeline.kill_everywhere", *sys.argv[1:]],
            env=os.environ | loaded,
            check=False,
        ).returncode


if __name__ == "__main__":
    sys.exit(main())
