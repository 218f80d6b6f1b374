"""Rotated boxes compared with upright ones: AP at a rotated IoU of 0.5 and 0.5:0.95 on drawn parts at any angle.

    rotated         trained on the corners, answers with rotated boxes
    its upright     the same detections, read as the upright boxes around them
    upright         trained for as many steps on upright boxes around the objects (`rotated = false`)

The images are made here, as a YOLO-OBB folder: planks, bricks and tiles (sides of 5:1, 2:1, 1:1) of random size, place,
angle and shade on noise, one to five in 96 x 96 pixels. Both models have the same images, shape and steps, and are run
through the command line.

    python benchmarks/rotated.py [--images 1500] [--tokens 700000]
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from groundup.codecs import rotated_boxes
from groundup.codecs.detections import Detection
from groundup.core.errors import InputError
from groundup.data.document import Document, read
from groundup.device import pick
from groundup.evaluate.average_precision import ScoredImage, average_precision
from groundup.evaluate.prompts import prompt_of
from groundup.generate.engine import Engine

SIDE, FINER = 96, 4
NAMES, RATIOS = ("plank", "brick", "tile"), (5.0, 2.0, 1.0)
RECIPE = """
name = "{name}"
[[source]]
name = "parts"
kind = "boxes"
path = "{folder}"
licence = "CC0-1.0"
heldout_share = 0.15
near_duplicates = 0
question = ""
rotated = {rotated}
[tokenizer]
vocab_size = 1268
[model]
depth = 4
width = 128
head_dim = 32
patch = 8
patches = 144
context = 160
[[stage]]
do = "instruct"
tokens = {tokens}
batch_tokens = 5120
muon_lr = 0.02
mix = {{ parts = 1.0 }}
sample_steps = 0
"""


def drawn(random: np.random.Generator) -> tuple[Image.Image, list[str]]:
    """A picture and its labels in YOLO's oriented form."""
    base = random.uniform(30, 220)
    picture = Image.new(
        "RGB", (SIDE * FINER, SIDE * FINER), tuple(int(base + random.uniform(-20, 20)) for _ in range(3))
    )
    placed, labels = [], []
    for _ in range(random.integers(1, 6)):
        kind = int(random.integers(len(NAMES)))
        short = random.uniform(14, 20) / RATIOS[kind] ** 0.5
        corners = corners_of(random.uniform(20, SIDE - 20, 2), short * RATIOS[kind], short, random.uniform(0, np.pi))
        others = np.array(placed).reshape(-1, 4, 2)
        if rotated_boxes.iou(corners, others).max(initial=0) > 0 or corners.min() < 0 or corners.max() > SIDE:
            continue
        shade = tuple(int((base + random.uniform(60, 190) + step) % 256) for step in random.uniform(-25, 25, 3))
        ImageDraw.Draw(picture).polygon([tuple(point) for point in corners * FINER], fill=shade)
        placed.append(corners)
        labels.append(" ".join([str(kind), *(f"{value / SIDE:.6f}" for value in corners.flatten())]))
    noisy = np.asarray(picture.reduce(FINER)) + random.normal(0, 8, (SIDE, SIDE, 3))
    return Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8)), labels


def corners_of(centre: np.ndarray, width: float, height: float, angle: float) -> np.ndarray:
    """The corners of a rectangle turned clockwise, [4, 2]."""
    across = np.array([np.cos(angle), np.sin(angle)]) * width / 2
    down = np.array([-np.sin(angle), np.cos(angle)]) * height / 2
    return np.array([centre - across - down, centre + across - down, centre + across + down, centre - across + down])


def make(folder: Path, count: int) -> None:
    """A YOLO folder of so many pictures."""
    for name in ("images", "labels"):
        (folder / name).mkdir(parents=True)
    for number in range(count):
        picture, labels = drawn(np.random.default_rng(number))
        picture.save(folder / "images" / f"{number:05}.png")
        (folder / "labels" / f"{number:05}.txt").write_text("\n".join(labels))
    (folder / "data.yaml").write_text(f"names: [{', '.join(NAMES)}]\n")


def trained(home: Path, name: str, rotated: bool, tokens: int) -> tuple[Path, float]:
    """The run's folder and its seconds."""
    recipe = home / f"{name}.toml"
    recipe.write_text(RECIPE.format(name=name, folder=home / "parts", rotated=str(rotated).lower(), tokens=tokens))
    start = time.monotonic()
    command = [sys.executable, "-m", "groundup.cli", "run", str(recipe), "--runs", str(home / "runs")]
    subprocess.run(command, check=True, env=os.environ, stdout=sys.stderr)
    return home / "runs" / name, time.monotonic() - start


def detected(run: Path, documents: list[Document]) -> list[ScoredImage]:
    """The detections of a run's model beside the ground truth."""
    engine = Engine.load(run / "instruct", pick("cpu"), "fp32")
    found = engine.detector.detect([prompt_of(engine, document) for document in documents])
    size = (SIDE, SIDE)
    return [ScoredImage(size, each.detections[0], boxes) for each, [boxes] in zip(documents, found, strict=True)]  # type: ignore[index]


def upright(detection: Detection) -> Detection:
    """A detection without its corners."""
    return replace(detection, corners=None)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1500)
    parser.add_argument("--tokens", type=int, default=700_000)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        home = Path(temporary)
        make(home / "parts", chosen.images)
        runs = {name: trained(home, name, name == "rotated", chosen.tokens) for name in ("rotated", "upright")}
        documents = list(read(runs["rotated"][0] / "documents-parts" / "documents.parquet", heldout=True))
        found = {name: detected(run, documents) for name, (run, _) in runs.items()}
    found["its upright"] = [
        replace(image, detections=[upright(each) for each in image.detections]) for image in found["rotated"]
    ]
    print(f"{len(documents)} held-out images")
    for name in ("rotated", "its upright", "upright"):
        figures = average_precision(found[name])
        if figures is None:
            raise InputError("no objects were held out; draw more images")
        by_class = ", ".join(f"{kind} {value:.1%}" for kind, value in figures.classes.items())
        seconds = f"{runs[name][1]:.0f} s" if name in runs else ""
        print(f"{name:12} AP50 {figures.ap50:6.1%}  AP {figures.ap:6.1%}  ({by_class})  {seconds}")


if __name__ == "__main__":
    main()
