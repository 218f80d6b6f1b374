"""The camera over the belt: rays against painted primitives, all at once in numpy; no graphics library, the same pixels on every machine.

It looks straight down from `HEIGHT` at `AT` on the belt's middle. Pixel columns run along the belt (x), rows across it (towards -y).
A ray moves by (across, down, -1) for each metre of depth, so that its parameter is the depth itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from groundup.recipe import WorldPart
from groundup.world.items import Array, Item, Rng, f32

AT, HEIGHT, VIEW = -0.76, 1.0, 0.48  # metres: where it is, along and over the belt, and a side of the square that it sees of the belt
RAIL = 0.22  # metres from the belt's middle to each of its sides
TEXELS = 64  # a side of a pattern


@dataclass(frozen=True, slots=True)
class Posed:
    """An item somewhere: `place` 3 metres, `turn` 3 x 3 from the item's axes to the world's."""

    number: int
    item: Item
    place: Array
    turn: Array


@dataclass(frozen=True, slots=True)
class Seen:
    """An item in a picture: left, top, right, bottom in pixels around what is visible, and which share of the item that is."""

    number: int
    kind: str
    box: tuple[int, int, int, int]
    visible: float


class Camera:
    """Takes pictures of `part.pixels` squared; `relight` draws lamps and lens anew."""

    def __init__(self, part: WorldPart, rng: Rng):
        self.part, self.rng, self.pixels = part, rng, part.pixels
        self.scale = self.pixels * HEIGHT / VIEW  # pixels of a metre at one metre of depth
        self.patterns = _patterns()
        self.relight()

    def relight(self) -> None:
        """Draw the light, the exposure, the blur, the noise and the belt's own look from their ranges."""
        draw, part = self.rng.uniform, self.part
        self.light, self.exposure, self.noise = draw(*part.light), 2.0 ** draw(*part.exposure), draw(*part.noise)
        reach = np.exp(-0.5 * (np.arange(-3, 4) / max(draw(*part.blur), 0.1)) ** 2)
        self.kernel = f32(reach / reach.sum())
        angle = draw(0, 2 * np.pi)
        self.lamp = f32((0.447 * np.cos(angle), 0.447 * np.sin(angle), 0.894))  # towards it: 27 degrees off the lens
        self.half = f32((0.23 * np.cos(angle), 0.23 * np.sin(angle), 0.973))  # half way to the lens
        self.tint = f32(self.light * draw(0.94, 1.06, 3))
        self.strip, self.belt = self._strip(), self.tint * f32(draw(0.9, 1.1, 3))

    def look(self, posed: Sequence[Posed], travel: float = 0, light: float = 1) -> tuple[npt.NDArray[np.uint8], list[Seen]]:
        """A picture (pixels x pixels x 3) of items lying on a belt that has moved on by `travel` metres, and what is visible in it."""
        side = self.pixels
        start = -round(travel * self.scale / HEIGHT) % (self.strip.shape[1] - side)
        image = self.strip[:, start : start + side, None] * self.belt
        seen: list[Seen] = []
        if posed:
            rays = _Rays(self, posed)
            shadow = np.zeros((side, side), bool)
            shadow.ravel()[rays.pixel] = True
            shift = tuple(np.rint(self.lamp[1::-1] * (0.02, -0.02) * self.scale).astype(int))
            image *= 1 - 0.4 * np.roll(shadow, shift, (0, 1))[:, :, None]
            flat = image.reshape(-1, 3)
            colour, opacity = self._shade(rays)
            flat[rays.pixel] = opacity * colour + (1 - opacity) * flat[rays.pixel]
            seen = rays.seen(posed)
        return self._develop(image * np.float32(light)), seen

    def _shade(self, rays: "_Rays") -> tuple[Array, Array]:
        """Colour and opacity where each ray ended."""
        paint, point, normal = rays.paint, rays.point, rays.normal
        axis = np.abs(normal).argmax(1)
        across, along = np.where(axis == 0, point[:, 1], point[:, 0]), np.where(axis == 2, point[:, 1], point[:, 2])
        rod = rays.rod & (axis > 0)  # patterns of a lying cylinder run along it
        across, along = np.where(rod, along + (axis == 1), across), np.where(rod, across, along)
        down, right = (((axis_ + 1) * (TEXELS / 2) * paint[:, 7]).astype(np.intp) % TEXELS for axis_ in (along, across))
        mask = self.patterns[paint[:, 6].astype(np.intp), down, right][:, None]
        colour = paint[:, :3] + mask * (paint[:, 3:6] - paint[:, :3])
        grain, other = self.patterns[8, down, right], self.patterns[8, right, (down + 23) % TEXELS]
        dirty = (np.clip((paint[:, 11] * 1.3 - 1 + other) * 6, 0, 1) * 0.8)[:, None]
        colour += dirty * (f32((0.2, 0.15, 0.1)) - colour)
        bent = rays.turned + (np.stack([grain, other, grain], 1) - 0.5) * (1.6 * paint[:, 10:11] * f32((1, 1, 0)))
        bent /= np.sqrt(np.einsum("ij,ij->i", bent, bent))[:, None]
        lit = 0.35 + 0.75 * np.clip(bent @ self.lamp, 0, None)
        shine = paint[:, 8] * np.clip(bent @ self.half, 0, None) ** 40 * 0.6
        opacity = np.minimum(
            1, paint[:, 9] + (1 - paint[:, 9]) * (1.2 - 1.2 * np.abs(rays.turned[:, 2])) + shine + dirty[:, 0]
        )  # thicker to its edges
        return (colour * lit[:, None] + shine[:, None]) * self.tint, opacity[:, None]

    def _strip(self) -> Array:
        """Greys of a strip of belt to slide along, `pixels` high: rubber with scuffs, and a rail on each side."""
        side = self.pixels
        long = 4 * side
        place = [(np.arange(length) * TEXELS // side) % TEXELS for length in (side, long)]
        scuffs = self.rng.random((side, long), np.float32)
        grey = np.float32(0.05) * self.patterns[8][np.ix_(*place)] + np.float32(0.02) * scuffs + np.float32(0.135)
        grey[scuffs > 0.985] += np.float32(0.05)
        grey[np.abs(np.linspace(-VIEW / 2, VIEW / 2, side)) > RAIL] = 0.5
        return np.concatenate([grey, grey[:, :side]], 1)

    def _develop(self, image: Array) -> npt.NDArray[np.uint8]:
        """Through the lens and onto the sensor: blur, exposure, noise, 256 levels."""
        for axis in (0, 1):
            padded = np.pad(image, [(3, 3) if a == axis else (0, 0) for a in range(3)], "edge")
            parts = (slice(n, n + self.pixels) for n in range(7))
            image = sum(
                weight * (padded[cut] if axis == 0 else padded[:, cut]) for weight, cut in zip(self.kernel, parts, strict=True) if weight > 1e-3
            )
        levels = image * np.float32(255 * self.exposure)
        levels += self.rng.standard_normal(levels.shape, np.float32) * np.float32(self.noise)
        return np.clip(levels, 0, 255, out=levels).astype(np.uint8)


class _Rays:
    """The rays through the surroundings of each primitive, and for those that end first on one: where, and on what."""

    def __init__(self, camera: Camera, posed: Sequence[Posed]):
        side, margin = camera.pixels, camera.pixels // 2  # beyond the edges too: which share of an item is in the picture?
        owner = np.repeat(np.arange(len(posed)), [len(p.item.sizes) for p in posed])
        turn = np.concatenate([p.turn @ p.item.turns for p in posed])  # n x 3 x 3
        place = np.concatenate([p.place + p.item.places @ p.turn.T for p in posed])  # n x 3
        size, form, paint = (np.concatenate([getattr(p.item, name) for p in posed]) for name in ("sizes", "forms", "paint"))
        reach = (np.abs(turn) @ size[:, :, None])[:, :, 0]
        first, last = _footprint(camera, place, reach, margin)
        spans = np.maximum(last - first, 0)
        counts = spans[:, 0] * spans[:, 1]
        n = np.repeat(np.arange(len(size)), counts)
        index = np.arange(len(n)) - np.repeat(np.cumsum(counts) - counts, counts)
        column, row = first[n, 0] + index % spans[n, 0], first[n, 1] + index // spans[n, 0]
        # into the primitive's own axes and unit size
        inward = turn.transpose(0, 2, 1) / size[:, :, None]
        origin = np.einsum("nij,nj->ni", inward, f32((AT, 0, HEIGHT)) - place)
        x, y = ((column + 0.5 - side / 2) / camera.scale).astype(np.float32), ((side / 2 - row - 0.5) / camera.scale).astype(np.float32)
        ray = inward[n, :, 0] * x[:, None] + inward[n, :, 1] * y[:, None] - inward[n, :, 2]
        depth, hit = _enter(origin[n], ray, form[n])
        n, ray, depth, row, column = n[hit], ray[hit], depth[hit], row[hit], column[hit]
        wide = side + 2 * margin
        key = (row + margin) * wide + column + margin
        self.covered = np.zeros((len(posed), wide * wide), bool)
        self.covered[owner[n], key] = True
        nearest = np.full(wide * wide, np.inf, np.float32)
        np.minimum.at(nearest, key, depth)
        ends = (depth == nearest[key]) & (row >= 0) & (row < side) & (column >= 0) & (column < side)
        n, self.row, self.column = n[ends], row[ends], column[ends]
        self.pixel, self.owner, self.paint, self.rod = self.row * side + self.column, owner[n], paint[n], (form[:, 0] < form[:, 2])[n]
        self.point = origin[n] + ray[ends] * depth[ends, None]
        self.normal = _normal(self.point, form[n]) / size[n]
        self.normal /= np.sqrt(np.einsum("ij,ij->i", self.normal, self.normal))[:, None]
        self.turned = np.einsum("nij,nj->ni", turn[n], self.normal)

    def seen(self, posed: Sequence[Posed]) -> list[Seen]:
        """The items of which a pixel is visible."""
        found = []
        for number, (one, whole) in enumerate(zip(posed, self.covered.sum(1), strict=True)):
            mine = self.owner == number
            if mine.any():
                row, column = self.row[mine], self.column[mine]
                box = int(column.min()), int(row.min()), int(column.max()) + 1, int(row.max()) + 1
                found.append(Seen(one.number, one.item.kind, box, min(1.0, len(row) / int(whole))))
        return found


def _footprint(camera: Camera, place: Array, reach: Array, margin: int) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """First and past-the-last column and row of the pixels that a box around each primitive may cover."""
    side, depth = camera.pixels, HEIGHT - place[:, 2:] + reach[:, 2:] * f32((-1, 1))  # nearest, farthest
    middle, extent = (place[:, :2] - f32((AT, 0))) * f32((1, -1)), reach[:, :2]
    ends = np.stack([(middle + sign * extent) / depth[:, k : k + 1] for sign in (-1, 1) for k in (0, 1)]) * camera.scale + side / 2
    return np.clip(np.floor(ends.min(0)), -margin, side + margin).astype(np.intp), np.clip(np.ceil(ends.max(0)), -margin, side + margin).astype(
        np.intp
    )


def _enter(origin: Array, ray: Array, form: Array) -> tuple[Array, npt.NDArray[np.bool_]]:
    """Depth at which each ray enters its primitive of unit size, the meeting of a quadric and of pairs of planes, and whether it does."""
    with np.errstate(all="ignore"):  # where a form has no quadric or no planes, and on grazing rays: infinities, which drop out
        round_ray = form * ray
        a, b = np.einsum("ij,ij->i", round_ray, ray), np.einsum("ij,ij->i", round_ray, origin)
        root = np.sqrt(b * b - a * (np.einsum("ij,ij,ij->i", form, origin, origin) - 1))
        solid = a > 0
        enter, leave = np.where(solid, (-b - root) / a, -np.inf), np.where(solid, (-b + root) / a, np.inf)
        inverse = 1 / ray
        middle, thick = -origin * inverse, np.abs(inverse)
        flat = form == 0
        near, far = np.where(flat, middle - thick, -np.inf), np.where(flat, middle + thick, np.inf)
    for axis in range(3):
        enter, leave = np.maximum(enter, near[:, axis]), np.minimum(leave, far[:, axis])
    return enter, (enter < leave)  # false too where the root is not a number


def _normal(point: Array, form: Array) -> Array:
    """Outward normals, in unit size, of points on primitives."""
    planes = np.abs(point) * (1 - form)
    axis = planes.argmax(1)
    rows = np.arange(len(point))
    flat = planes[rows, axis] > np.sqrt(np.einsum("ij,ij,ij->i", form, point, point))
    normal = point * form
    normal[flat] = 0
    normal[rows[flat], axis[flat]] = np.sign(point[rows[flat], axis[flat]])
    return normal


def _patterns() -> Array:
    """Masks of the second colour, in the order of the constants in `items`: 9 x 64 x 64, row along the item, tiled."""
    v, u = np.meshgrid(*[np.linspace(-1, 1, TEXELS, endpoint=False)] * 2, indexing="ij")
    grain = _noise(np.random.default_rng(1))
    lines = (np.sin(v * 25) > 0.1) & (np.sin(u * 31 + np.round(v * 4) * 2.1) > -0.6) & (np.maximum(abs(u), abs(v)) < 0.86)
    return f32([0 * u, abs(v) < 0.45, np.sin((u + v) * 9.42) > 0, lines, grain > 0.6, v > 0.35, abs(v) < 0.16, np.sin(v * 18.85) > 0.2, grain])


def _noise(rng: Rng) -> npt.NDArray[np.float64]:
    """Noise of several scales that tiles, 0 to 1."""
    waves = np.fft.fftfreq(TEXELS)
    scale = np.hypot(*np.meshgrid(waves, waves)) + 0.03
    noise = np.fft.ifft2(np.fft.fft2(rng.standard_normal((TEXELS, TEXELS))) / scale**1.7).real
    smooth: npt.NDArray[np.float64] = np.clip(0.5 + noise / noise.std() / 5, 0, 1)
    return smooth
