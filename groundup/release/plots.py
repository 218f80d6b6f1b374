"""Training curves as inline SVG (matplotlib) in the page's fonts and colour variables; nothing external is loaded."""

import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

import matplotlib
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from groundup.core import units

Record = dict[str, Any]  # a line of metrics.jsonl

POINTS = 300  # points a curve: about one a pixel; more steps are averaged
WIDTH, HEIGHT = 4.9, 2.8  # inches of 72 units: about the displayed size on a phone, so that text stays readable
SERIES = 6  # the page's colours for curves
INK, LINE = "#000001", "#000002"  # stand-ins for the page's colours
_VARIABLES = {INK: "var(--muted)", LINE: "var(--line)"} | {
    f"#0000{number + 16:02x}": f"var(--series-{number + 1})" for number in range(SERIES)
}
_SVG, _XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "groundup",
    "font.size": 10,
    "axes.edgecolor": LINE,
    "axes.labelcolor": INK,
    "xtick.color": LINE,
    "ytick.color": LINE,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "grid.color": LINE,
    "grid.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "ytick.major.size": 0,
}


@dataclass(frozen=True)
class Chart:
    """A picture, its text alternative, and the names of its colours in order."""

    svg: Markup
    title: str
    label: str
    keys: tuple[str, ...]


def loss(stage: str, records: Sequence[Record]) -> Chart:
    """Training loss, and held-out loss of each source, in nats a token, over training tokens."""
    heldout = _heldout(records)
    records = [record for record in records if record["loss"] is not None]  # None: a step without supervised token
    steps = _curve(records, "loss")
    last = "; ".join(f"held out {source} {values[-1][1]:.2f}" for source, values in heldout.items())
    label = (
        f"Loss of {stage}: training from {records[0]['loss']:.2f} to {records[-1]['loss']:.2f} nats a token;"
        f" {last or 'none held out'}"
    )

    def draw(axes: Axes) -> None:
        tokens, mean, low, high = steps
        axes.fill_between(tokens, low, high, color=_colour(0), alpha=0.2, linewidth=0)
        axes.plot(tokens, mean, color=_colour(0), linewidth=1.4)
        for place, values in enumerate(heldout.values(), 1):
            axes.plot(*zip(*values, strict=True), color=_colour(place), linewidth=1.4, marker="o", markersize=3.2)
        axes.set_ylabel("loss, nats a token")
        axes.set_xlabel("tokens seen")
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: units.short(value)))

    return Chart(
        _picture(f"loss-{stage}", label, draw),
        "Loss",
        label,
        ("training", *(f"held out: {source}" for source in heldout)),
    )


def speed(stage: str, records: Sequence[Record]) -> Chart:
    """Tokens/s over training tokens; on the right the same as a fraction of the device's measured matrix peak."""
    tokens, mean, low, high = _curve(records, "tokens_per_second")
    ratio = records[-1]["share_of_peak"] / records[-1]["tokens_per_second"]
    middle = sorted(record["tokens_per_second"] for record in records)[len(records) // 2]
    label = (
        f"Speed of {stage}: {units.number(middle)} tokens a second in the middle, {units.percent(middle * ratio)} of"
        " the device's matrix peak"
    )

    def draw(axes: Axes) -> None:
        axes.fill_between(tokens, low, high, color=_colour(0), alpha=0.2, linewidth=0)
        axes.plot(tokens, mean, color=_colour(0), linewidth=1.4)
        axes.set_ylim(0, 1.1 * max(mean))
        axes.set_ylabel("tokens a second")
        axes.set_xlabel("tokens seen")
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: units.short(value)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: units.short(value)))
        right = axes.secondary_yaxis(
            "right", functions=(lambda value: 100 * ratio * value, lambda value: value / (100 * ratio))
        )
        right.yaxis.set_major_locator(MaxNLocator(5))
        right.set_ylabel("% of matrix peak")
        right.spines["right"].set_visible(False)

    return Chart(_picture(f"speed-{stage}", label, draw), "Speed", label, ())


def _colour(place: int) -> str:
    return f"#0000{place % SERIES + 16:02x}"


# --- curves ------------------------------------------------------------------------------------------------


def _curve(records: Sequence[Record], key: str) -> tuple[list[float], list[float], list[float], list[float]]:
    """Tokens, and mean, smallest and largest value, of at most POINTS intervals of steps."""
    stretch = -(-len(records) // POINTS)
    parts = [records[start : start + stretch] for start in range(0, len(records), stretch)]
    values = [[float(record[key]) for record in part] for part in parts]
    tokens = [float(part[-1]["tokens"]) for part in parts]
    return (
        tokens,
        [sum(part) / len(part) for part in values],
        [min(part) for part in values],
        [max(part) for part in values],
    )


def _heldout(records: Sequence[Record]) -> dict[str, list[tuple[float, float]]]:
    """Tokens and loss by source."""
    found: dict[str, list[tuple[float, float]]] = {}
    for record in records:
        for source, value in record.get("heldout", {}).items():
            found.setdefault(source, []).append((record["tokens"], value))
    return found


# --- from matplotlib's file to a part of the page ------------------------------------------------------------


def _picture(name: str, label: str, draw: Callable[[Axes], None]) -> Markup:
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(WIDTH, HEIGHT), layout="constrained")
        figure.patch.set_visible(False)
        axes = figure.add_subplot()
        axes.patch.set_visible(False)
        axes.grid(axis="y")
        axes.set_axisbelow(True)
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.yaxis.set_major_locator(MaxNLocator(5))
        draw(axes)
        text = io.StringIO()
        figure.savefig(text, format="svg")
    return _inlined(text.getvalue(), name, label)


def _inlined(text: str, name: str, label: str) -> Markup:
    """The drawing alone: described, its ids its own, its colours and fonts the page's."""
    root = ElementTree.fromstring(text)
    for child in list(root):
        if (
            child.tag == f"{{{_SVG}}}metadata" or child.find(f"{{{_SVG}}}style") is not None
        ):  # a style sheet would reach the whole page
            root.remove(child)
    for node in root.iter():
        _own(node, name)
    root.attrib = {"viewBox": root.attrib["viewBox"], "role": "img", "aria-label": label, "class": "chart"}
    ElementTree.register_namespace("", _SVG)
    plain = re.sub(r"font-family:[^;\"]*;|(?<=px) '[^;\"]*", "", ElementTree.tostring(root, encoding="unicode"))
    for stand_in, variable in _VARIABLES.items():
        plain = plain.replace(stand_in, variable)
    return Markup(plain)


def _own(node: ElementTree.Element, name: str) -> None:
    """Make the ids of a picture's shapes and clips unique in the page."""
    if (id := node.attrib.pop("id", None)) is not None and node.tag != f"{{{_SVG}}}g":
        node.set("id", f"{name}-{id}")
    if (target := node.attrib.pop(f"{{{_XLINK}}}href", None)) is not None:
        node.set("href", f"#{name}-{target[1:]}")
    if (clip := node.attrib.get("clip-path")) is not None:
        node.set("clip-path", clip.replace("(#", f"(#{name}-"))
