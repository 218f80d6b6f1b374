"""Item classes: each item on the belt is drawn at random as a few painted primitives.

An item's own axes: x along its length, z up as it mostly lies, its middle at the origin; metres.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import numpy.typing as npt

from groundup.apps.sorter.config import SimulatorConfig

Array = npt.NDArray[np.float32]
Rng = np.random.Generator
Form = tuple[int, int, int]
Colour = tuple[float, float, float]  # red, green, blue, 0 to 1

# Which axes of a primitive are round; along the others two planes bound it. Ellipsoid, cylinder along x, cylinder along
# z, box.
BALL, ROD, DISC, BOX = (1, 1, 1), (0, 1, 1), (1, 1, 0), (0, 0, 0)
PLAIN, BAND, STRIPES, PRINT, BLOTCH, HALF, TAPE, RINGS, GRAIN = range(
    9
)  # patterns of a second colour, drawn by the camera
WHITE, BLACK, METAL, CREAM = (0.92, 0.92, 0.9), (0.06, 0.06, 0.07), (0.7, 0.71, 0.73), (0.88, 0.82, 0.66)
BROWN, GREEN, CLEAR, KRAFT = (0.36, 0.17, 0.05), (0.08, 0.36, 0.14), (0.62, 0.75, 0.74), (0.66, 0.48, 0.29)
BRIGHT = ((0.8, 0.1, 0.1), (0.1, 0.25, 0.75), (0.1, 0.55, 0.25), (0.95, 0.75, 0.1), (0.9, 0.4, 0.05), (0.5, 0.15, 0.55))


@dataclass(frozen=True)
class Shape:
    """One painted primitive of an item."""

    form: Form
    size: tuple[float, float, float]  # half extents
    colour: Colour
    at: tuple[float, float, float] = (0, 0, 0)
    turn: float = 0  # radians about z
    pattern: int = PLAIN
    second: Colour = WHITE
    repeats: float = 1  # of the pattern across the primitive
    gloss: float = 0.2
    opacity: float = 1
    bump: float = 0  # crumpled: how far the surface's normal strays


@dataclass(frozen=True)
class Item:
    """One item; rows of the arrays are its primitives."""

    kind: str
    forms: Array  # n x 3
    sizes: Array  # n x 3
    places: Array  # n x 3
    turns: Array  # n x 3 x 3
    paint: Array  # n x 12: colour, second, pattern, repeats, gloss, opacity, bump, dirt
    hull: Form  # the form it collides as
    extent: Array  # 3: half extents of the hull


def choose(rng: Rng, config: SimulatorConfig, kinds: Sequence[str]) -> str:
    """Draw the class of the next item: one of `kinds`, or an out-of-class object with the probabilities of `config`."""
    chance = rng.random()
    return (
        UNKNOWN if chance < config.unknown else ODD if chance < config.unknown + config.odd else str(rng.choice(kinds))
    )


def draw(rng: Rng, kind: str, config: SimulatorConfig) -> Item:
    """Draw an item of a class (a key of `MAKERS`, "unknown" or "odd"), crushed, dirty and worn within the ranges of
    `config`.
    """
    makers = OUT_OF_CLASS.get(kind)
    shapes, hull = (makers[int(rng.integers(len(makers)))] if makers else MAKERS[kind])(rng)
    sizes, places = (np.array([getattr(shape, name) for shape in shapes], np.float32) for name in ("size", "at"))
    crush = rng.uniform(*config.crush) if hull != BOX else 0
    scale = (1 + crush / 5, 1 + crush / 3, 1 - crush / 1.5) * rng.uniform(0.9, 1.1, 3)
    fade = rng.uniform(0, 0.3) * np.ones(3)
    dirt, rows = rng.uniform(*config.dirt), []
    for shape in shapes:
        worn = [
            np.clip(np.multiply(colour, rng.normal(1, 0.06, 3)) * (1 - fade) + 0.5 * fade, 0, 1)
            for colour in (shape.colour, shape.second)
        ]
        rows.append(
            [*worn[0], *worn[1], shape.pattern, shape.repeats, shape.gloss, shape.opacity, shape.bump + crush / 2, dirt]
        )
    cos, sin = (np.array([f(shape.turn) for shape in shapes], np.float32) for f in (math.cos, math.sin))
    turns = np.stack([cos, -sin, 0 * cos, sin, cos, 0 * cos, 0 * cos, 0 * cos, 1 + 0 * cos], 1).reshape(-1, 3, 3)
    reach = (np.abs(turns) @ sizes[:, :, None])[:, :, 0]
    low, high = (places - reach).min(0), (places + reach).max(0)
    forms = np.array([shape.form for shape in shapes], np.float32)
    middle = (low + high) / 2
    return Item(
        UNKNOWN if makers else kind,
        forms,
        f32(sizes * scale),
        f32((places - middle) * scale),
        turns,
        f32(rows),
        hull,
        f32((high - low) / 2 * scale),
    )


def f32(values: npt.ArrayLike) -> Array:
    """As 32-bit floats."""
    return np.asarray(values, np.float32)


Made = tuple[list[Shape], Form]


def _one(rng: Rng, colours: Sequence[Colour]) -> Colour:
    return colours[int(rng.integers(len(colours)))]


def _bottle(rng: Rng, body: Shape, neck: float, cap: Colour, wide: float) -> list[Shape]:
    """A bottle: a body along x with a shoulder, a neck of half length `neck` and a cap of radius `wide`; most have a
    label.
    """
    (length, radius, _), label = body.size, _one(rng, (WHITE, CREAM, *BRIGHT))
    bare = replace(body, pattern=PLAIN)
    return [
        replace(body, pattern=BAND, second=label) if rng.random() < 0.6 else bare,
        replace(bare, form=BALL, size=(radius, radius, radius), at=(length, 0, 0)),
        replace(bare, size=(neck, wide * 0.8, wide * 0.8), at=(length + radius, 0, 0)),
        Shape(ROD, (0.008, wide, wide), cap, (length + radius + neck, 0, 0), gloss=0.4),
    ]


def _glass(colour: Colour, rng: Rng) -> Made:
    radius = rng.uniform(0.026, 0.034)
    if rng.random() < 0.25:  # a jar
        body = Shape(
            ROD,
            (rng.uniform(0.035, 0.045), radius, radius),
            colour,
            pattern=BAND,
            second=CREAM,
            gloss=1.6,
            opacity=0.75,
        )
        return [
            body,
            Shape(ROD, (0.009, radius, radius), _one(rng, (METAL, CREAM, BRIGHT[0])), (body.size[0], 0, 0), gloss=0.8),
        ], ROD
    body = Shape(ROD, (rng.uniform(0.05, 0.065), radius, radius), colour, gloss=1.6, opacity=0.85)
    return _bottle(rng, body, rng.uniform(0.026, 0.036), METAL, 0.0125), ROD


def _plastic(rng: Rng) -> Made:
    radius, clear = rng.uniform(0.026, 0.035), rng.random() < 0.55
    colour = (0.72, 0.82, 0.88) if clear else _one(rng, (WHITE, *BRIGHT))
    body = Shape(ROD, (rng.uniform(0.05, 0.075), radius, radius), colour, gloss=0.7, opacity=0.5 if clear else 1)
    return [
        *_bottle(rng, body, 0.01, _one(rng, BRIGHT), 0.016),
        replace(body, size=(0.004, radius * 1.03, radius * 1.03)),
    ], ROD


def _can(rng: Rng) -> Made:
    radius, length, steel = rng.uniform(0.028, 0.034), rng.uniform(0.042, 0.058), rng.random() < 0.35
    body = Shape(
        ROD, (length, radius, radius), METAL, pattern=RINGS, second=(0.5, 0.5, 0.52), repeats=4, gloss=1.2, bump=0.1
    )
    if not steel:
        body = replace(
            body,
            colour=_one(rng, BRIGHT),
            second=_one(rng, (WHITE, METAL)),
            pattern=int(rng.choice((BAND, HALF, BLOTCH))),
            repeats=1,
        )
    ends = [
        Shape(ROD, (0.006, radius * 0.93, radius * 0.93), METAL, (end * length, 0, 0), gloss=1.2) for end in (-1, 1)
    ]
    return [
        body,
        *ends,
        Shape(BOX, (0.002, 0.012, 0.006), (0.45, 0.45, 0.47), (length + 0.006, 0.006, 0), gloss=1),
    ], ROD


def _cardboard(rng: Rng) -> Made:
    colour, darker = _tone(KRAFT, rng.uniform(0.8, 1.15)), _tone(KRAFT, 0.75)
    if rng.random() < 0.2:  # a tube
        tube = Shape(ROD, (0.06, 0.021, 0.021), colour, pattern=STRIPES, second=darker, gloss=0)
        return [tube, Shape(ROD, (0.002, 0.016, 0.016), BLACK, (0.06, 0, 0), gloss=0)], ROD
    x, y, z = rng.uniform((0.045, 0.035, 0.006), (0.075, 0.06, 0.03))
    pattern, second = (TAPE, CREAM) if rng.random() < 0.6 else (PRINT, (0.3, 0.2, 0.12))
    sides = [side for side in (-1, 1) if rng.random() < 0.5]  # with a flap
    flaps = [
        Shape(BOX, (0.8 * x, 0.014, 0.0015), darker, (0, s * (y + 0.01), z - 0.003), rng.normal(0, 0.06), gloss=0)
        for s in sides
    ]
    return [Shape(BOX, (x, y, z), colour, pattern=pattern, second=second, gloss=0.05, bump=0.06), *flaps], BOX


def _paper(rng: Rng) -> Made:
    sheet = Shape(
        BOX,
        (0, 0, 0),
        _one(rng, (WHITE, WHITE, CREAM, (0.75, 0.75, 0.72))),
        pattern=PRINT,
        repeats=1.5,
        gloss=0,
        bump=0.15,
    )
    sheet = replace(sheet, second=_one(rng, ((0.3, 0.3, 0.32), (0.3, 0.3, 0.32), *BRIGHT[:2])))
    if rng.random() < 0.4:  # crumpled to a ball
        return [
            _lump(rng, replace(sheet, form=BALL, bump=1), 0.014, (0.02, 0.02, 0.02), (0.034, 0.034, 0.034))
            for _ in range(3)
        ], BALL
    x, y = rng.uniform((0.05, 0.035), (0.075, 0.055))
    return [
        replace(sheet, size=(x, y, 0.0015), at=(0, 0, 0.003 * n), turn=rng.normal(0, 0.25))
        for n in range(rng.integers(1, 4))
    ], BOX


def _food(rng: Rng) -> Made:
    which, dark, radius = rng.integers(4), (0.28, 0.16, 0.07), rng.uniform(0.028, 0.038)
    bit = Shape(BALL, (radius, radius, radius), (0.88, 0.72, 0.16), pattern=BLOTCH, second=dark)
    if which == 0:  # a banana, or its peel
        bends = np.linspace(-1, 1, 4) * rng.uniform(0.4, 0.8)
        return [
            replace(bit, size=(0.03, radius / 2, radius / 2), at=(0.07 * math.sin(a), 0.07 * math.cos(a), 0), turn=-a)
            for a in bends
        ], BALL
    if which == 1:  # a fruit, whole or bitten
        whole = replace(bit, colour=_one(rng, ((0.7, 0.12, 0.1), (0.55, 0.65, 0.15), (0.9, 0.5, 0.08))), gloss=0.4)
        bite = replace(
            bit, size=(radius * 0.6, radius * 0.7, radius * 0.7), colour=CREAM, at=(radius * 0.55, 0, radius * 0.3)
        )
        return [
            whole,
            Shape(ROD, (0.009, 0.0025, 0.0025), dark, (-radius - 0.006, 0, 0)),
            *[bite] * int(rng.integers(2)),
        ], BALL
    leaves, bread = ((0.3, 0.5, 0.12), (0.45, 0.6, 0.2), (0.2, 0.4, 0.1)), ((0.6, 0.4, 0.2), (0.75, 0.55, 0.3))
    bit = replace(
        bit,
        colour=_one(rng, leaves if which == 2 else bread),
        second=_one(rng, (dark, CREAM, (0.6, 0.15, 0.08))),
        gloss=0.1,
        bump=0.5,
    )
    return [_lump(rng, bit, 0.028, (0.02, 0.016, 0.01), (0.04, 0.03, 0.02)) for _ in range(rng.integers(3, 6))], BALL


def _film(rng: Rng) -> Made:
    colour = _one(rng, (WHITE, (0.8, 0.86, 0.9), BRIGHT[1], BLACK, (0.85, 0.85, 0.6)))
    bag = Shape(BALL, (0.025, 0.007, 0.004), colour, pattern=GRAIN, gloss=1, opacity=rng.uniform(0.35, 0.75), bump=0.9)
    lumps = [_lump(rng, bag, 0.03, (0.035, 0.025, 0.006), (0.06, 0.045, 0.014)) for _ in range(rng.integers(3, 6))]
    return [
        *lumps,
        *[replace(bag, at=(0.07, side * 0.012, 0), turn=side * 0.4) for side in (-1, 1)][: rng.integers(3)],
    ], BALL


def _hazard(rng: Rng) -> Made:
    which, yellow = rng.integers(3), (0.95, 0.78, 0.05)
    if which == 0:  # a round cell
        radius, length, top = (
            rng.uniform(0.018, 0.025),
            rng.uniform(0.036, 0.05),
            _one(rng, ((0.75, 0.42, 0.15), yellow, (0.75, 0.1, 0.1))),
        )
        pole = Shape(ROD, (0.004, radius * 0.4, radius * 0.4), METAL, (length + 0.003, 0, 0), gloss=1.2)
        return [Shape(ROD, (length, radius, radius), BLACK, pattern=HALF, second=top, gloss=0.8), pole], ROD
    if which == 1:  # a pack with two poles
        x, y, z = rng.uniform((0.03, 0.02, 0.012), (0.055, 0.035, 0.02))
        poles = [Shape(BOX, (0.005, 0.005, 0.004), METAL, (x + 0.004, side * y / 2, 0), gloss=1.2) for side in (-1, 1)]
        return [
            Shape(BOX, (x, y, z), _one(rng, (BLACK, (0.25, 0.27, 0.3))), pattern=STRIPES, second=yellow, gloss=0.4),
            *poles,
        ], BOX
    radius, length = rng.uniform(0.02, 0.026), rng.uniform(0.05, 0.065)  # a spray can
    can = Shape(ROD, (length, radius, radius), _one(rng, (BRIGHT[0], BRIGHT[1], METAL)), gloss=1)
    mark = Shape(
        ROD, (0.02, radius * 1.02, radius * 1.02), yellow, (-0.01, 0, 0), pattern=STRIPES, second=BLACK, gloss=0.5
    )
    dome = Shape(BALL, (0.014, radius * 0.95, radius * 0.95), METAL, (length, 0, 0), gloss=1.3)
    return [can, mark, dome, Shape(ROD, (0.01, 0.008, 0.008), WHITE, (length + 0.018, 0, 0))], ROD


def _shoe(rng: Rng) -> Made:
    sole = Shape(BOX, (0.078, 0.027, 0.008), _one(rng, (WHITE, BLACK, (0.5, 0.35, 0.2))))
    upper = Shape(
        BALL,
        (0.075, 0.028, 0.024),
        _one(rng, (BROWN, BLACK, BRIGHT[1], WHITE)),
        (0, 0, 0.012),
        pattern=PRINT,
        gloss=0.3,
    )
    return [sole, upper, Shape(DISC, (0.03, 0.021, 0.022), BLACK, (-0.035, 0, 0.018), gloss=0)], BOX


def _brick(rng: Rng) -> Made:
    stud = Shape(DISC, (0.009, 0.009, 0.006), _one(rng, BRIGHT), gloss=0.6)
    studs = [replace(stud, at=(0.03 * x, 0.014 * y, 0.024)) for x in (-1, 0, 1) for y in (-1, 1)]
    return [Shape(BOX, (0.048, 0.03, 0.018), _tone(stud.colour, 0.7), gloss=0.6), *studs], BOX


def _mug(rng: Rng) -> Made:
    cup = Shape(DISC, (0.04, 0.04, 0.042), _one(rng, (WHITE, *BRIGHT)), gloss=1)
    inside = Shape(DISC, (0.034, 0.034, 0.004), (0.25, 0.22, 0.2), (0, 0, 0.042), gloss=0)
    return [cup, inside, replace(cup, form=BOX, size=(0.018, 0.005, 0.02), at=(0.05, 0, 0))], BOX


def _assembly(rng: Rng) -> Made:
    """A primitive of any colour with smaller ones on it and at its sides."""
    colours, parts = (WHITE, BLACK, METAL, CREAM, *BRIGHT), list[Shape]()
    base = rng.uniform((0.025, 0.018, 0.008), (0.07, 0.045, 0.032))
    for k in range(int(rng.integers(2, 6))):
        form, size = (BALL, ROD, DISC, BOX)[int(rng.integers(4))], base * (rng.uniform(0.2, 0.7, 3) if k else 1)
        at = rng.uniform(-1, 1, 3) * base * (k > 0) * (1, 1, 0.9)
        made = Shape(
            form,
            (size[0], size[1], size[2]),
            _one(rng, colours),
            (at[0], at[1], at[2]),
            rng.normal(0, 0.4),
            gloss=rng.uniform(0, 1.2),
        )
        parts.append(
            replace(made, pattern=int(rng.integers(9)) if rng.random() < 0.5 else PLAIN, second=_one(rng, colours))
        )
    return parts, BOX


def _tool(rng: Rng) -> Made:
    """A handle with a head at one end or at both."""
    grip = Shape(
        BOX,
        (rng.uniform(0.045, 0.085), *rng.uniform(0.005, 0.012, 2)),
        _one(rng, (BLACK, KRAFT, METAL, *BRIGHT)),
        gloss=0.3,
    )
    head = Shape(
        BALL if rng.random() < 0.5 else BOX,
        (0.014, *rng.uniform(0.012, 0.03, 2)),
        _one(rng, (METAL, BLACK, *BRIGHT)),
        (grip.size[0], 0, 0),
        gloss=0.8,
    )
    return [grip, head, *[replace(head, at=(-grip.size[0], 0, 0))] * int(rng.integers(2))], BOX


def _plate(rng: Rng) -> Made:
    """Concentric rings: a plate, a lid, a wheel, a disc."""
    radius, pattern = rng.uniform(0.035, 0.06), int(rng.choice((PLAIN, STRIPES, BLOTCH, HALF)))
    colours = [_one(rng, (WHITE, BLACK, METAL, CREAM, *BRIGHT)) for _ in range(3)]
    sizes = [
        (radius * share, radius * share, 0.006 + 0.003 * k)
        for k, share in enumerate((1, rng.uniform(0.5, 0.85), rng.uniform(0.1, 0.4)))
    ]
    return [
        Shape(DISC, size, colour, pattern=pattern, gloss=rng.uniform(0, 1.2))
        for size, colour in zip(sizes, colours, strict=True)
    ], BOX


def _lump(rng: Rng, like: Shape, spread: float, low: Sequence[float], high: Sequence[float]) -> Shape:
    """A copy of a primitive with a size between two, turned and moved at random."""
    x, y, z = rng.uniform(low, high)
    return replace(
        like,
        size=(x, y, z),
        at=(*rng.uniform(-spread, spread, 2), 0),
        turn=rng.uniform(0, 3),
        colour=_tone(like.colour, rng.uniform(0.8, 1.2)),
    )


def _tone(colour: Colour, factor: float) -> Colour:
    return colour[0] * factor, colour[1] * factor, colour[2] * factor


MAKERS: dict[str, Callable[[Rng], Made]] = {
    "glass-brown": partial(_glass, BROWN),
    "glass-green": partial(_glass, GREEN),
    "glass-clear": partial(_glass, CLEAR),
    "plastic": _plastic,
    "can": _can,
    "cardboard": _cardboard,
    "paper": _paper,
    "food": _food,
    "film": _film,
    "hazard": _hazard,
}
KINDS = tuple(MAKERS)
# Out-of-class objects. ODD is so varied that a model can learn from it to reject what is of no class.
UNKNOWN, ODD = "unknown", "odd"
OUT_OF_CLASS: dict[str, tuple[Callable[[Rng], Made], ...]] = {
    UNKNOWN: (_shoe, _brick, _mug),
    ODD: (_assembly, _tool, _plate),
}
