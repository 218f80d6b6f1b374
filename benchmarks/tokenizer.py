"""BPE training and encoding, compared with Hugging Face tokenizers.

    python benchmarks/tokenizer.py [--data FOLDER] [--megabytes 11] [--vocab 32768] [--threads 1] [--repeats 3]

Text: the source of the running Python's standard library, and with --data the text files in a folder, up to --megabytes
of each; each file is a text. Both split with the same pattern, start from the same 256 bytes and use equally many
threads. The repeats alternate; the figures are medians.

learn         texts in, vocabulary out
encode        a text a call, ids as a list (always one thread)
encode batch  all texts in one call; for Hugging Face tokenizers the faster of its two, which leaves out offsets

Both then load the same tokenizer.json and must give the same ids for every text; otherwise the last line says so and
the exit code is 1.
"""

import argparse
import json
import os
import platform
import statistics
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Collection, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import tokenizers

    from groundup.codecs.text import Tokenizer

TEXT = {".py", ".txt", ".md", ".rst", ".json", ".jsonl", ".csv", ".html", ".xml", ".c", ".h"}
NOT_LIBRARY = {"site-packages", "test", "tests", "idle_test", "__pycache__"}


def main() -> int:
    asked = parse()
    # Both libraries read these when they start their threads, so they are set before either is imported.
    os.environ["RAYON_NUM_THREADS"] = str(asked.threads)
    os.environ["TOKENIZERS_PARALLELISM"] = str(asked.threads > 1).lower()
    texts = list(read(Path(sysconfig.get_path("stdlib")), asked.megabytes * 1e6, leave_out=NOT_LIBRARY))
    if asked.data:
        texts += read(asked.data, asked.megabytes * 1e6)
    megabytes = sum(len(text.encode()) for text in texts) / 1e6
    print(
        f"{processor()}, {asked.threads} thread(s); Python {platform.python_version()}, "
        + ", ".join(map(release, ("rustbpe", "tiktoken", "tokenizers")))
    )
    print(f"{len(texts)} texts, {megabytes:.1f} MB, {asked.vocab} ids, medians of {asked.repeats}\n")
    print("| work | groundup, MB/s | tokenizers, MB/s | ratio |\n| --- | --- | --- | --- |")

    vocabulary = learn(texts, asked.vocab)
    report(
        "learn",
        megabytes,
        alternate(asked.repeats, lambda: learn(texts, asked.vocab), lambda: learn_there(texts, asked.vocab)),
    )
    peer = there(vocabulary)
    if asked.threads == 1:
        each = alternate(
            asked.repeats,
            lambda: [vocabulary.encode(text) for text in texts],
            lambda: [peer.encode(text).ids for text in texts],
        )
        report("encode", megabytes, each)
    together = alternate(
        asked.repeats, lambda: vocabulary.encode_batch(texts, asked.threads), lambda: batch_there(peer, texts)
    )
    report("encode batch", megabytes, together)

    ids = vocabulary.encode_batch(texts)
    equal = ids == batch_there(peer, texts)
    print(f"\n{sum(map(len, ids)):,} ids: " + ("equal" if equal else "NOT EQUAL"))
    return 0 if equal else 1


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="a folder with text files, beside the library's source")
    parser.add_argument("--megabytes", type=float, default=11, help="text of each, at most")
    parser.add_argument("--vocab", type=int, default=32_768, help="ids to learn")
    parser.add_argument("--threads", type=int, default=1, help="threads, on both sides")
    parser.add_argument("--repeats", type=int, default=3, help="measurements of each figure")
    return parser.parse_args()


# --- text and machine ---------------------------------------------------------------------------------------


def read(folder: Path, limit: float, leave_out: Collection[str] = ()) -> Iterator[str]:
    """The texts below a folder, in the order of their names, until they are `limit` bytes; what is not UTF-8 is left
    out.
    """
    total = 0
    for path in sorted(folder.rglob("*")):
        skipped = any(part in leave_out for part in path.relative_to(folder).parts)
        if path.suffix in TEXT and not skipped and path.is_file() and total < limit:
            content = path.read_bytes()[: int(limit - total)]
            total += len(content)
            yield content.decode("utf-8", errors="ignore")


def processor() -> str:
    """The processor's name and number of cores."""
    info = Path("/proc/cpuinfo")
    names = (
        [line.split(":")[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
        if info.exists()
        else []
    )
    return f"{names[0] if names else platform.processor() or platform.machine()}, {os.cpu_count()} cores"


def release(package: str) -> str:
    return f"{package} {version(package)}"


# --- the two sides ------------------------------------------------------------------------------------------


def learn(texts: list[str], size: int) -> "Tokenizer":
    from groundup.codecs.text import Tokenizer

    return Tokenizer.learn(texts, size)


def learn_there(texts: list[str], size: int) -> "tokenizers.Tokenizer":
    import tokenizers
    from tokenizers import models, pre_tokenizers, trainers

    from groundup.codecs.text import PATTERN, SPECIAL_TOKENS

    peer = tokenizers.Tokenizer(models.BPE())
    split = pre_tokenizers.Split(tokenizers.Regex(PATTERN), "isolated")
    peer.pre_tokenizer = pre_tokenizers.Sequence(
        [split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=size, initial_alphabet=alphabet, special_tokens=list(SPECIAL_TOKENS), show_progress=False
    )
    peer.train_from_iterator(texts, trainer)
    return peer


def there(vocabulary: "Tokenizer") -> "tokenizers.Tokenizer":
    """The same tokenizer.json in Hugging Face tokenizers, less the special tokens, which it would look for in the
    text.
    """
    import tokenizers

    with tempfile.TemporaryDirectory() as folder:
        vocabulary.save(Path(folder))
        table = json.loads((Path(folder) / "tokenizer.json").read_text(encoding="utf-8"))
    return tokenizers.Tokenizer.from_str(json.dumps(table | {"added_tokens": []}))


def batch_there(peer: "tokenizers.Tokenizer", texts: list[str]) -> list[list[int]]:
    return [encoding.ids for encoding in peer.encode_batch_fast(texts)]


# --- measuring ----------------------------------------------------------------------------------------------


def alternate(repeats: int, ours: Callable[[], object], theirs: Callable[[], object]) -> tuple[float, float]:
    """Median seconds of both sides, run in turns."""
    times = [(seconds(ours), seconds(theirs)) for _ in range(repeats)]
    return statistics.median(ours for ours, _ in times), statistics.median(theirs for _, theirs in times)


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def report(name: str, megabytes: float, times: tuple[float, float]) -> None:
    ours, theirs = times
    print(f"| {name} | {megabytes / ours:.2f} | {megabytes / theirs:.2f} | {theirs / ours:.1f}x |", flush=True)


if __name__ == "__main__":
    sys.exit(main())
