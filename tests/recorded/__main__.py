"""Record the digests of tiny runs, or compare with a record: `python -m tests.recorded FILE [RUN ...]`."""

import json
import sys
import tempfile
from pathlib import Path

from tests.recorded.tiny import RUNS, digests


def main(file: Path, names: list[str]) -> int:
    """Write the file where there is none; else print what differs, and return how many stages that are."""
    found = {}
    for name in names or RUNS:
        with tempfile.TemporaryDirectory() as folder:
            found[name] = digests(name, Path(folder))
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
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
