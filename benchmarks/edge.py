"""Object detection in one frame: our engine compared with onnxruntime, which runs the exported graph.

    python benchmarks/edge.py

A model of 6 layers of width 192 with random weights processes noise of 96 x 96 pixels, 144 patches, from pixels to the
per-patch outputs of the detection head. Medians of alternating rounds, on equally many threads. The ratio is
onnxruntime's time over ours.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from groundup.core import process

process.configure_process()

import numpy as np  # noqa: E402
import torch  # noqa: E402
from common import machine, table  # noqa: E402

from groundup.codecs.detections import Floats, from_predictions  # noqa: E402
from groundup.codecs.patches import PatchGrid  # noqa: E402
from groundup.codecs.text import VISION_TOKENS, Tokenizer  # noqa: E402
from groundup.device import pick  # noqa: E402
from groundup.generate.engine import Engine  # noqa: E402
from groundup.generate.image_inputs import from_pixels  # noqa: E402
from groundup.model import weights  # noqa: E402
from groundup.model.config import ModelConfig  # noqa: E402
from groundup.model.transformer import Transformer  # noqa: E402

KINDS, GRID = tuple("abcdefgh"), PatchGrid(12, 12)
TEXTS = ["the cat sat on the mat and the dog sat by the door, then there were three of them\n"] * 50


@torch.no_grad()
def random_model(config: ModelConfig) -> Transformer:
    """Weights that all matter: those of a fresh model label nothing."""
    model, generator = Transformer(config), torch.Generator().manual_seed(0)
    for weight in model.parameters():
        noise = torch.randn(weight.shape, generator=generator)
        weight.copy_(1 + 0.2 * noise if weight.dim() == 1 else noise * weight.shape[1] ** -0.5)
    return model


def contestants(folder: Path, frame: np.ndarray, threads: int) -> dict[str, Callable[[], Sequence[Floats]]]:
    import onnxruntime

    from groundup.release import onnx_graph as onnx

    tokenizer = Tokenizer.learn(TEXTS, 256 + len(VISION_TOKENS) + 20, VISION_TOKENS)
    config = ModelConfig(6, 192, 6, 3, 32, 512, tokenizer.size, 512, patch=8, patches=GRID.patches, classes=KINDS)
    weights.save(random_model(config), folder, tokenizer.im_end)
    tokenizer.save(folder)
    onnx.write(weights.load(folder, torch.device("cpu")), tokenizer, GRID, folder)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(folder / onnx.GRAPH, options, providers=["CPUExecutionProvider"])
    plain, usual = (Engine.load(folder, pick("cpu"), precision) for precision in ("fp32", "auto"))
    return {
        "groundup, fp32": lambda: plain.detector.per_patch(from_pixels(config, frame)),
        f"groundup, {str(usual.model.precision).removeprefix('torch.')}": lambda: usual.detector.per_patch(
            from_pixels(config, frame)
        ),
        f"onnxruntime {onnxruntime.__version__}, fp32": lambda: session.run(None, {"pixels": frame}),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=50)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    frame = np.random.default_rng(0).integers(0, 256, (96, 96, 3), dtype=np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        looks = contestants(Path(folder), frame, options.threads)
    ours, _, theirs = (look() for look in looks.values())
    off = max(float(np.abs(here - there).max()) for here, there in zip(ours, theirs, strict=True))
    here, there = (
        [thing.class_name for thing in from_predictions(*labels, GRID, list(KINDS))] for labels in (ours, theirs)
    )
    assert here == there, "the graph finds other things"
    times: dict[str, list[float]] = {name: [] for name in looks}
    for _ in range(options.repeats):
        for name, look in looks.items():
            start = time.perf_counter()
            look()
            times[name].append(1e3 * (time.perf_counter() - start))
    medians = {name: statistics.median(each) for name, each in times.items()}
    last = list(medians.values())[-1]
    print(machine())
    print(f"the same {len(here)} things in both; labels in fp32 differ by at most {off:.0e}")
    print(
        table(
            ("milliseconds a frame", "median", "onnxruntime over it"),
            [(name, f"{ms:.1f}", f"{last / ms:.2f}") for name, ms in medians.items()],
        )
    )


if __name__ == "__main__":
    main()
