"""Training tokens/s compared with transformers and LitGPT: the same Qwen3 shape, data, precision, threads, optimizer.

Each contestant runs in a process of its own, in alternating rounds, so none inherits another's memory or compiled code:

    groundup      the standard loop (compiled blocks, dense attention for short rows, chunked head, kept memory)
    groundup-e    the same without a C++ compiler: eager
    transformers  Qwen3ForCausalLM, autocast, a plain torch loop
    litgpt        litgpt.GPT with the same configuration, autocast, a plain torch loop
    *-c           the peer under torch.compile (with --compiled)

All contestants use the same OpenMP wait policy (`groundup.core.process.configure_process`): with long spinning, the
peers lose most of their speed to any busy neighbour. All train with AdamW, so only the model's forward and backward
differ. Rows are full, one document each.

    python benchmarks/training.py [--depth 4 8] [--rounds 3]
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

ROWS, CONTEXT, VOCAB, STEPS = 32, 256, 8192, 6
CONTESTANTS = ("groundup", "groundup-e", "transformers", "litgpt")
COMPILED = ("transformers-c", "litgpt-c")


def config_of(depth: int) -> "object":
    from groundup.config.model import ModelPart
    from groundup.model.config import ModelConfig

    return ModelConfig.of(ModelPart(depth=depth, context=CONTEXT), VOCAB)


def groundup(depth: int, compiled: bool) -> Callable[[], None]:
    import torch

    from groundup import device
    from groundup.model.transformer import Transformer
    from groundup.train.loss_module import LossModule, ModelInputs, speed_up

    here = device.pick()
    model = Transformer(config_of(depth), here.precision("auto")).initialise(0).to(here.handle).train()
    if compiled:
        speed_up(model, here, CONTEXT)
    learner = LossModule(model)
    optimizer = torch.optim.AdamW(learner.parameters(), lr=1e-3)
    ids = torch.randint(0, VOCAB, (ROWS, CONTEXT))
    segments = torch.zeros_like(ids)
    positions = torch.arange(CONTEXT).expand(ROWS, CONTEXT).contiguous()
    inputs = ModelInputs(ids, ids.roll(-1, 1), torch.ones(ROWS, CONTEXT), segments, positions, segments)

    def step() -> None:
        (learner(inputs) / ids.numel()).backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def plain_loop(model: "object", loss: Callable[["object", "object"], "object"]) -> Callable[[], None]:
    import torch

    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    ids = torch.randint(0, VOCAB, (ROWS, CONTEXT))

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16):
            value = loss(model, ids)
        value.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def transformers(depth: int, compiled: bool) -> Callable[[], None]:
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    from groundup.model.layouts import qwen3

    model = Qwen3ForCausalLM(Qwen3Config(**qwen3.write_config(config_of(depth), "float32", None))).train()
    target = torch.compile(model) if compiled else model
    return plain_loop(target, lambda net, ids: net(input_ids=ids, labels=ids, use_cache=False).loss)


def litgpt(depth: int, compiled: bool) -> Callable[[], None]:
    import torch
    import torch.nn.functional as F
    from litgpt import GPT, Config

    config = config_of(depth)
    config = Config(
        name="same-shape", block_size=CONTEXT, vocab_size=VOCAB, padded_vocab_size=VOCAB, n_layer=config.depth,
        n_head=config.heads,
        n_query_groups=config.kv_heads, head_size=config.head_dim, n_embd=config.width, intermediate_size=config.ffn,
        rotary_percentage=1.0,
        parallel_residual=False, bias=False, norm_class_name="RMSNorm", mlp_class_name="LLaMAMLP", norm_eps=1e-6,
        norm_qk=True,
    )  # fmt: skip
    model = GPT(config).train()
    model.lm_head.weight = model.transformer.wte.weight  # tied, as the others are
    target = torch.compile(model) if compiled else model
    return plain_loop(
        target, lambda net, ids: F.cross_entropy(net(ids).float().flatten(0, 1), ids.roll(-1, 1).flatten())
    )


def measure(name: str, depth: int) -> dict[str, float]:
    """Tokens/s of one contestant in this process, and the bf16 matrix peak beside it."""
    if name.startswith("groundup"):
        from groundup.core import process

        process.configure_process()
    from groundup import device

    kind, _, suffix = name.partition("-")
    maker = {"groundup": groundup, "transformers": transformers, "litgpt": litgpt}[kind]
    step = maker(depth, suffix == "c" or name == "groundup")
    for _ in range(3):
        step()
    times = []
    for _ in range(STEPS):
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    here = device.pick()
    return {"speed": ROWS * CONTEXT / statistics.median(times), "peak": here.matrix_peak(here.precision("auto"))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--depth", type=int, nargs="+", default=[4, 8])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--compiled", action="store_true", help="the peers under torch.compile as well")
    parser.add_argument("--only", choices=CONTESTANTS + COMPILED, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.only:
        print(json.dumps(measure(arguments.only, arguments.depth[0])))
        return
    from common import machine, table

    from groundup.core import process
    from groundup.model import cost

    process.configure_process()
    print(machine())
    contestants = CONTESTANTS + (COMPILED if arguments.compiled else ())
    for depth in arguments.depth:
        print(
            f"\ndepth {depth}: {cost.total(config_of(depth)):,} parameters, {ROWS} rows of {CONTEXT} tokens, vocabulary"
            f" {VOCAB:,}\n"
        )
        results: dict[str, list[dict[str, float]]] = {name: [] for name in contestants}
        for _ in range(arguments.rounds):
            for name in contestants:
                command = [sys.executable, "-W", "ignore", __file__, "--only", name, "--depth", str(depth)]
                out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
                results[name].append(json.loads(out.splitlines()[-1]))
        speed = {name: statistics.median(run["speed"] for run in runs) for name, runs in results.items()}
        peak = statistics.median(run["peak"] for runs in results.values() for run in runs)
        better = max(speed["transformers"], speed["litgpt"])
        flops = cost.training_flops(config_of(depth))
        rows = [
            (name, f"{value:,.0f}", f"{value / better:.2f}x", f"{value * flops / peak:.0%}")
            for name, value in speed.items()
        ]
        print(
            table(("contestant", "tokens/s", "of the better plain peer", "of the bf16 matrix peak"), rows), flush=True
        )


if __name__ == "__main__":
    main()
