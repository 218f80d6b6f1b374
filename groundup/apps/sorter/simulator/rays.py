"""Ray tracing of painted primitives, vectorised in numpy: bitwise equal on every machine.

Sums are written out term by term, so that `camera.c`, the faster implementation, rounds each sum in the same way. A
ray moves by (across, down, -1) for each metre of depth, so its parameter is the depth itself.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from groundup.apps.sorter.simulator.items import Array, f32

TEXELS = 64  # a side of a pattern
Whole = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Scene:
    """n primitives before the lens, grouped by item. The frame is the image with a margin on each side."""

    side: int  # pixels of the picture
    margin: int  # pixels
    x: Array  # side + 2 margin: across, of each of the frame's columns
    y: Array  # side + 2 margin: down, of each of its rows
    first: Whole  # n x 2: column and row of the frame at which a box around each primitive begins
    last: Whole  # n x 2: and past which it ends
    owner: Whole  # n: the number of the item, from 0
    inward: Array  # n x 3 x 3: from the world's axes to the primitive's own, in which it has unit size
    origin: Array  # n x 3: the lens, in those
    turn: Array  # n x 3 x 3: back to the world's axes, sizes aside
    size: Array  # n x 3: half extents
    form: Array  # n x 3
    paint: Array  # n x 12
    patterns: Array  # 9 x TEXELS x TEXELS
    light: Array  # 3 x 3: towards the lamp, half way to the lens, the lamp's colour


@dataclass(frozen=True, slots=True)
class Traced:
    """The pixels of the image that show an item, in any order, and the number of pixels of the frame that each item
    would cover alone.
    """

    pixel: Whole  # m
    owner: Whole  # m
    colour: Array  # m x 3
    opacity: Array  # m
    whole: Whole  # items


def trace(scene: Scene) -> Traced:
    """Trace the rays through the footprint of each primitive to the nearest hit; of two equally near, the later."""
    wide, margin, side = len(scene.x), scene.margin, scene.side
    spans = np.maximum(scene.last - scene.first, 0)
    counts = spans[:, 0] * spans[:, 1]
    n = np.repeat(np.arange(len(counts)), counts)
    index = np.arange(len(n)) - np.repeat(np.cumsum(counts) - counts, counts)
    column, row = scene.first[n, 0] + index % spans[n, 0], scene.first[n, 1] + index // spans[n, 0]
    by_x, by_y, by_depth = scene.inward.transpose(2, 1, 0)  # 3 x n each
    ray = by_x[:, n] * scene.x[column] + by_y[:, n] * scene.y[row] - by_depth[:, n]
    depth, hit = enter(scene.origin.T[:, n], ray, scene.form.T[:, n])
    n, ray, depth, row, column = n[hit], ray[:, hit], depth[hit], row[hit], column[hit]
    key = row * wide + column
    covered = np.zeros((scene.owner[-1] + 1, wide * wide), bool)
    covered[scene.owner[n], key] = True
    nearest = np.full(wide * wide, np.inf, np.float32)
    np.minimum.at(nearest, key, depth)
    inside = (row >= margin) & (row < margin + side) & (column >= margin) & (column < margin + side)
    ends = np.flatnonzero(inside & (depth == nearest[key]))
    last = np.empty(wide * wide, np.intp)
    last[key[ends]] = ends  # of several the last stays
    ends = ends[last[key[ends]] == ends]
    n = n[ends]
    colour, opacity = _shade(scene, n, scene.origin.T[:, n] + ray[:, ends] * depth[ends])
    return Traced((row[ends] - margin) * side + column[ends] - margin, scene.owner[n], colour, opacity, covered.sum(1))


def enter(origin: Array, ray: Array, form: Array) -> tuple[Array, npt.NDArray[np.bool_]]:
    """The depth at which each ray (3 x rays) enters its primitive of unit size, an intersection of a quadric and of
    pairs of planes, and whether it does.
    """
    with np.errstate(
        all="ignore"
    ):  # where a form has no quadric or no planes, and on grazing rays: infinities, which drop out
        round_ray = form * ray
        a, b = _dot(round_ray, ray), _dot(round_ray, origin)
        root = np.sqrt(b * b - a * (_dot(form * origin, origin) - 1))
        solid = a > 0
        near, far = np.where(solid, (-b - root) / a, -np.inf), np.where(solid, (-b + root) / a, np.inf)
        inverse = 1 / ray
        middle, thick = -origin * inverse, np.abs(inverse)
        flat = form == 0
        for axis in range(3):
            near = np.maximum(near, np.where(flat[axis], middle[axis] - thick[axis], -np.inf))
            far = np.minimum(far, np.where(flat[axis], middle[axis] + thick[axis], np.inf))
    return near, near < far  # false too where the root is not a number


def _shade(scene: Scene, n: npt.NDArray[np.intp], point: Array) -> tuple[Array, Array]:
    """Colour and opacity at points (3 x rays, in unit size) of the primitives `n`."""
    form, paint, (lamp, half, tint) = scene.form.T[:, n], scene.paint.T[:, n], scene.light
    normal = _unit(_normal(point, form) / scene.size.T[:, n])
    turned = np.stack([_dot(row[:, n], normal) for row in scene.turn.transpose(1, 2, 0)])
    axis = np.abs(normal).argmax(0)
    across, along = np.where(axis == 0, point[1], point[0]), np.where(axis == 2, point[1], point[2])
    rod = (form[0] < form[2]) & (axis > 0)  # patterns of a lying cylinder run along it
    across, along = np.where(rod, along + (axis == 1), across), np.where(rod, across, along)
    down, right = (((place + 1) * (TEXELS / 2) * paint[7]).astype(np.intp) % TEXELS for place in (along, across))
    mask = scene.patterns[paint[6].astype(np.intp), down, right]
    colour = paint[:3] + mask * (paint[3:6] - paint[:3])
    grain, other = scene.patterns[8, down, right], scene.patterns[8, right, (down + 23) % TEXELS]
    dirty = np.clip((paint[11] * 1.3 - 1 + other) * 6, 0, 1) * 0.8
    colour += dirty * (f32((0.2, 0.15, 0.1))[:, None] - colour)
    stray = 1.6 * paint[10]  # crumpled: level only
    bent = _unit(np.stack([turned[0] + (grain - 0.5) * stray, turned[1] + (other - 0.5) * stray, turned[2]]))
    lit = 0.35 + 0.75 * np.maximum(_dot(bent, lamp), 0)
    power = np.maximum(_dot(bent, half), 0)
    for _ in range(3):
        power = power * power
    shine = paint[8] * (power * power * power * power * power) * 0.6  # to the fortieth
    opacity = np.minimum(
        1, paint[9] + (1 - paint[9]) * (1.2 - 1.2 * np.abs(turned[2])) + shine + dirty
    )  # thicker to its edges
    return ((colour * lit + shine) * tint[:, None]).T, opacity


def _normal(point: Array, form: Array) -> Array:
    """Outward normals, in unit size, of points on primitives; 3 x points."""
    planes: Array = np.abs(point) * (1 - form)
    axis, points = planes.argmax(0), np.arange(point.shape[1])
    flat = planes[axis, points] > np.sqrt(_dot(form * point, point))
    normal: Array = point * form
    normal[:, flat] = 0
    normal[axis[flat], points[flat]] = np.sign(point[axis[flat], points[flat]])
    return normal


def _dot(a: Array, b: Array) -> Array:
    product: Array = a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
    return product


def _unit(a: Array) -> Array:
    length: Array = np.sqrt(_dot(a, a))
    return a / length
