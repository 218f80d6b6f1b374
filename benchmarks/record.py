"""Cost of the ledger: CPU time of hashing, compared with the stage that reads the same files: `python
benchmarks/record.py --megabytes 50`.
"""

import argparse
import random
import tempfile
import time
from pathlib import Path

from groundup.core.hashes import Hashes
from groundup.data.prepare import write_documents
from groundup.data.sources.text import TextSource

WORDS = ["river", "stone", "cloud", "lamp", "paper", "glass", "winter", "garden", "letter", "bridge"]


def corpus(folder: Path, megabytes: int) -> list[Path]:
    """Text files of 100 kB."""
    folder.mkdir()
    chance = random.Random(1)
    paths = [folder / f"{number}.txt" for number in range(10 * megabytes)]
    for path in paths:
        path.write_text(" ".join(chance.choices(WORDS, k=17_000)))
    return paths


def main() -> None:
    """Print CPU seconds and MB/s."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=50)
    megabytes = parser.parse_args().megabytes
    with tempfile.TemporaryDirectory() as home:
        paths = corpus(Path(home) / "notes", megabytes)
        size = sum(path.stat().st_size for path in paths) / 1e6
        hashes = Hashes(Path(home) / "hashes.json")
        source = TextSource(name="notes", kind="text", path="notes/*.txt")
        for name, work in (
            ("hash for the key", lambda: [hashes.of(path) for path in paths]),
            ("documents", lambda: write_documents(source, Path(home), Path(home) / "out", lambda count: None)),
            ("read once more", lambda: [hashes.holds(path) for path in paths]),
        ):
            began = time.process_time()
            work()
            seconds = time.process_time() - began
            print(f"{name:<18} {seconds:8.2f} s {size / seconds:10,.0f} MB/s")


if __name__ == "__main__":
    main()
