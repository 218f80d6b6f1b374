"""Object detection on held-out images, compared with plain detectors trained on the same images, for the same time, on
the same threads.

    groundup        the figures of the run's own evaluation
    yolos           transformers' YolosForObjectDetection: random weights, our depth, width and patch, its own loss
    convolutions    a centre-based convolutional detector with random weights, in this file

`RUN` is the folder of a finished run with one source of boxes. The peers read the run's documents: the training
split for training and the held-out split for evaluation, with the resolution, augmentation and precision of its last
stage and the same OpenMP wait policy (`groundup.core.process`). They train for as long as the run's training stages
took by their manifests (of a resumed stage, only the time after the resume), or for `--minutes`, which also works for a
run that has only documents. Average precision is COCO's, computed by the same code for all. The peers are not compiled;
ours is, and its time includes compilation.

    python benchmarks/detection.py runs/waste-boxes [--minutes 30] [--rates 0.5 1 2] [--peers convolutions]

Run it on a quiet machine: the budget is wall time. `--rates` trains each peer at several multiples of its learning
rate, to check that a bad rate does not hold it back.
"""

import argparse
import math
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from groundup.core import process
from groundup.data.results import ShardsResult
from groundup.train.result import TrainingResult

process.configure_process()

import numpy as np  # noqa: E402
import torch  # noqa: E402
from common import machine, table  # noqa: E402
from torch import Tensor, nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

from groundup import device  # noqa: E402
from groundup.codecs.detections import Detection, box_iou  # noqa: E402
from groundup.codecs.patches import PatchGrid, Pixels  # noqa: E402
from groundup.config.recipe import Recipe  # noqa: E402
from groundup.core import ledger  # noqa: E402
from groundup.core.errors import InputError  # noqa: E402
from groundup.data.augment import augment  # noqa: E402
from groundup.data.document import read  # noqa: E402
from groundup.data.image_shards import DETECTION, ImageResolution, TrainingImage  # noqa: E402
from groundup.data.sources.boxes import BoxesSource  # noqa: E402
from groundup.evaluate.average_precision import AveragePrecision, ScoredImage, average_precision, coco  # noqa: E402
from groundup.pipeline.finished import recall  # noqa: E402

ROWS = 16  # images a step
WARMUP, DECAY, CLIP = (
    0.05,
    0.05,
    1.0,
)  # share of the time in which the rate rises; weight decay; largest norm of the gradient
MOST = 100  # boxes an image: COCO judges no more
COVERED = 0.6  # intersection over union from which a second box of a kind is the first one again
SPOKEN = 30  # seconds between lines of progress
Proposal = tuple[int, list[float], float]  # kind, box in shares, score


# --- images -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Images:
    """The images of one part of the split at the resolution of the run's model, and DETECTION records of their objects;
    `names` are the classes.
    """

    pixels: list[Pixels]
    things: list[np.ndarray]
    names: list[str]
    grid: PatchGrid
    side: int

    def batch(self, number: int, seed: int, strength: float, mirror: bool) -> tuple[Tensor, list[np.ndarray]]:
        """Batch of a step: augmented images [B, 3, H, W], bytes, and their things. Each image once before any comes
        again.
        """
        pixels, things = [], []
        for place in range(number * ROWS, (number + 1) * ROWS):
            turn, place_in_turn = divmod(place, len(self.pixels))
            chosen = np.random.default_rng([seed, turn]).permutation(len(self.pixels))[place_in_turn]
            random = np.random.default_rng([seed, place, 0])
            known = tuple(detection(each, self.names) for each in self.things[chosen])
            image = augment(TrainingImage(0, self.grid, self.pixels[chosen], known), strength, random, mirror)
            pixels.append(image.pixels)
            things.append(records(image.detections or (), self.names))
        return stacked(pixels), things


def records(detections: Iterable[Detection], names: list[str]) -> np.ndarray:
    """Detections as DETECTION records."""
    return np.array([(names.index(each.class_name), each.box) for each in detections], DETECTION)


def detection(record: np.ndarray, names: list[str]) -> Detection:
    """A DETECTION record as a detection."""
    return Detection(names[record["class"]], tuple(record["box"].tolist()))


def stacked(pixels: Sequence[Pixels]) -> Tensor:
    """Images [H, W, 3] as one tensor [B, 3, H, W], channels last in memory."""
    return torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2)


def load(file: Path, recipe: Recipe, heldout: bool, names: list[str]) -> Images:
    """One part of the documents; kinds beyond `names` are added to it."""
    eyes = ImageResolution(recipe.patch, recipe.model.patches)
    pixels, things, grids = [], [], set()
    for document in read(file, heldout=heldout):
        for data, inside in zip(document.images, document.detections or (), strict=False):
            grid, seen = eyes.decode(data)
            names += sorted({thing.class_name for thing in inside} - set(names))
            grids.add(grid)
            pixels.append(seen)
            things.append(records(inside, names))
    if len(grids) != 1:
        raise InputError(f"{file}: images of {len(grids)} shapes; the peers take one")
    return Images(pixels, things, names, grids.pop(), recipe.patch)


# --- peers ------------------------------------------------------------------------------------------------------------


class Yolos(nn.Module):
    """A transformer whose detection tokens are matched one to one with things (arXiv:2106.00666)."""

    rate = 5e-4

    def __init__(self, recipe: Recipe, size: tuple[int, int], kinds: int):
        super().__init__()
        from transformers import YolosConfig, YolosForObjectDetection

        part = recipe.model
        config = YolosConfig(
            hidden_size=part.width, num_hidden_layers=part.depth, num_attention_heads=part.width // part.head_dim,
            intermediate_size=4 * part.width,
            image_size=size, patch_size=recipe.patch, num_detection_tokens=MOST, use_mid_position_embeddings=False,
            num_labels=kinds,
        )  # fmt: skip
        self.inner = YolosForObjectDetection(config)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of the kinds and of nothing [B, Q, K + 1], and boxes [B, Q, 4] before the sigmoid."""
        states = self.inner.vit(images).last_hidden_state[:, -MOST:]
        return self.inner.class_labels_classifier(states), self.inner.bbox_predictor(states)

    def target(self, things: np.ndarray) -> dict[str, Tensor]:
        """One image's things as the library's loss wants them: centre and extent in shares."""
        low, high = things["box"][:, :2], things["box"][:, 2:]
        boxes = np.concatenate([(low + high) / 2, high - low], 1)
        return {"class_labels": torch.from_numpy(things["kind"].astype(np.int64)), "boxes": torch.from_numpy(boxes)}

    def loss(self, scores: Tensor, boxes: Tensor, targets: list[dict[str, Tensor]]) -> Tensor:
        """The library's: matching, cross-entropy, L1 and generalised overlap."""
        targets = [{name: value.to(scores.device) for name, value in target.items()} for target in targets]
        return self.inner.loss_function(scores, targets, scores.device, boxes.sigmoid(), self.inner.config)[0]

    def found(self, scores: Tensor, boxes: Tensor) -> Iterator[list[Proposal]]:
        """For each image kind, box in shares and score of every detection token."""
        best = scores.softmax(-1)[..., :-1].max(-1)
        centre, extent = boxes.sigmoid().chunk(2, -1)
        corners = torch.cat([centre - extent / 2, centre + extent / 2], -1).clamp(0, 1)
        for each in zip(best.indices.tolist(), corners.tolist(), best.values.tolist(), strict=True):
            yield list(zip(*each, strict=True))


class Block(nn.Module):
    """Two convolutions with a way around them (arXiv:1512.03385)."""

    def __init__(self, before: int, after: int, stride: int):
        super().__init__()
        self.work = nn.Sequential(*norm_conv(before, after, stride), nn.ReLU(), *norm_conv(after, after))
        around = nn.Sequential(
            nn.AvgPool2d(stride, stride, ceil_mode=True), nn.Conv2d(before, after, 1, bias=False), nn.BatchNorm2d(after)
        )
        self.around = nn.Identity() if before == after and stride == 1 else around

    def forward(self, x: Tensor) -> Tensor:
        """[B, before, H, W] to [B, after, H / stride, W / stride]."""
        return F.relu(self.work(x) + self.around(x))


def norm_conv(before: int, after: int, stride: int = 1) -> tuple[nn.Module, nn.Module]:
    return nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.BatchNorm2d(after)


class Convolutions(nn.Module):
    """Heat maps of things' centres and the distances to their sides, at an eighth of the resolution, from a residual
    network whose coarser maps are added to the finer ones (CenterNet, arXiv:1904.07850; boxes learnt around the centre
    as in TTFNet, arXiv:1909.00700).
    """

    rate = 2e-3
    stride = 8
    widths = (96, 160, 192)  # at strides 8, 16, 32

    def __init__(self, recipe: Recipe, size: tuple[int, int], kinds: int):
        super().__init__()
        self.kinds, self.rows, self.columns = kinds, size[0] // self.stride, size[1] // self.stride
        first = self.widths[0]
        self.stem = nn.Sequential(*norm_conv(3, 32, 2), nn.ReLU(), *norm_conv(32, 48, 2), nn.ReLU())
        self.stages = nn.ModuleList(
            nn.Sequential(Block(before, after, 2), Block(after, after, 1))
            for before, after in zip((48, *self.widths), self.widths, strict=False)
        )
        self.sides = nn.ModuleList(nn.Conv2d(width, first, 1) for width in self.widths)
        self.neck = nn.Sequential(*norm_conv(first, first), nn.ReLU())
        self.heads = nn.ModuleList(
            nn.Sequential(*norm_conv(first, first), nn.ReLU(), nn.Conv2d(first, out, 1)) for out in (kinds, 4)
        )
        nn.init.constant_(
            self.heads[0][-1].bias, math.log(0.1 / 0.9)
        )  # few centres at first: else the loss of empty places drowns them
        y, x = torch.meshgrid(torch.arange(self.rows) + 0.5, torch.arange(self.columns) + 0.5, indexing="ij")
        self.register_buffer("middles", torch.stack([x, y, x, y]))
        self.register_buffer("signs", torch.tensor([-1.0, -1.0, 1.0, 1.0]).view(4, 1, 1))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of centres [B, K, H, W] and logarithms of the distances to left, top, right and bottom in cells [B, 4,
        H, W].
        """
        x, levels = self.stem(images), []
        for stage in self.stages:
            levels.append(x := stage(x))
        total = self.sides[-1](x)
        for side, level in zip(reversed(self.sides[:-1]), reversed(levels[:-1]), strict=True):
            total = side(level) + F.interpolate(total, level.shape[-2:])
        total = self.neck(total)
        return self.heads[0](total), self.heads[1](total)

    def corners(self, distances: Tensor) -> Tensor:
        """Boxes in cells, [B, 4, H, W]."""
        return self.middles + self.signs * distances.clamp(-4, 4).exp()

    def target(self, things: np.ndarray) -> tuple[Tensor, Tensor, Tensor]:
        """One image's heat [K, H, W], 1 at centres and a bell around each; where it is warm, the smallest thing's box
        in cells [4, H, W] and its weight [H, W].
        """
        size = np.array([self.columns, self.rows])
        things = things[
            np.argsort(-(things["box"][:, 2:] - things["box"][:, :2]).prod(1), kind="stable")
        ]  # the smallest last: it stays on top
        boxes = things["box"] * np.tile(size, 2)
        extents = boxes[:, 2:] - boxes[:, :2]
        centres = np.minimum(((boxes[:, :2] + boxes[:, 2:]) / 2).astype(int), size - 1)
        radii = (extents * 0.27).astype(int)  # 0.54 of the half, as in TTFNet
        bells = []
        for axis in (0, 1):
            off = np.abs(np.arange(size[axis]) - centres[:, axis, None])
            bells.append(
                np.exp(-18 * (off / (2 * radii[:, axis, None] + 1)) ** 2) * (off <= radii[:, axis, None])
            )  # three deviations lie inside
        bell = bells[1][:, :, None] * bells[0][:, None, :]  # [things, H, W]
        heat, box, weight = (np.zeros((depth, *size[::-1]), np.float32) for depth in (self.kinds, 4, 1))
        np.maximum.at(heat, things["kind"], bell.astype(np.float32))
        for each, corners, extent in zip(bell, boxes, extents, strict=True):
            warm = each > 0
            box[:, warm] = corners[:, None]
            weight[0, warm] = each[warm] / each.sum() * math.log(2 + extent.prod())
        return torch.from_numpy(heat), torch.from_numpy(box), torch.from_numpy(weight[0])

    def loss(self, scores: Tensor, distances: Tensor, targets: list[tuple[Tensor, Tensor, Tensor]]) -> Tensor:
        """Focal loss of the heat (arXiv:1808.01244) and generalised overlap (arXiv:1902.09630) of the boxes."""
        heat, boxes, weights = (torch.stack(each).to(scores.device) for each in zip(*targets, strict=True))
        chance, centre = scores.sigmoid(), heat == 1
        right = (1 - chance) ** 2 * F.logsigmoid(scores)
        wrong = (1 - heat) ** 4 * chance**2 * F.logsigmoid(-scores)
        focal = -torch.where(centre, right, wrong).sum() / centre.sum().clamp(1)
        return focal + 5 * (
            weights * (1 - generalised_overlap(self.corners(distances), boxes))
        ).sum() / weights.sum().clamp(1)

    def found(self, scores: Tensor, distances: Tensor) -> Iterator[list[Proposal]]:
        """For each image kind, box in shares and score of the warmest peaks, without those that a warmer one of their
        kind mostly covers.
        """
        chance = scores.sigmoid()
        peaks = (chance * (chance == F.max_pool2d(chance, 3, 1, 1))).flatten(1).topk(MOST)
        corners = (
            (self.corners(distances) / torch.tensor([self.columns, self.rows] * 2, device=scores.device).view(4, 1, 1))
            .clamp(0, 1)
            .flatten(2)
        )
        for score, place, box in zip(peaks.values, peaks.indices, corners, strict=True):
            cells = self.rows * self.columns
            kinds = place.div(cells, rounding_mode="floor").tolist()
            yield apart(list(zip(kinds, box[:, place % cells].T.tolist(), score.tolist(), strict=True)))


def apart(proposed: list[Proposal]) -> list[Proposal]:
    """Of boxes of one kind that cover each other by more than COVERED, the surest; they come surest first."""
    kept: list[Proposal] = []
    for kind, box, score in proposed:
        same = np.array([other for name, other, _ in kept if name == kind], np.float32).reshape(-1, 4)
        if not (box_iou(np.array(box, np.float32), same) > COVERED).any():
            kept.append((kind, box, score))
    return kept


def generalised_overlap(one: Tensor, other: Tensor) -> Tensor:
    """Of boxes [B, 4, H, W]: intersection over union, less the share of the hull that neither fills."""
    shared = (torch.minimum(one[:, 2:], other[:, 2:]) - torch.maximum(one[:, :2], other[:, :2])).clamp(0).prod(1)
    hull = (torch.maximum(one[:, 2:], other[:, 2:]) - torch.minimum(one[:, :2], other[:, :2])).prod(1).clamp(1e-6)
    union = ((one[:, 2:] - one[:, :2]).prod(1) + (other[:, 2:] - other[:, :2]).prod(1) - shared).clamp(1e-6)
    return shared / union - (hull - union) / hull


# --- training and judging ---------------------------------------------------------------------------------------------


class Bench(NamedTuple):
    """What all peers share."""

    recipe: Recipe
    train: Images
    heldout: Images
    seconds: float
    here: device.Device

    def outputs(self, peer: Any, images: Tensor) -> tuple[Tensor, Tensor]:
        """A forward in the run's precision; what comes out in fp32."""
        precision = self.here.precision(self.recipe.model.precision)
        images = images.to(self.here.handle).float() / 127.5 - 1
        with torch.autocast(self.here.kind, precision, enabled=precision != torch.float32):
            scores, boxes = peer(images)
        return scores.float(), boxes.float()


def train(peer: Any, bench: Bench) -> int:
    """Train until the time is over, augmenting ahead; returns the images seen."""
    decayed = [weight for weight in peer.parameters() if weight.dim() > 1]
    plain = [weight for weight in peer.parameters() if weight.dim() <= 1]
    optimizer = torch.optim.AdamW([{"params": decayed, "weight_decay": DECAY}, {"params": plain, "weight_decay": 0.0}])
    stage, start, spoken, step = bench.recipe.stage[-1], time.perf_counter(), 0.0, 0

    def make(number: int) -> tuple[Tensor, list[Any]]:
        images, things = bench.train.batch(number, bench.recipe.seed, stage.augment, stage.mirror)
        return images, [peer.target(each) for each in things]

    with ThreadPoolExecutor(1) as maker:
        made = maker.submit(make, 0)
        while (spent := time.perf_counter() - start) < bench.seconds:
            images, targets = made.result()
            made = maker.submit(make, step + 1)
            for group in optimizer.param_groups:
                group["lr"] = peer.rate * rising_and_falling(spent / bench.seconds)
            loss = peer.loss(*bench.outputs(peer, images), targets)
            loss.backward()
            nn.utils.clip_grad_norm_(peer.parameters(), CLIP)
            optimizer.step()
            optimizer.zero_grad()
            step += 1
            if spent - spoken >= SPOKEN:
                spoken = spent
                print(
                    f"  {spent:6.0f} of {bench.seconds:.0f} s  step {step:6,}  {step * ROWS / spent:6.1f} images/s "
                    f" loss {loss.item():.3f}",
                    flush=True,
                )
    return step * ROWS


def rising_and_falling(done: float) -> float:
    """Of the learning rate: a line up, then half a cosine down to nothing."""
    return min(done / WARMUP + 0.01, 1.0) * (1 + math.cos(math.pi * done)) / 2


@torch.inference_mode()
def judge(peer: Any, bench: Bench) -> AveragePrecision:
    """COCO's figures on the held-out images, by the code that judges ours."""
    pictures, images = [], bench.heldout
    size = (images.grid.columns * images.side, images.grid.rows * images.side)
    for start in range(0, len(images.pixels), ROWS):
        found = peer.found(*bench.outputs(peer, stacked(images.pixels[start : start + ROWS])))
        for number, proposed in enumerate(found, start):
            truth = [
                Detection(images.names[thing["class"]], tuple(thing["box"].tolist())) for thing in images.things[number]
            ]
            things = [
                Detection(images.names[kind], (box[0], box[1], box[2], box[3]), score) for kind, box, score in proposed
            ]
            pictures.append(ScoredImage(size, truth, things))
    precision = average_precision(pictures)
    assert precision is not None, "the held-out images have things"
    return precision


# --- the table --------------------------------------------------------------------------------------------------------


def ours(run: Path, recipe: Recipe, source: str) -> tuple[float, list[object]] | None:
    """Seconds of the training stages and the row of a finished run; None where it is not finished."""
    stages = [ledger.read(run / stage.title) for stage in recipe.stage]
    shards, evaluated = ledger.read(run / f"shards-{source}"), ledger.read(run / "evaluate")
    trained = [stage for stage in stages if stage is not None]
    if len(trained) < len(stages) or shards is None or evaluated is None:
        return None
    part, found = shards.result(ShardsResult).train, evaluated.metrics["boxes"][source]
    images = sum(stage.result(TrainingResult).tokens for stage in trained) / part.context * part.images / part.rows
    seconds = sum(stage.seconds for stage in trained)
    return seconds, row(
        "groundup",
        sum(trained[-1].result(TrainingResult).parameters.values()),
        seconds,
        images,
        found["ap"]["value"],
        found["ap50"]["value"],
    )


def row(name: str, parameters: int, seconds: float, images: float, ap: float, ap50: float) -> list[object]:
    return [name, f"{parameters / 1e6:.2f} M", f"{seconds:,.0f}", f"{images:,.0f}", f"{ap:.1%}", f"{ap50:.1%}"]


PEERS: dict[str, type[Yolos] | type[Convolutions]] = {"yolos": Yolos, "convolutions": Convolutions}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, metavar="RUN")
    parser.add_argument(
        "--minutes", type=float, help="how long each peer trains; left out: as long as the run's training stages took"
    )
    parser.add_argument(
        "--rates",
        type=float,
        nargs="+",
        default=[1.0],
        metavar="FACTOR",
        help="multiples of the peers' learning rates to try",
    )
    parser.add_argument("--peers", nargs="+", choices=list(PEERS), default=list(PEERS))
    arguments = parser.parse_args()
    coco()  # better now than after an hour of training
    recipe, _ = recall(arguments.run)
    sources = [source.name for source in recipe.source if isinstance(source, BoxesSource)]
    if len(sources) != 1:
        raise InputError(f"{arguments.run}: {len(sources)} sources of boxes; the peers take a run that has one")
    file = arguments.run / f"documents-{sources[0]}" / "documents.parquet"
    first = ours(arguments.run, recipe, sources[0])
    if first is None and arguments.minutes is None:
        raise InputError(
            f"{arguments.run}: not finished, so how long its training takes is unknown; say it with --minutes"
        )
    seconds = first[0] if arguments.minutes is None and first else arguments.minutes * 60
    names: list[str] = []
    parts = [load(file, recipe, heldout, names) for heldout in (False, True)]
    bench = Bench(recipe, *parts, seconds, device.pick())
    print(machine())
    print(
        f"{len(parts[0].pixels):,} images to train on, {len(parts[1].pixels):,} held out, {len(names)} kinds;"
        f" {seconds:,.0f} s for each peer\n"
    )
    rows = [first[1]] if first else []
    rows += [compete(PEERS[name], factor, bench) for name in arguments.peers for factor in arguments.rates]
    print("\n" + table(("contestant", "parameters", "seconds", "images seen", "AP", "AP50"), rows))


def compete(kind: type[Yolos] | type[Convolutions], factor: float, bench: Bench) -> list[object]:
    """Train one peer at a multiple of its learning rate, judge it, and give its row."""
    torch.manual_seed(bench.recipe.seed)
    side, grid = bench.train.side, bench.train.grid
    peer = kind(bench.recipe, (grid.rows * side, grid.columns * side), len(bench.train.names)).to(bench.here.handle)
    peer = peer.to(memory_format=torch.channels_last).train()
    peer.rate *= factor
    name = f"{kind.__name__.lower()}, rate {peer.rate:g}"
    parameters = sum(weight.numel() for weight in peer.parameters())
    print(f"{name}: {parameters:,} parameters", flush=True)
    images = train(peer, bench)
    found = judge(peer.eval(), bench)
    kinds = ", ".join(f"{kind} {value:.1%}" for kind, value in found.classes.items())
    print(f"  AP {found.ap:.1%}, AP50 {found.ap50:.1%} ({kinds})\n", flush=True)
    return row(name, parameters, bench.seconds, images, found.ap, found.ap50)


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        sys.exit(f"error: {error}")
