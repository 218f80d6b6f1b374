"""A short film of a work shift: the camera's image with detections, and the line from above with arm and bins."""

from collections import deque
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from groundup.apps.sorter.shift import WorkShift
from groundup.apps.sorter.simulator.camera import AT, RAIL, VIEW
from groundup.apps.sorter.simulator.environment import PERIOD
from groundup.apps.sorter.simulator.line import BINS, END, MANUAL
from groundup.core.files import replacing

LAST, SECONDS = 22.0, 12.0  # simulated seconds: at which the film ends, and its longest duration
EVERY = 2  # periods from one frame to the next
SIDE, LENGTH = 288, 480  # pixels: side of the camera's image, length of the line
START, HALF = -1.4, 0.52  # metres: where the drawn line begins, and from its middle to each side
SCALE = LENGTH / (END + 0.05 - START)  # pixels a metre
QUALITY = 40  # of WebP, 0 to 100
INK, GROUND, BELT, EDGE = "#f2f2f2", "#1d2126", "#3a4048", "#8b949e"
PAINT = {
    "blue": "#4a7fd0", "yellow": "#e6c229", "green": "#4a9d5b", "brown": "#a06a42", "red": "#cf4437",
    "grey": "#9a9a9a", "black": "#333333", "white": "#f4f4f4", "orange": "#e88b2d", "purple": "#8a58b8",
}  # fmt: skip


class Film:
    """Records `SECONDS` of a shift, up to second `LAST`, when all bins contain items."""

    def __init__(self) -> None:
        self._frames = deque[Image.Image](maxlen=round(SECONDS / PERIOD / EVERY))
        self._periods = 0

    def capture(self, shift: WorkShift) -> None:
        """Keep a frame if one is due; to be called once a period."""
        if shift.guard.now() < LAST:
            if self._periods % EVERY == 0:
                self._frames.append(drawn(shift))
            self._periods += 1

    def save(self, path: Path) -> None:
        """Write an animated WebP that plays in real time."""
        first, *others = self._frames
        with replacing(path) as temporary:
            duration = round(1000 * PERIOD * EVERY)
            first.save(temporary, "WEBP", save_all=True, append_images=others, duration=duration, quality=QUALITY)


def drawn(shift: WorkShift) -> Image.Image:
    """Draw a frame: the camera's image on the left, the line from above and the figures so far on the right."""
    image, state = Image.new("RGB", (SIDE + LENGTH, SIDE), GROUND), shift.state()
    image.paste(Image.fromarray(shift.picture()).resize((SIDE, SIDE), Image.Resampling.BICUBIC))
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(13)
    for box in state["boxes"]:
        left, top, right, bottom = (SIDE * min(max(value, 0.0), 1.0) for value in box["box"])
        colour = _colour(shift, box["kind"], box["score"])
        draw.rectangle((left, top, max(right, left), max(bottom, top)), outline=colour, width=2)
        label = f"{box['kind']} {box['score']:.0%}"
        draw.text((left + 4, top + 2), label, INK, font, stroke_width=2, stroke_fill=GROUND)
    _line(draw, font, shift, state)
    fractions = ", ".join(f"{name} {state[name]:.0%}" for name in ("purity", "recovery") if state[name] is not None)
    draw.text((SIDE + 12, SIDE - 48), f"{state['time']:.1f} s   {state['sorted'] + state['manual']} picked", INK, font)
    draw.text((SIDE + 12, SIDE - 28), fractions, INK, font)
    return image


def _line(draw: ImageDraw.ImageDraw, font: Any, shift: WorkShift, state: dict[str, Any]) -> None:
    """Draw the line from above: x to the right along the belt, y upwards; items in the colour of their bin."""
    draw.rectangle((SIDE, 0, SIDE + LENGTH, SIDE), GROUND)  # over labels that cross the image's edge
    draw.rectangle((*_at(START, RAIL), *_at(END, -RAIL)), BELT)
    draw.rectangle((*_at(AT - VIEW / 2, VIEW / 2), *_at(AT + VIEW / 2, -VIEW / 2)), outline=EDGE)
    for each in state["bins"]:
        x, y = BINS[each["number"]]
        draw.rectangle((*_at(x - 0.11, y + 0.11), *_at(x + 0.11, y - 0.11)), PAINT.get(each["colour"], PAINT["grey"]))
        count = str(sum(each["kinds"].values()))
        draw.text(_at(x, y), count, INK, font, "mm", stroke_width=2, stroke_fill=GROUND)
    for track in state["tracks"]:
        _dot(draw, track["x"], track["y"], 5, _colour(shift, track["kind"], track["probability"]))
    x, y, _ = state["arm"]
    draw.line((*_at(x, HALF), *_at(x, -HALF)), EDGE)
    _dot(draw, x, y, 7 if state["holding"] else 4, INK)


def _dot(draw: ImageDraw.ImageDraw, x: float, y: float, radius: float, colour: str) -> None:
    across, down = _at(x, y)
    draw.ellipse((across - radius, down - radius, across + radius, down + radius), colour, GROUND)


def _at(x: float, y: float) -> tuple[float, float]:
    return SIDE + SCALE * (x - START), SCALE * (HALF - y)


def _colour(shift: WorkShift, kind: str, probability: float) -> str:
    """The colour of the chosen bin; grey for manual sorting and for items that stay on the belt."""
    number, bins = shift.sorter.decide({kind: probability}).bin, shift.sorter.policy.bins
    return PAINT["grey"] if number is None or number == MANUAL else PAINT[bins[number - 1].colour]
