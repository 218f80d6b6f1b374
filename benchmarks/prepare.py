"""Data preparation: raw text to packed shards, in MB/s a core, and peak memory as the corpus grows.

    python benchmarks/prepare.py               # 100 MB, and the peer on the same; about 5 minutes
    python benchmarks/prepare.py --gigabyte    # 1 GB as well: peak memory must not grow

The text is the standard library of the running Python (docstrings, topics and source). Its paragraphs are repeated in
other orders and with other numbers, in files of about 16 kB; no two are equal, so deduplication saves nothing. Each
size is prepared in a process of its own, with every core. "MB/s a core" divides by the CPU time of all threads.
"documents" is reading, cleaning, hashing, deduplication and Parquet; "shards" is encoding, packing and writing. The
tokenizer (8,192 ids) is learned before the clock starts. Peak memory is the largest resident size of the process, with
4 million characters of text in flight, Python and libraries ("at start" is these alone).

The peer is the plain loop of most projects: read a file, encode it with Hugging Face tokenizers (the same
tokenizer.json, one thread), append the ids to one file. It neither cleans, deduplicates nor packs. Needs `tokenizers`.
"""

import argparse
import json
import os
import platform
import random
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

CONTEXT = 512
VOCABULARY = 8192
FILE_BYTES = 16_000
REPEATS = 3


# --- the corpus --------------------------------------------------------------------------------------------


def paragraphs() -> list[str]:
    from groundup.data.filtered import Filtered
    from groundup.data.sources.python_library import LibrarySource, documents

    source = LibrarySource(name="library", kind="python-library", parts=("docstrings", "topics", "source"))
    texts = (document.text or "" for document in documents(source, Filtered()))
    return [paragraph for text in texts for paragraph in re.split(r"\n\n+", text) if 40 < len(paragraph) < 4000]


def write_corpus(folder: Path, megabytes: int) -> None:
    """Fill a folder with files of drawn paragraphs, numbers in them replaced by drawn ones."""
    rng, stock = random.Random(megabytes), paragraphs()
    written, number = 0, 0
    while written < megabytes * 1_000_000:
        path = folder / f"{number // 1000:03}" / f"{number:06}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        text = "".join(document_parts(rng, stock))
        path.write_text(text, encoding="utf-8")
        written += path.stat().st_size
        number += 1


def document_parts(rng: random.Random, stock: list[str]) -> Iterator[str]:
    size = 0
    while size < FILE_BYTES:
        paragraph = re.sub(r"\d+", lambda match: str(rng.randrange(10 ** len(match[0]))), rng.choice(stock))
        size += len(paragraph) + 2
        yield paragraph + "\n\n"


# --- the measurements, each in a process of its own ----------------------------------------------------------


def usage() -> tuple[float, float]:
    """Seconds of the wall and of the processor."""
    spent = resource.getrusage(resource.RUSAGE_SELF)
    return time.perf_counter(), spent.ru_utime + spent.ru_stime


def peak_megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6


def measure(corpus: Path, tokenizer_folder: Path) -> dict[str, float]:
    """Prepare a corpus; seconds of each step, and peak memory at the start and the end."""
    from groundup.codecs.text import Tokenizer
    from groundup.data.prepare import write_documents
    from groundup.data.shards import write_shards
    from groundup.data.sources.text import TextSource

    tokenizer = Tokenizer.load(tokenizer_folder)
    tokenizer.encode("start")
    source = TextSource(name="corpus", kind="text", path="**/*.txt", licence="PSF-2.0")
    with tempfile.TemporaryDirectory(dir=corpus.parent) as out:
        start, before = peak_megabytes(), usage()
        report = write_documents(source, corpus, Path(out), lambda amount: None)
        between = usage()
        shards = write_shards(Path(out) / "documents.parquet", tokenizer, CONTEXT, Path(out), lambda amount: None)
        after = usage()
    return {
        "documents_cpu": between[1] - before[1],
        "shards_cpu": after[1] - between[1],
        "wall": after[0] - before[0],
        "start": start,
        "peak": peak_megabytes(),
        "documents": report.documents,
        "fill": shards.train.fill,
    }


def measure_peer(corpus: Path, tokenizer_folder: Path) -> dict[str, float]:
    """The plain loop: files to one array of ids."""
    import numpy as np
    import tokenizers

    tokenizer = tokenizers.Tokenizer.from_file(str(tokenizer_folder / "tokenizer.json"))
    start, before = peak_megabytes(), usage()
    with tempfile.TemporaryFile(dir=corpus.parent) as file:
        for path in sorted(corpus.rglob("*.txt")):
            file.write(np.array(tokenizer.encode(path.read_text(encoding="utf-8")).ids, np.uint16).tobytes())
    after = usage()
    return {"cpu": after[1] - before[1], "wall": after[0] - before[0], "start": start, "peak": peak_megabytes()}


def in_process(kind: str, corpus: Path, tokenizer_folder: Path) -> dict[str, float]:
    command = [sys.executable, __file__, f"--{kind}", str(corpus), str(tokenizer_folder)]
    environment = os.environ | {
        "RAYON_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    result: dict[str, float] = json.loads(
        subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    )
    return result


# --- the table -----------------------------------------------------------------------------------------------


def learn(corpus: Path, folder: Path) -> None:
    from groundup.codecs.text import Tokenizer

    texts = (path.read_text(encoding="utf-8") for path in sorted(corpus.rglob("*.txt"))[:500])
    Tokenizer.learn(texts, VOCABULARY).save(folder)


def megabytes(corpus: Path) -> float:
    return sum(path.stat().st_size for path in corpus.rglob("*.txt")) / 1e6


def medians(runs: list[dict[str, float]]) -> dict[str, float]:
    return {key: statistics.median(run[key] for run in runs) for key in runs[0]}


def row(name: str, size: float, run: dict[str, float], cpu: float) -> str:
    return f"| {name} | {size:,.0f} | {run['wall']:.1f} | {size / cpu:.2f} | {run['start']:.0f} | {run['peak']:.0f} |"


def report(sizes: list[int], folder: Path) -> None:
    """Measure all sizes and the peer, and print the table."""
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}; context {CONTEXT},"
        f" vocabulary {VOCABULARY:,}\n"
    )
    print("| what | MB | seconds | MB/s a core | MB at start | peak MB |\n| --- | ---: | ---: | ---: | ---: | ---: |")
    speeds = {}
    for size in sizes:
        corpus = folder / f"{size}"
        write_corpus(corpus, size)
        if size == sizes[0]:
            learn(corpus, folder / "tokenizer")
        found = megabytes(corpus)
        run = medians(
            [in_process("measure", corpus, folder / "tokenizer") for _ in range(REPEATS if size <= 100 else 1)]
        )
        whole = run["documents_cpu"] + run["shards_cpu"]
        speeds[size] = found / whole
        print(row("groundup: files to shards", found, run, whole), flush=True)
        print(f"|   documents alone | {found:,.0f} | | {found / run['documents_cpu']:.2f} | | |")
        print(
            f"|   shards alone, {run['fill']:.1%} full | {found:,.0f} | | {found / run['shards_cpu']:.2f} | | |",
            flush=True,
        )
    small = folder / str(sizes[0])
    found = megabytes(small)
    peer = medians([in_process("peer", small, folder / "tokenizer") for _ in range(REPEATS)])
    print(row("plain loop, Hugging Face tokenizers", found, peer, peer["cpu"]))
    print(
        f"\nMB/s a core of groundup to that of the plain loop, same {found:,.0f} MB:"
        f" {speeds[sizes[0]] / (found / peer['cpu']):.2f}x"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--gigabyte", action="store_true", help="prepare 1 GB as well (needs 4 GB of disk and some minutes)"
    )
    parser.add_argument("--measure", nargs=2, type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--peer", nargs=2, type=Path, help=argparse.SUPPRESS)
    choice: Any = parser.parse_args()
    if choice.measure or choice.peer:
        print(json.dumps(measure(*choice.measure) if choice.measure else measure_peer(*choice.peer)))
        return
    with tempfile.TemporaryDirectory() as folder:
        report([100, 1000] if choice.gigabyte else [100], Path(folder))


if __name__ == "__main__":
    main()
