"""Scenes: objects at random positions, drawn to a PNG with the exact box of each.

Nothing is read from disk: shapes are polygons and circles, and the font is the one that Pillow carries.
"""

import io
import math
from dataclasses import dataclass
from functools import lru_cache
from random import Random

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from groundup.codecs.detections import Detection

SHAPES = ("circle", "square", "triangle", "cross", "ring")
COLOURS = {
    "red": (214, 36, 40),
    "orange": (244, 136, 24),
    "yellow": (240, 222, 50),
    "green": (36, 156, 66),
    "blue": (36, 88, 214),
    "purple": (142, 58, 180),
}
LABELS = "123456789ACDEFGHJKLMNPRTUVWXY"  # without 0 O Q I S B Z, which resemble others at 12 pixels, or a ring
ASPECTS = ((4, 3), (1, 1), (3, 4))

LEAST_SIDE = 12  # pixels of an object: with fewer, a cross resembles a circle
FINER = 4  # objects are drawn so many times finer, then averaged down: smooth edges
TRIES = 20  # to place an object; in a full scene it is left out
SHARED = 0.03  # of the smaller of two squares: keeps the overlap of any two boxes under 0.05
NO_THINGS, WITH_TEXT = 0.04, 0.35  # fractions of the scenes
NOISE = 4.0  # standard deviation in steps of 256
SHADE = 14  # by how much a colour's channel differs from the palette at most
EM = 256  # pixels of the glyphs that labels are scaled from

Colour = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Item:
    """An object to draw: it fits in the square of `side` pixels whose top left corner is `left`, `top`."""

    kind: str  # of SHAPES, or "text"
    colour: str
    label: str  # the characters of a text, else empty
    left: int
    top: int
    side: int
    angle: int  # degrees


@dataclass(frozen=True, slots=True)
class Scene:
    """What a picture shows, but for its noise and shades."""

    width: int
    height: int
    background: Colour
    items: tuple[Item, ...]

    @property
    def key(self) -> str:
        """The identity of a scene: its objects, positions and colours; for an empty one its background."""
        return repr((self.width, self.height, self.items or self.background))

    @property
    def shapes(self) -> tuple[Item, ...]:
        """The objects without the text."""
        return tuple(item for item in self.items if item.kind != "text")


def compose(rng: Random, pixels: int, things: int) -> Scene:
    """A random scene of at most `things` objects; its longer side is `pixels`, both sides multiples of 8."""
    width, height = _canvas(rng, pixels)
    base, tint = rng.choice((rng.randint(16, 64), rng.randint(196, 244))), 10
    background = (base + rng.randint(-tint, tint), base + rng.randint(-tint, tint), base + rng.randint(-tint, tint))
    items: list[Item] = []
    if rng.random() >= NO_THINGS:
        kinds = [rng.choice(SHAPES) for _ in range(rng.randint(1, things))]
        if rng.random() < WITH_TEXT:
            kinds[0] = "text"  # the first is always placed
        for kind in kinds:
            if item := _placed(rng, kind, width, height, items):
                items.append(item)
    return Scene(width, height, background, tuple(items))


def _canvas(rng: Random, pixels: int) -> tuple[int, int]:
    across, down = rng.choice(ASPECTS)
    longer = pixels // 8 * 8
    width, height = (8 * round(longer * part / max(across, down) / 8) for part in (across, down))
    return width, height


def _placed(rng: Random, kind: str, width: int, height: int, others: list[Item]) -> Item | None:
    """An object of a class that hardly covers others, or None after TRIES attempts."""
    shorter, longer = min(width, height), max(width, height)
    least = min(shorter, max(LEAST_SIDE, longer // 6))
    if kind == "text":
        least = min(shorter, least * 4 // 3)
    most = max(least, longer * 2 // 5)
    colour = rng.choice(tuple(COLOURS))
    label = rng.choice(LABELS) if kind == "text" else ""
    angle = 0 if kind in ("circle", "ring", "text") else rng.randint(-15, 15)
    for _ in range(TRIES):
        side = rng.randint(least, min(most, shorter))
        item = Item(kind, colour, label, rng.randint(0, width - side), rng.randint(0, height - side), side, angle)
        if not any(_covers(item, other) for other in others):
            return item
    return None


def _covers(one: Item, other: Item) -> bool:
    across = min(one.left + one.side, other.left + other.side) - max(one.left, other.left)
    down = min(one.top + one.side, other.top + other.side) - max(one.top, other.top)
    return across > 0 and down > 0 and across * down > SHARED * min(one.side, other.side) ** 2


def render(scene: Scene, rng: Random) -> tuple[bytes, tuple[Detection, ...]]:
    """The scene as a PNG, and its objects with tight boxes; `rng` draws shades and noise."""
    image = Image.new("RGB", (scene.width, scene.height), scene.background)
    things = []
    for item in scene.items:
        mask = _mask(item)
        image.paste(_shade(rng, COLOURS[item.colour]), (item.left, item.top), mask.reduce(FINER))
        things.append(Detection(item.kind, _box(scene, item, mask)))
    noise = (
        np.random.default_rng(rng.getrandbits(64)).standard_normal((scene.height, scene.width, 1), np.float32) * NOISE
    )
    noisy = Image.fromarray(np.clip(np.asarray(image) + noise, 0, 255).astype(np.uint8))
    written = io.BytesIO()
    noisy.save(written, "PNG", compress_level=1)  # noise hardly compresses: a higher level only takes longer
    return written.getvalue(), tuple(things)


def _shade(rng: Random, colour: Colour) -> Colour:
    red, green, blue = (min(255, max(0, channel + rng.randint(-SHADE, SHADE))) for channel in colour)
    return red, green, blue


def _box(scene: Scene, item: Item, mask: Image.Image) -> tuple[float, float, float, float]:
    """The tight box of a drawn object, to a quarter of a pixel, in fractions of the scene."""
    left, top, right, bottom = mask.getbbox() or (0, 0, *mask.size)
    return (
        (item.left + left / FINER) / scene.width,
        (item.top + top / FINER) / scene.height,
        (item.left + right / FINER) / scene.width,
        (item.top + bottom / FINER) / scene.height,
    )


# --- masks: 255 where an object is, in its square, FINER times as large ----------------------------------------------


def _mask(item: Item) -> Image.Image:
    side = item.side * FINER
    mask = Image.new("L", (side, side))
    draw = ImageDraw.Draw(mask)
    if item.kind == "text":
        glyph = _glyph(item.label)
        scale = side / max(glyph.size)
        width, height = (max(1, round(extent * scale)) for extent in glyph.size)
        mask.paste(
            glyph.resize((width, height), Image.Resampling.BILINEAR), ((side - width) // 2, (side - height) // 2)
        )
    elif item.kind in ("circle", "ring"):
        draw.ellipse((0, 0, side - 1, side - 1), fill=255)
        if item.kind == "ring":
            hole = side // 4
            draw.ellipse((hole, hole, side - 1 - hole, side - 1 - hole), fill=0)
    else:
        draw.polygon(_fitted(OUTLINES[item.kind], item.angle, side), fill=255)
    return mask


Points = tuple[tuple[float, float], ...]
_ARM = 0.36  # half the width of a cross's arm, in half its length
OUTLINES: dict[str, Points] = {
    "square": ((-1, -1), (1, -1), (1, 1), (-1, 1)),
    "triangle": ((0, -1), (math.sqrt(0.75), 0.5), (-math.sqrt(0.75), 0.5)),
    "cross": tuple(
        (x * turn[0] - y * turn[1], x * turn[1] + y * turn[0])
        for turn in ((1, 0), (0, 1), (-1, 0), (0, -1))
        for x, y in ((_ARM, -1), (_ARM, -_ARM), (1, -_ARM))
    ),
}


def _fitted(points: Points, angle: int, side: int) -> list[tuple[float, float]]:
    """The outline turned, then scaled and shifted to reach from edge to edge of a square, in its middle."""
    sine, cosine = math.sin(math.radians(angle)), math.cos(math.radians(angle))
    turned = [(x * cosine - y * sine, x * sine + y * cosine) for x, y in points]
    lows = [min(point[axis] for point in turned) for axis in (0, 1)]
    highs = [max(point[axis] for point in turned) for axis in (0, 1)]
    scale = (side - 1) / max(high - low for low, high in zip(lows, highs, strict=True))
    middle = [(low + high) / 2 for low, high in zip(lows, highs, strict=True)]
    return [((x - middle[0]) * scale + (side - 1) / 2, (y - middle[1]) * scale + (side - 1) / 2) for x, y in turned]


@lru_cache(maxsize=len(LABELS))
def _glyph(label: str) -> Image.Image:
    """A large, tight mask of a character, a little bolder than the font to be readable when small."""
    font = ImageFont.load_default(EM)
    mask = Image.new("L", (2 * EM, 2 * EM))
    ImageDraw.Draw(mask).text((EM, EM), label, fill=255, font=font, anchor="mm", stroke_width=EM // 40)
    return mask.crop(mask.getbbox())
