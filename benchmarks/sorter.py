"""The sorting line with a model and baselines on the same items: picks a minute, purity and recovery.

    oracle          a ground-truth oracle: the limit of the arm
    forest          background subtraction, colour and shape of each segment, and a random forest (scikit-learn)
    convolutions    the centre-based convolutional detector of benchmarks/detection.py, trained in the same time as the
                    model
    model           `--model RUN`: a model grown here, for example by the recipe of the sorter

All sort the same items (`--items` a setting, `--seed`) in each of `--settings` (standard and the domain shifts). A
baseline that is trained here sees `--frames` images of the training distributions of the sorter's recipe
(`--frames-seed`), the detector for `--minutes`. Then come the calibration of each on held-out frames, the curve of rate
against purity for the arrivals a minute in `--rates`, and with `--shift MINUTES` a long shift with random faults.

    python benchmarks/sorter.py --baselines oracle --rates 70 90 110
    python benchmarks/sorter.py --baselines oracle forest convolutions --frames 4000 --minutes 10 --model runs/sorter
    python benchmarks/sorter.py --baselines oracle --settings --shift 30
"""

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

from groundup.core import process

process.configure_process()

import numpy as np  # noqa: E402
import torch  # noqa: E402
from common import machine, table  # noqa: E402
from detection import Bench, Convolutions, Images, stacked, train  # noqa: E402
from scipy import ndimage  # noqa: E402

from groundup import device  # noqa: E402
from groundup.apps.sorter.config import SimulatorConfig  # noqa: E402
from groundup.apps.sorter.faults import FaultInjection, StalledModel  # noqa: E402
from groundup.apps.sorter.figures import reliability  # noqa: E402
from groundup.apps.sorter.model_client import LocalModel, ModelClient  # noqa: E402
from groundup.apps.sorter.policy import DEFAULT, standard_policy  # noqa: E402
from groundup.apps.sorter.robot import PICTURES, STANDARD, Oracle, SimulatedLine, setting  # noqa: E402
from groundup.apps.sorter.shift import WorkShift  # noqa: E402
from groundup.apps.sorter.simulator.camera import RAIL, VIEW, VisibleItem  # noqa: E402
from groundup.apps.sorter.simulator.environment import SHIFTS  # noqa: E402
from groundup.apps.sorter.simulator.frames import frames  # noqa: E402
from groundup.apps.sorter.simulator.items import KINDS, UNKNOWN  # noqa: E402
from groundup.apps.sorter.simulator_source import SimulatorSource  # noqa: E402
from groundup.codecs.detections import Detection, box_iou  # noqa: E402
from groundup.codecs.patches import PatchGrid, Pixels  # noqa: E402
from groundup.config.load import load  # noqa: E402
from groundup.config.recipe import Recipe  # noqa: E402
from groundup.core.errors import InputError  # noqa: E402
from groundup.data.image_shards import DETECTION  # noqa: E402
from groundup.pipeline import run as pipeline  # noqa: E402

PATCH = 8  # pixels: of the grid that augmentation keeps
FAR, SMALL = 26.0, 12  # grey levels off the belt's colour, and least number of pixels, of a segment
NAMES = (*KINDS, UNKNOWN)
SORTER = Path(__file__).parent.parent / "recipes" / "sorter.toml"
HELDOUT = 1_000_003  # added to the seed for held-out frames
Frames = list[tuple[Pixels, list[VisibleItem]]]
Box = tuple[float, float, float, float]


def training(seed: int, count: int) -> Frames:
    """Training images of the distributions of the sorter's recipe, in its proportions."""
    sources = [each for each in load(SORTER).source if isinstance(each, SimulatorSource)]
    total = sum(each.count for each in sources)
    return [
        pair
        for number, each in enumerate(sources)
        for pair in frames(seed + number, count * each.count // total, each.world)
    ]


# --- colour, shape and a forest ---------------------------------------------------------------------------------------


def segments(picture: Pixels) -> list[tuple[Box, np.ndarray]]:
    """The foreground segments: the box of each in fractions, and its features: 8 of shape, 12 of colour, 12 of
    hue.
    """
    side = len(picture)
    rail = round(side * (0.5 - RAIL / VIEW)) + 1
    belt = np.median(picture[rail:-rail].reshape(-1, 3), 0)
    smooth = ndimage.gaussian_filter(picture.astype(np.float32), (0.7, 0.7, 0))
    apart = np.abs(smooth - belt).max(2) > FAR
    apart[:rail] = apart[-rail:] = False
    labels, _ = ndimage.label(ndimage.binary_opening(apart))
    found = []
    for number, (rows, columns) in enumerate(ndimage.find_objects(labels), 1):
        mask = labels[rows, columns] == number
        if mask.sum() >= SMALL:
            box = (columns.start / side, rows.start / side, columns.stop / side, rows.stop / side)
            found.append((box, features(picture[rows, columns][mask] / np.float32(255), mask)))
    return found


def features(colours: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Of a region's colours [N, 3] and its mask."""
    y, x = np.nonzero(mask)
    spread = np.linalg.eigvalsh(np.cov(np.stack([y, x]))) if len(y) > 2 else np.zeros(2)
    edge = mask & ~ndimage.binary_erosion(mask)
    shape = [
        mask.sum(),
        *mask.shape,
        mask.mean(),
        *np.sqrt(np.abs(spread)),
        spread[0] / max(spread[1], 1e-6),
        edge.sum() / np.sqrt(mask.sum()),
    ]
    most, least = colours.max(1), colours.min(1)
    chroma = most - least
    hue = np.arctan2(np.sqrt(3) * (colours[:, 1] - colours[:, 2]), 2 * colours[:, 0] - colours[:, 1] - colours[:, 2])
    hues = np.histogram(hue, 12, (-np.pi, np.pi), weights=chroma)[0] / len(hue)
    colour = [*colours.mean(0), *colours.std(0), *np.percentile(most, (5, 50, 95)), *np.percentile(chroma, (5, 50, 95))]
    return np.array([*shape, *colour, *hues], np.float32)


class Forest:
    """A `ModelClient`: segments, and a random forest (Breiman 2001) that classifies them, with a class "nothing"."""

    def __init__(self, pictures: Frames):
        try:
            from sklearn.ensemble import RandomForestClassifier
        except ImportError:
            raise InputError("the baseline forest needs scikit-learn: pip install 'groundup[judges]'") from None
        rows, names = [], []
        for picture, truth in pictures:
            boxes = np.array([each.box for each in truth], np.float32).reshape(-1, 4) / np.float32(len(picture))
            for box, row in segments(picture):
                near = box_iou(np.array(box, np.float32), boxes) if len(boxes) else np.zeros(1)
                rows.append(row)
                names.append(truth[int(near.argmax())].kind if near.max() >= 0.5 else "nothing")
        self._forest = RandomForestClassifier(200, min_samples_leaf=2, random_state=0).fit(np.stack(rows), names)

    def detect(self, picture: Pixels) -> list[Detection]:
        """A detection for each class of each segment, sorted by score."""
        found = segments(picture)
        if not found:
            return []
        chances = self._forest.predict_proba(np.stack([row for _, row in found]))
        names = self._forest.classes_
        things = [
            Detection(str(names[k]), box, float(row[k]))
            for (box, _), row in zip(found, chances, strict=True)
            for k in np.flatnonzero(row >= 0.05)
        ]
        return sorted((thing for thing in things if thing.class_name != "nothing"), key=lambda each: -each.score)


# --- convolutions -----------------------------------------------------------------------------------------------------


class Detector:
    """A `ModelClient`: the convolutional peer of benchmarks/detection.py."""

    def __init__(self, pictures: Frames, minutes: float):
        side = len(pictures[0][0])
        things = [
            np.array([(NAMES.index(each.kind), np.array(each.box) / side) for each in truth], DETECTION)
            for _, truth in pictures
        ]
        images = Images(
            [picture for picture, _ in pictures], things, list(NAMES), PatchGrid(side // PATCH, side // PATCH), PATCH
        )
        recipe = Recipe.of(RECIPE)
        self._bench = Bench(recipe, images, images, minutes * 60, device.pick())
        torch.manual_seed(0)
        self._peer = (
            Convolutions(recipe, (side, side), len(NAMES))
            .to(self._bench.here.handle)
            .to(memory_format=torch.channels_last)
            .train()
        )
        train(self._peer, self._bench)
        self._peer.eval()

    @torch.inference_mode()
    def detect(self, picture: Pixels) -> list[Detection]:
        """The warmest places."""
        [proposed] = self._peer.found(*self._bench.outputs(self._peer, stacked([picture])))
        return [
            Detection(NAMES[kind], (box[0], box[1], box[2], box[3]), score)
            for kind, box, score in proposed
            if score >= 0.05
        ]


RECIPE = {
    "name": "peer",
    "source": [{"kind": "scenes", "name": "frames", "count": 1}],
    "model": {"depth": 2},
    "stage": [{"do": "instruct", "tokens": 1, "mix": {"frames": 1.0}}],
}


# --- the tables -------------------------------------------------------------------------------------------------------


def percent(figure: dict[str, float] | None) -> str:
    return f"{figure['value']:.1%} [{figure['low']:.1%}, {figure['high']:.1%}]" if figure else "none"


def row(name: str, where: str, shift: WorkShift, wall: float) -> list[object]:
    found = shift.figures()
    client = f"{found['brain']['p50']:.0f} / {found['brain']['p95']:.0f}"
    count = f"{found['sorted']} + {found['manual']} + {found['passed']} + {found['on']} of {found['arrived']}"
    rates = [f"{found['picks_a_minute']:.1f}", percent(found["purity"]), percent(found["recovery"])]
    return [name, where, *rates, count, client, f"{found['steps_a_second']:.0f}", f"{wall:.0f}"]


HEAD = (
    "model",
    "line",
    "picks/min",
    "purity",
    "recovery",
    "sorted + by hand + passed + on the line",
    "model p50 / p95 ms",
    "periods/s",
    "seconds",
)


def work(
    name: str,
    make: Callable[[SimulatedLine], ModelClient],
    config: SimulatorConfig,
    where: str,
    arguments: argparse.Namespace,
) -> list[object]:
    robot, start = SimulatedLine(config, arguments.seed, PICTURES), time.perf_counter()
    shift = WorkShift(robot, make(robot), standard_policy(arguments.sure))
    shift.run(items=arguments.items)
    made = row(name, where, shift, time.perf_counter() - start)
    print("  " + ", ".join(map(str, made)), flush=True)
    return made


def long_shift(name: str, make: Callable[[SimulatedLine], ModelClient], arguments: argparse.Namespace) -> str:
    """A shift with random faults: its figures; fails unless every item is accounted for."""
    robot = SimulatedLine(SimulatorConfig(unknown=0.02), arguments.seed, PICTURES)
    client = StalledModel(make(robot))
    policy = standard_policy(arguments.sure)
    shift, injection, start = (
        WorkShift(robot, client, policy),
        FaultInjection(robot, client, np.random.default_rng(arguments.seed)),
        time.perf_counter(),
    )
    while robot.now() < arguments.shift * 60:
        injection.step()
        shift.step()
    line, tally = robot.line.line, shift.tally
    assert set(tally.on) == {each.number for each in line.on.values()}
    assert tally.arrived == sum(map(len, line.bins.values())) + len(line.passed) + len(line.on)
    made = dict(zip(HEAD, row(name, "", shift, time.perf_counter() - start), strict=True))
    rest = (
        f"{tally.sorted - tally.right} wrong picks, {tally.slipped} slipped, {tally.dropped} dropped; every item"
        " accounted for"
    )
    return f"{name}, {arguments.shift:g} minutes, {injection.count} faults: {rest}\n" + table(
        list(made), [list(made.values())]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--baselines", nargs="*", default=["oracle"], choices=["oracle", "forest", "convolutions"])
    parser.add_argument(
        "--model", type=Path, metavar="RUN", help="a model that detects items in images, besides the baselines"
    )
    parser.add_argument("--settings", nargs="*", default=[STANDARD, *SHIFTS])
    parser.add_argument(
        "--rates", nargs="*", type=float, default=[], metavar="ITEMS", help="arrivals a minute of the curve"
    )
    parser.add_argument("--items", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--sure",
        type=int,
        default=DEFAULT,
        metavar="PERCENT",
        help="confidence threshold in percent: items below it go to manual sorting",
    )
    parser.add_argument("--frames", type=int, default=4000)
    parser.add_argument("--frames-seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument(
        "--shift", type=float, metavar="MINUTES", help="of simulated time: a long shift with random faults"
    )
    arguments = parser.parse_args()
    print(machine(), flush=True)
    pictures = (
        training(arguments.frames_seed, arguments.frames)
        if {"forest", "convolutions"} & set(arguments.baselines)
        else []
    )
    makers: dict[str, Callable[[SimulatedLine], ModelClient]] = {}
    for name in arguments.baselines:
        start = time.perf_counter()
        if name == "oracle":
            makers[name] = Oracle
        else:
            client = Forest(pictures) if name == "forest" else Detector(pictures, arguments.minutes)
            makers[name] = lambda _, client=client: client
            print(f"{name}: trained on {len(pictures):,} frames in {time.perf_counter() - start:.0f} s", flush=True)
    if arguments.model:
        own = LocalModel(pipeline.model_folder(arguments.model), device.pick())
        makers["model"] = lambda _: own
    rows = [
        work(name, make, setting(where), where, arguments)
        for where in arguments.settings
        for name, make in makers.items()
    ]
    for rate in arguments.rates:
        rows += [
            work(name, make, SimulatorConfig(rate=rate), f"{rate:g} items/min", arguments)
            for name, make in makers.items()
        ]
    print("\n" + table(HEAD, rows) if rows else "")
    believed = {name: make for name, make in makers.items() if make is not Oracle}
    heldout = list(frames(HELDOUT, 500, SimulatorConfig())) if believed else []
    for name, make in believed.items():
        found = reliability(make(None), heldout)
        lines = [(f"{sure:.2f}", f"{right:.2f}", cases) for sure, right, cases in found.bins]
        print(
            f"\n{name}: calibration error {found.error:.3f} over {found.cases} boxes\n"
            + table(("said", "right", "boxes"), lines)
        )
    if arguments.shift:
        print("\n" + "\n\n".join(long_shift(name, make, arguments) for name, make in makers.items()))


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        sys.exit(f"error: {error}")
