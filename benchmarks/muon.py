"""A step of Muon compared with torch's own, over the matrices of models of several sizes, in alternating rounds.

Both do five Newton-Schulz iterations; ours multiplies small matrices of one shape in a batch. torch's are in bf16 on
every device; ours are in fp32 where the device only emulates bf16 products, so ours is timed in bf16, too.

    python benchmarks/muon.py [--rounds 5]
"""

import argparse
import statistics
from collections.abc import Callable


def steps(depth: int, width: int, head_dim: int) -> tuple[dict[str, Callable[[], object]], int]:
    """A step of each over copies of the same matrices, by name, and how many weights these have."""
    import torch

    from groundup.config.model import ModelPart
    from groundup.model.config import ModelConfig
    from groundup.model.parameters import matrices_of
    from groundup.model.transformer import Transformer
    from groundup.train.optim.muon import Muon

    model = Transformer(ModelConfig.of(ModelPart(depth=depth, width=width, head_dim=head_dim), 1024)).initialise(0)
    ours, theirs = (
        {name: torch.nn.Parameter(each.detach().clone()) for name, each in matrices_of(model).items()} for _ in range(2)
    )
    for name in ours:
        ours[name].grad = theirs[name].grad = torch.randn(ours[name].shape)
    muon, peer = Muon(ours, 0.01, torch.bfloat16), torch.optim.Muon(theirs.values(), lr=0.02, weight_decay=0.01)
    return {"groundup": lambda: muon.step(0.02), "torch": peer.step}, sum(each.numel() for each in ours.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    from groundup.core import process

    process.configure_process()
    from common import machine, seconds, table

    print(machine(), "\n")
    rows = []
    for depth, width, head_dim in ((6, 192, 32), (4, 256, 64), (8, 512, 64), (12, 768, 64)):
        both, weights = steps(depth, width, head_dim)
        times: dict[str, list[float]] = {name: [] for name in both}
        for _ in range(rounds):
            for name, step in both.items():
                times[name].append(seconds(step, 3))
        mine, peer = (1000 * statistics.median(times[name]) for name in ("groundup", "torch"))
        rows.append((depth, width, f"{weights / 1e6:.1f} M", f"{mine:.1f}", f"{peer:.1f}", f"{peer / mine:.2f}x"))
    print(table(("depth", "width", "weights", "ms", "torch's, ms", "as fast"), rows))


if __name__ == "__main__":
    main()
