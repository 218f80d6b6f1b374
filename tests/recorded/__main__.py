"""Compare tiny runs with the record, or record them anew: `python -m tests.recorded [--write] [RUN ...]`."""

import sys
import tempfile
from pathlib import Path

from tests.recorded.record import broken_promises, write
from tests.recorded.tiny import RUNS, outcomes


def compare(names: list[str]) -> int:
    """Go through tiny runs and print what differs from the record; returns how many stages that are."""
    broken: list[str] = []
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            found = outcomes(name, Path(folder))
        broken += [f"{name}: {sentence}" for sentence in broken_promises(name, found)]
        print(f"{name}: {len(found)} stages", flush=True)
    print(*broken or ["no stage differs"], sep="\n")
    return len(broken)


if __name__ == "__main__":
    arguments = sys.argv[1:]
    chosen = [name for name in arguments if name != "--write"] or list(RUNS)
    if "--write" in arguments:
        write(chosen)
    else:
        sys.exit(min(compare(chosen), 1))
