"""Set up and go, on a machine with nothing but Python 3.11 or newer.

    python3 start.py demo     set up, then train the sorter's model, run the sorting line, and open its live page
    python3 start.py test     set up, then run the checks and the tests
    python3 start.py setup    set up only
    python3 start.py peers    set up the peers of benchmarks and tests

The virtual environment is `.venv` beside this file. Installed packages are not installed again.
"""

import os
import subprocess
import sys
from pathlib import Path

HOME = Path(__file__).resolve().parent
VENV = HOME / ".venv"
BIN = VENV / ("Scripts" if os.name == "nt" else "bin")
TORCH = "torch==2.13.0"  # the version everything was tested with; any from 2.9 on should do
LIVE = ("sort", "runs/sorter", "--sure", "55", "--page")  # the confidence threshold of the recipe's [line]
CHECKS = (
    ["ruff", "check", "."],
    ["ruff", "format", "--check", "."],
    ["mypy"],
    ["lint-imports"],
    ["python", "-m", "tests.lines"],
    # a process a core, a file's tests in one of them; four are as much as the files can be shared out evenly
    ["pytest", "-q", "-n", str(min(os.cpu_count() or 1, 4)), "--dist", "loadfile"],
)


def main() -> int:
    """Run the command of the arguments; returns the exit code."""
    verbs = {"demo": demo, "test": test, "setup": setup, "peers": peers}
    if len(sys.argv) != 2 or sys.argv[1] not in verbs:
        print(__doc__)
        return 2
    os.chdir(HOME)
    return verbs[sys.argv[1]]()


def demo() -> int:
    """Train the sorter and run the line: figures and a film; in a terminal also the live page, until Ctrl-C."""
    code = setup("serve", "vision", "sorter") or run("groundup", "run", "recipes/sorter.toml")
    if code == 0 and sys.stdout.isatty():
        sys.stdout.flush()
        os.execv(BIN / "groundup", ("groundup", *LIVE))
    if code == 0:
        print(f"live    {BIN.relative_to(HOME) / 'groundup'} {' '.join(LIVE)}")
    return code


def test() -> int:
    """Run all checks and tests; stop at the first failure."""
    return setup("dev") or next((code for check in CHECKS if (code := run(*check))), 0)


def peers() -> int:
    """Install the packages that benchmarks and tests compare with."""
    # LitGPT first: it requires an old hub client; transformers replaces it, and LitGPT works with the newer one too
    return setup("dev") or pip("litgpt") or pip("-e", ".[judges,browser,gym,tensorboard]")


def setup(*extras: str) -> int:
    """Create the virtual environment and install this project with extras."""
    wanted = f".[{','.join(extras)}]" if extras else "."
    stamp = VENV / f"installed-{'-'.join(extras) or 'core'}"
    facts = (HOME / "pyproject.toml").read_text(encoding="utf-8") + TORCH
    if stamp.exists() and stamp.read_text(encoding="utf-8") == facts:
        return 0
    if not BIN.exists():
        print("making .venv", flush=True)
        subprocess.run([sys.executable, "-m", "venv", str(VENV)], check=True)
    print(f"installing {TORCH}, then groundup{wanted[1:]}: a few minutes the first time", flush=True)
    # torch first and alone, so that no other package chooses its build
    code = pip(TORCH) or pip("-e", wanted)
    if code == 0:
        stamp.write_text(facts, encoding="utf-8")
    return code


def pip(*wanted: str) -> int:
    """Install packages into the environment."""
    return run("python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *wanted)


def run(program: str, *arguments: str) -> int:
    """Run a program of the environment; returns its exit code."""
    return subprocess.run([str(BIN / program), *arguments], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
