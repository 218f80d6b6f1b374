"""MNIST: seconds to read 70,000 small pictures, and accuracy after minutes of training beside a LeNet.

    python benchmarks/digits.py read data/mnist              # as IDX, and as PNG files in folders of classes
    python benchmarks/digits.py lenet data/mnist --minutes 4 # the peer alone

The folder holds the four files of MNIST. `read` runs the documents stage (decoding, checks, hashes, duplicates, split
and Parquet) in a process of its own for each form, and prints wall and CPU time: on a machine with other work the
second is what it would take alone. The model's own figure is that of `groundup run recipes/digits.toml`.

The peer is LeNet-5 with ReLU and maximum pooling, AdamW with one cosine, batches of 128 and random shifts of up to two
pixels, all of MNIST's training images, fp32; its accuracy is that of the test set after the time is over. Its clock is
the CPU time of its threads, each for itself: other work on the machine does not count.
"""

import argparse
import json
import math
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # so that a checkout can be measured without installing it

from benchmarks.common import machine, table
from groundup.codecs.image import decode
from groundup.data import idx
from groundup.data.prepare import write_documents
from groundup.data.sources.images import ImagesSource

PARTS = {"train": "train", "test": "t10k"}


def images(folder: Path, part: str) -> tuple[np.ndarray, list[str]]:
    """Grey pixels [N, H, W] and classes of a part of MNIST."""
    path = next(folder.glob(f"{PARTS[part]}-images*"))
    return np.stack([decode(data)[:, :, 0] for data in idx.images(path)]), idx.labels(path)


def write_folders(folder: Path, out: Path) -> None:
    """The pictures as PNG files, in a folder a part and class."""
    for part in PARTS:
        for number, (pixels, kind) in enumerate(zip(*images(folder, part), strict=True)):
            place = out / part / kind
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(place / f"{number:05}.png")


def prepare(path: str) -> dict[str, float]:
    """The documents stage over a path, in this process: wall and CPU seconds, and how many documents."""
    source = ImagesSource(name="digits", kind="images", path=path)
    wall, cpu = time.perf_counter(), time.process_time()
    with tempfile.TemporaryDirectory() as out:
        result = write_documents(source, Path("/"), Path(out), lambda count: None)
    return {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu, "documents": result.documents}


def read(folder: Path) -> None:
    """Measure both forms, each in a process of its own."""
    rows = []
    with tempfile.TemporaryDirectory() as name:
        write_folders(folder, Path(name))
        for form, path in (("IDX", folder), ("PNG in folders", Path(name))):
            done = subprocess.run(
                [sys.executable, __file__, "prepare", str(path.resolve())], check=True, capture_output=True, text=True
            )
            found = json.loads(done.stdout)
            rows.append([form, f"{found['documents']:,}", f"{found['wall']:.1f}", f"{found['cpu']:.1f}"])
    print(table(["form", "pictures", "seconds", "CPU seconds"], rows))


def lenet(classes: int) -> nn.Module:
    """LeNet-5 for pictures of 28 x 28."""
    return nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, classes),
    )  # fmt: skip


def peer(folder: Path, seconds: float) -> None:
    """Train the peer for a time and print its accuracy."""
    torch.manual_seed(17)
    pixels, kinds = images(folder, "train")
    x, y = torch.tensor(pixels)[:, None].float() / 255, torch.tensor([int(kind) for kind in kinds])
    model = lenet(int(y.max()) + 1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    start, threads, seen = time.process_time(), torch.get_num_threads(), 0
    while (spent := (time.process_time() - start) / threads / seconds) < 1:
        for group in optimizer.param_groups:
            group["lr"] = 2e-3 * (1 + math.cos(math.pi * spent)) / 2
        chosen = torch.randint(len(x), (128,))
        dy, dx = (int(each) for each in torch.randint(-2, 3, (2,)))
        loss = nn.functional.cross_entropy(model(torch.roll(x[chosen], (dy, dx), (2, 3))), y[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        seen += len(chosen)
    pixels, kinds = images(folder, "test")
    with torch.no_grad():
        found = model(torch.tensor(pixels)[:, None].float() / 255).argmax(1)
    right = (found == torch.tensor([int(kind) for kind in kinds])).float().mean().item()
    print(
        table(
            ["model", "seconds", "pictures seen", "accuracy"],
            [["LeNet-5", f"{seconds:.0f}", f"{seen:,}", f"{right:.2%}"]],
        )
    )


def main() -> None:
    """Run what the arguments ask for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("read", "lenet", "prepare"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--minutes", type=float, default=4.0)
    arguments = parser.parse_args()
    if arguments.what == "prepare":
        print(json.dumps(prepare(str(arguments.folder))))
        return
    print(machine())
    if arguments.what == "read":
        read(arguments.folder)
    else:
        peer(arguments.folder, arguments.minutes * 60)


if __name__ == "__main__":
    main()
