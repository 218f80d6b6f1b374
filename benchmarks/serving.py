"""Decoding speed compared with transformers and llama.cpp: the same random weights, precision and threads.

Each contestant runs in a process of its own, in alternating rounds. One stream: tokens/s while 128 are generated after
a prompt of 64. Sixteen streams: total tokens/s, in the contestant's process and over HTTP from its own server.
llama.cpp runs as `llama-bench` (one stream: its own loop, no server) and as `llama-server` (sixteen, over HTTP), built
from the sources that come with llama-cpp-python:

    pip download --no-deps --no-binary :all: llama-cpp-python && tar xf llama_cpp_python-*.tar.gz
    cmake -S llama_cpp_python-*/vendor/llama.cpp -B FOLDER -DCMAKE_BUILD_TYPE=Release -DLLAMA_CURL=OFF
    cmake --build FOLDER --target llama-server llama-bench

    python benchmarks/serving.py [--depth 8 14] [--rounds 3] [--llama FOLDER/bin]
"""

import argparse
import json
import os
import re
import selectors
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from served import config_of, make_model, random_model, serving

PROMPT, ANSWER, STREAMS = 64, 128, 16
ALONE = 10  # answers of a single stream: one lasts a third of a second, and a neighbour takes a core for longer
HEAD = (
    "contestant",
    "weights",
    "one stream, tokens/s",
    "groundup's is",
    "16 streams",
    "groundup's is",
    "16 over HTTP",
    "groundup's is",
    "reads GB/s",
)
OURS = ("bf16", "int8", "int4", "fp32")
THEIRS = {"bf16": "BF16", "fp32": "F32", "int8": "Q8_0", "int4": "Q4_0"}


def prompts(count: int, vocabulary: int) -> list[list[int]]:
    """Different prompts of PROMPT ids."""
    import random

    source = random.Random(1)
    return [[source.randrange(vocabulary - 8) for _ in range(PROMPT)] for _ in range(count)]


# --- contestants ------------------------------------------------------------------------------------------------


def groundup(depth: int, precision: str) -> dict[str, float]:
    """The engine in this process, with ends that never come."""
    from types import SimpleNamespace

    import torch

    from groundup.generate.engine import Engine
    from groundup.generate.request import Request
    from groundup.kernels.cpu.backend import cpu_backend, pack_weights

    model = random_model(depth)
    model.precision = torch.float32 if precision == "fp32" else torch.bfloat16
    backend = cpu_backend(model.config)
    size = pack_weights(model, precision if precision.startswith("int") else "full", backend)  # type: ignore[arg-type]
    tokenizer: Any = SimpleNamespace(size=model.config.vocab, ends=(-1,), token_bytes=lambda id: b"x")
    engine = Engine(model, tokenizer, backend)

    def rate(streams: int) -> float:
        times: list[float] = []
        for number, prompt in enumerate(prompts(streams, model.config.vocab)):
            engine.add(Request(prompt, ANSWER, number=number), lambda piece: times.append(time.perf_counter()))
        while engine.step():
            pass
        start = times[streams - 1] if streams > 1 else times[0]
        return sum(moment > start for moment in times) / (times[-1] - start)

    rate(1)
    one, many = statistics.mean(rate(1) for _ in range(ALONE)), rate(STREAMS)
    read = size - model.model.embed_tokens.weight.nbytes
    found = {"one": one, "many": many, "bandwidth": one * read}
    # the server takes the device's precision, so it has no 32 bits where there are 16
    return found if precision == "fp32" else found | {"http": groundup_server(depth, precision)}


def transformers(depth: int, precision: str) -> dict[str, float]:
    """Qwen3ForCausalLM.generate with its own cache."""
    import torch
    from transformers import Qwen3ForCausalLM

    from groundup.model import weights

    with tempfile.TemporaryDirectory() as folder:
        weights.save(random_model(depth), Path(folder), None)
        model = Qwen3ForCausalLM.from_pretrained(
            folder, dtype=torch.float32 if precision == "fp32" else torch.bfloat16
        ).eval()
    model.generation_config.eos_token_id = None

    def rate(streams: int) -> float:
        ids = torch.tensor(prompts(streams, model.config.vocab_size))
        times = []
        for new in (8, ANSWER):  # the difference leaves the prompt out
            start = time.perf_counter()
            model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=new,
                min_new_tokens=new,
                do_sample=False,
                pad_token_id=0,
            )
            times.append(time.perf_counter() - start)
        return streams * (ANSWER - 8) / (times[1] - times[0])

    with torch.inference_mode():
        rate(1)
        return {"one": statistics.mean(rate(1) for _ in range(ALONE)), "many": rate(STREAMS)}


def llama(depth: int, precision: str, binaries: Path) -> dict[str, float]:
    """llama-bench and llama-server on the same weights as GGUF."""
    import torch

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.gguf"
        write_gguf(random_model(depth), file, THEIRS[precision])
        options = [
            "-m",
            file,
            "-t",
            torch.get_num_threads(),
            "-p",
            0,
            "-n",
            ANSWER,
            "-d",
            PROMPT,
            "-r",
            ALONE,
            "-o",
            "json",
        ]
        out = subprocess.run(
            [str(binaries / "llama-bench"), *map(str, options)], check=True, capture_output=True, text=True
        ).stdout
        return {"one": json.loads(out)[0]["avg_ts"], "http": llama_server(file, binaries, config_of(depth).vocab)}


def llama_server(file: Path, binaries: Path, vocabulary: int) -> float:
    """Ids a second of sixteen streams."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    threads = str(os.cpu_count())
    options = [
        "-m",
        file,
        "-t",
        threads,
        "-np",
        STREAMS,
        "-c",
        STREAMS * 256,
        "--host",
        "127.0.0.1",
        "--port",
        port,
        "--no-webui",
    ]
    server = subprocess.Popen(
        [str(binaries / "llama-server"), *map(str, options)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        until_ready(f"http://127.0.0.1:{port}/health")
        body = {"n_predict": ANSWER, "ignore_eos": True, "temperature": 0, "stream": True, "cache_prompt": False}
        return over_http(f"http://127.0.0.1:{port}/completion", body, vocabulary)
    finally:
        server.terminate()
        server.wait()


def groundup_server(depth: int, precision: str) -> float:
    """Ids a second of sixteen streams from `groundup serve`."""
    with tempfile.TemporaryDirectory() as folder:
        make_model(depth, Path(folder))
        weights = ["--weights", precision] if precision.startswith("int") else []
        with serving(Path(folder), *weights) as (address, _):
            body = {
                "model": "model",
                "max_tokens": ANSWER,
                "temperature": 0,
                "stream": True,
                "stream_options": {"include_usage": True},
            }
            return over_http(f"{address}/v1/completions", body, 4096)


def over_http(address: str, body: dict[str, Any], vocabulary: int) -> float:
    """Ids a second of sixteen streams, as one client receives them that hardly takes a core from the server."""
    asked = prompts(STREAMS, vocabulary)
    received(address, body, asked[:2])
    spans = received(address, body, asked)
    # from the moment the last stream has begun, as for the engine: what came before is nearly all prompt
    start, stop = max(first for first, _, _ in spans), max(last for _, last, _ in spans)
    return sum(count * (last - max(first, start)) / (last - first) for first, last, count in spans) / (stop - start)


def received(address: str, body: dict[str, Any], asked: list[list[int]]) -> list[tuple[float, float, int]]:
    """When the first and the last text of each answer came, and how many tokens it has: as the server says, else one an
    event.
    """
    url = urlsplit(address)
    texts, moments = [bytearray() for _ in asked], [(0.0, 0.0)] * len(asked)
    with selectors.DefaultSelector() as waiting, ExitStack() as opened:
        for number, ids in enumerate(asked):
            sent = json.dumps({"prompt": ids, **body}).encode()
            head = (
                f"POST {url.path} HTTP/1.1\r\nHost: {url.netloc}\r\nContent-Type: application/json\r\nConnection:"
                " close\r\n"
            )
            connection = opened.enter_context(socket.create_connection((url.hostname, url.port), timeout=600))
            connection.sendall(head.encode() + f"Content-Length: {len(sent)}\r\n\r\n".encode() + sent)
            waiting.register(connection, selectors.EVENT_READ, number)
        while waiting.get_map():
            for key, _ in waiting.select():
                number, data = key.data, key.fileobj.recv(1 << 16)  # type: ignore[union-attr]
                if not data:
                    waiting.unregister(key.fileobj)
                elif b"data: {" in data:
                    now = time.perf_counter()
                    moments[number] = (moments[number][0] or now, now)
                texts[number] += data
    return [(*span, _tokens(bytes(text))) for span, text in zip(moments, texts, strict=True)]


def _tokens(text: bytes) -> int:
    # texts of half a character do not come alone, so a server's own count stands where it gives one
    usage = re.findall(rb'"completion_tokens":\s*(\d+)', text)
    return int(usage[-1]) if usage else text.count(b"data: {")


def until_ready(address: str) -> None:
    """Wait for a server, two minutes at most."""
    for _ in range(1200):
        try:
            urllib.request.urlopen(address, timeout=5).close()
            return
        except OSError:
            time.sleep(0.1)
    raise TimeoutError(address)


def write_gguf(model: Any, file: Path, kind: str) -> None:
    """The model in llama.cpp's format, with a vocabulary of placeholders."""
    import gguf

    config = model.config
    writer = gguf.GGUFWriter(file, "qwen3")
    writer.add_block_count(config.depth)
    writer.add_context_length(config.context)
    writer.add_embedding_length(config.width)
    writer.add_feed_forward_length(config.ffn)
    writer.add_head_count(config.heads)
    writer.add_head_count_kv(config.kv_heads)
    writer.add_key_length(config.head_dim)
    writer.add_value_length(config.head_dim)
    writer.add_layer_norm_rms_eps(config.norm_epsilon)
    writer.add_rope_freq_base(config.rope_base)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list([f"<{id}>" for id in range(config.vocab)])
    writer.add_token_types([1] * config.vocab)
    writer.add_token_merges(["< 0"])
    writer.add_eos_token_id(config.vocab - 1)
    asked = getattr(gguf.GGMLQuantizationType, kind)
    for name, weight in model.state_dict().items():
        if name == "lm_head.weight" and config.tied:
            continue
        kept = asked if weight.dim() == 2 else gguf.GGMLQuantizationType.F32
        writer.add_tensor(gguf_name(name), gguf.quants.quantize(weight.float().numpy(), kept), raw_dtype=kept)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def gguf_name(name: str) -> str:
    """llama.cpp's name of a tensor."""
    names = {
        "model.embed_tokens.weight": "token_embd.weight",
        "model.norm.weight": "output_norm.weight",
        "lm_head.weight": "output.weight",
    }
    if name in names:
        return names[name]
    _, _, layer, *rest = name.split(".")
    parts = {
        "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm", "self_attn.q_proj": "attn_q",
        "self_attn.k_proj": "attn_k",
        "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output", "self_attn.q_norm": "attn_q_norm",
        "self_attn.k_norm": "attn_k_norm",
        "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
    }  # fmt: skip
    return f"blk.{layer}.{parts['.'.join(rest[:-1])]}.weight"


# --- the table ----------------------------------------------------------------------------------------------------


def copy_speed() -> float:
    """Bytes a second that a copy reads and writes together, the best of five."""
    import torch

    source = torch.empty(1 << 28, dtype=torch.uint8).fill_(1)
    target, times = torch.empty_like(source), []
    for _ in range(6):
        start = time.perf_counter()
        target.copy_(source)
        times.append(time.perf_counter() - start)
    return 2 * source.nbytes / min(times[1:])


def main() -> None:
    """Run what was asked for."""
    from groundup.core import process

    process.configure_process()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--depth", type=int, nargs="+", default=[8, 14])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--llama", type=Path, help="folder with llama-bench and llama-server")
    parser.add_argument("--precision", nargs="+", default=["bf16", "int8"], choices=OURS)
    parser.add_argument("--only", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    contestants: dict[str, Callable[[int, str], dict[str, float]]] = {
        "groundup": groundup,
        "transformers": transformers,
    }
    if arguments.llama is not None:
        contestants["llama.cpp"] = lambda depth, precision: llama(depth, precision, arguments.llama)
    if arguments.only:
        name, precision = arguments.only
        print(json.dumps(contestants[name](arguments.depth[0], precision)))
        return
    report(arguments, contestants)


def report(arguments: argparse.Namespace, contestants: dict[str, Any]) -> None:
    """Contestants in turns; medians."""
    from common import machine, table

    from groundup.model import cost

    print(machine())
    print(f"a copy moves {copy_speed() / 1e9:.1f} GB/s")
    given = ["--llama", str(arguments.llama)] if arguments.llama else []
    for depth in arguments.depth:
        print(f"\n{cost.total(config_of(depth)):,} parameters, prompts of {PROMPT}, answers of {ANSWER}\n")
        runs: dict[tuple[str, str], list[dict[str, float]]] = {}
        for _ in range(arguments.rounds):
            for precision in arguments.precision:
                for name in contestants:
                    if name == "transformers" and precision.startswith("int"):
                        continue
                    command = [
                        sys.executable,
                        "-W",
                        "ignore",
                        __file__,
                        "--only",
                        name,
                        precision,
                        "--depth",
                        str(depth),
                        *given,
                    ]
                    out = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
                    runs.setdefault((name, precision), []).append(json.loads(out.splitlines()[-1]))
        medians = {
            key: {what: statistics.median(run[what] for run in found) for what in found[0]}
            for key, found in runs.items()
        }
        rows = [
            row(name, precision, found, medians[("groundup", precision)])
            for (name, precision), found in medians.items()
        ]
        print(table(HEAD, rows), flush=True)


def row(name: str, precision: str, found: dict[str, float], ours: dict[str, float]) -> list[str]:
    """One line of the table."""
    bandwidth = f"{found['bandwidth'] / 1e9:.1f}" if "bandwidth" in found else ""
    pairs = (
        (f"{found[what]:,.0f}", f"{ours[what] / found[what]:.2f}x") if what in found else ("", "")
        for what in ("one", "many", "http")
    )
    return [name, precision, *(cell for pair in pairs for cell in pair), bandwidth]


if __name__ == "__main__":
    main()
