"""The camera over the belt: ray tracing, light, lens and noise; no graphics library, bitwise equal everywhere.

It looks straight down from `HEIGHT`, over `AT` on the belt's middle. Pixel columns run along the belt (x), rows across
it (towards -y).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from groundup.apps.sorter.config import SimulatorConfig
from groundup.apps.sorter.simulator.backends import Backend, fastest
from groundup.apps.sorter.simulator.exposure import Exposure, Picture
from groundup.apps.sorter.simulator.items import Array, Item, Rng, f32
from groundup.apps.sorter.simulator.rays import TEXELS, Scene, Traced, Whole

AT, HEIGHT, VIEW = (
    -0.76,
    1.0,
    0.48,
)  # metres: its position along and over the belt, and the side of the square of belt in its image
RAIL = 0.22  # metres from the belt's middle to each of its sides


@dataclass(frozen=True, slots=True)
class PosedItem:
    """An item somewhere: `place` 3 metres, `turn` 3 x 3 from the item's axes to the world's."""

    number: int
    item: Item
    place: Array
    turn: Array


@dataclass(frozen=True, slots=True)
class VisibleItem:
    """An item in an image: the box around its visible pixels (left, top, right, bottom), and its visible fraction."""

    number: int
    kind: str
    box: tuple[int, int, int, int]
    visible: float


class Camera:
    """Renders square images of `config.pixels`; `relight` draws new lamps and lens. The default `backend` is the
    fastest available one.
    """

    def __init__(self, config: SimulatorConfig, rng: Rng, backend: Backend | None = None):
        self.config, self.rng, self.pixels, self.backend = config, rng, config.pixels, backend or fastest()
        self.scale = self.pixels * HEIGHT / VIEW  # pixels of a metre at one metre of depth
        self.patterns = _patterns()
        self.relight()

    def relight(self) -> None:
        """Draw light, exposure, blur, noise and the belt's texture from their ranges."""
        draw, config = self.rng.uniform, self.config
        self.light, self.exposure, self.noise = draw(*config.light), 2.0 ** draw(*config.exposure), draw(*config.noise)
        reach = np.exp(-0.5 * (np.arange(-3, 4) / max(draw(*config.blur), 0.1)) ** 2)
        self.kernel = f32(reach / reach.sum())
        angle = draw(0, 2 * np.pi)
        self.lamp = f32(
            (0.447 * np.cos(angle), 0.447 * np.sin(angle), 0.894)
        )  # direction to it: 27 degrees off the lens
        self.half = f32((0.23 * np.cos(angle), 0.23 * np.sin(angle), 0.973))  # half way to the lens
        self.tint = f32(self.light * draw(0.94, 1.06, 3))
        self.strip, self.belt = self._strip(), self.tint * f32(draw(0.9, 1.1, 3))

    def render(
        self, posed: Sequence[PosedItem], travel: float = 0, light: float = 1
    ) -> tuple[Picture, list[VisibleItem]]:
        """Render items on a belt that has run `travel` metres: image (pixels x pixels x 3), and its visible items."""
        traced = self.backend.trace(self._scene(posed)) if posed else None
        side = self.pixels
        start = -round(travel * self.scale / HEIGHT) % (self.strip.shape[1] - side)
        down, right = np.rint(self.lamp[1::-1] * (0.02, -0.02) * self.scale).astype(int).tolist()
        grain = self.rng.standard_normal((side, side, 3), np.float32)
        exposure = Exposure(
            self.strip[:, start : start + side],
            self.belt,
            (down, right),
            light,
            self.kernel,
            255 * self.exposure,
            self.noise,
            grain,
        )
        return self.backend.develop(traced, exposure), _seen(posed, traced, side) if traced else []

    def _scene(self, posed: Sequence[PosedItem]) -> Scene:
        side, margin, scale = (
            self.pixels,
            self.pixels // 2,
            self.scale,
        )  # the margin is needed for the visible fraction of items at the edge
        turn = np.concatenate([p.turn @ p.item.turns for p in posed])  # n x 3 x 3
        place = np.concatenate([p.place + p.item.places @ p.turn.T for p in posed])  # n x 3
        size, form, paint = (
            np.concatenate([getattr(p.item, name) for p in posed]) for name in ("sizes", "forms", "paint")
        )
        inward = np.ascontiguousarray(turn.transpose(0, 2, 1) / size[:, :, None])
        first, last = self._footprint(place, (np.abs(turn) @ size[:, :, None])[:, :, 0], margin)
        middles = f32((np.arange(-margin, side + margin) + 0.5 - side / 2) / scale)
        return Scene(
            side=side,
            margin=margin,
            x=middles,
            y=-middles,
            first=first,
            last=last,
            owner=np.repeat(np.arange(len(posed)), [len(p.item.sizes) for p in posed]),
            inward=inward,
            origin=np.einsum("nij,nj->ni", inward, f32((AT, 0, HEIGHT)) - place),
            turn=turn,
            size=size,
            form=form,
            paint=paint,
            patterns=self.patterns,
            light=np.stack([self.lamp, self.half, self.tint]),
        )

    def _footprint(self, place: Array, reach: Array, margin: int) -> tuple[Whole, Whole]:
        """First and past-the-last column and row of the frame that the bounding box of each primitive may cover."""
        depth = HEIGHT - place[:, 2:] + reach[:, 2:] * f32((-1, 1))  # nearest, farthest
        middle, extent = (place[:, :2] - f32((AT, 0))) * f32((1, -1)), reach[:, :2]
        ends = (
            np.stack([(middle + sign * extent) / depth[:, k : k + 1] for sign in (-1, 1) for k in (0, 1)]) * self.scale
            + self.pixels / 2
            + margin
        )
        first, last = (
            np.clip(found, 0, self.pixels + 2 * margin).astype(np.int64)
            for found in (np.floor(ends.min(0)), np.ceil(ends.max(0)))
        )
        return first, last

    def _strip(self) -> Array:
        """Grey levels of a strip of belt, `pixels` high, to slide along: rubber with scuffs, a rail on each side."""
        side = self.pixels
        long = 4 * side
        place = [(np.arange(length) * TEXELS // side) % TEXELS for length in (side, long)]
        scuffs = self.rng.random((side, long), np.float32)
        grey = np.float32(0.05) * self.patterns[8][np.ix_(*place)] + np.float32(0.02) * scuffs + np.float32(0.135)
        grey[scuffs > 0.985] += np.float32(0.05)
        grey[np.abs(np.linspace(-VIEW / 2, VIEW / 2, side)) > RAIL] = 0.5
        return np.concatenate([grey, grey[:, :side]], 1)


def _seen(posed: Sequence[PosedItem], traced: Traced, side: int) -> list[VisibleItem]:
    """The items of which a pixel is visible."""
    found = []
    for number, (one, whole) in enumerate(zip(posed, traced.whole.tolist(), strict=True)):
        pixels = traced.pixel[traced.owner == number]
        if len(pixels):
            row, column = pixels // side, pixels % side
            box = int(column.min()), int(row.min()), int(column.max()) + 1, int(row.max()) + 1
            found.append(VisibleItem(one.number, one.item.kind, box, len(pixels) / whole))
    return found


def _patterns() -> Array:
    """Masks of the second colour, in the order of the constants in `items`: 9 x 64 x 64, row along the item, tiled."""
    v, u = np.meshgrid(*[np.linspace(-1, 1, TEXELS, endpoint=False)] * 2, indexing="ij")
    grain = _noise(np.random.default_rng(1))
    lines = (
        (np.sin(v * 25) > 0.1) & (np.sin(u * 31 + np.round(v * 4) * 2.1) > -0.6) & (np.maximum(abs(u), abs(v)) < 0.86)
    )
    return f32(
        [
            0 * u,
            abs(v) < 0.45,
            np.sin((u + v) * 9.42) > 0,
            lines,
            grain > 0.6,
            v > 0.35,
            abs(v) < 0.16,
            np.sin(v * 18.85) > 0.2,
            grain,
        ]
    )


def _noise(rng: Rng) -> npt.NDArray[np.float64]:
    """Noise of several scales that tiles, 0 to 1."""
    waves = np.fft.fftfreq(TEXELS)
    scale = np.hypot(*np.meshgrid(waves, waves)) + 0.03
    noise = np.fft.ifft2(np.fft.fft2(rng.standard_normal((TEXELS, TEXELS))) / scale**1.7).real
    smooth: npt.NDArray[np.float64] = np.clip(0.5 + noise / noise.std() / 5, 0, 1)
    return smooth
