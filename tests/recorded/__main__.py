"""Digests of tiny runs: compare this tree with another, or record them with the versions of their stages.

`python -m tests.recorded FILE [RUN ...]` writes the digests to a new file, or compares with those of an old one.
`python -m tests.recorded --write [RUN ...]` records what the test of versions compares with, for this processor.
"""

import json
import sys
import tempfile
from pathlib import Path

from tests.recorded.record import write
from tests.recorded.tiny import RUNS, outcomes


def main(file: Path, names: list[str]) -> int:
    """Write the file where there is none; else print what differs, and return how many stages that are."""
    found = {}
    for name in names or RUNS:
        with tempfile.TemporaryDirectory() as folder:
            found[name] = {stage: outcome.digest for stage, outcome in outcomes(name, Path(folder)).items()}
        print(name, found[name], flush=True)
    if not file.exists():
        file.write_text(json.dumps(found, indent=1) + "\n")
        return 0
    before = json.loads(file.read_text())
    differ = [
        f"{run}: {stage}" for run in found for stage in before[run] if found[run].get(stage) != before[run][stage]
    ]
    print("differ: " + "; ".join(differ) if differ else f"{sum(map(len, found.values()))} stages, the same bits")
    return len(differ)


if __name__ == "__main__":
    if sys.argv[1] == "--write":
        write(sys.argv[2:] or list(RUNS))
    else:
        sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
