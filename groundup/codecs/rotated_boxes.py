"""Rotated boxes: exact intersection over union, and the regression targets of a detection head.

A box is four corners, clockwise as the image is seen. Ratios of areas are the same in pixels, in patches and in
fractions of an image's sides; angles are not, so a box is regressed in patches, which are square.
Shapes: K boxes, each [4, 2]: x and y of its corners.
"""

import numpy as np
import numpy.typing as npt

VALUES = 7  # regression values: centre, size, elongation along two axes, orientation modulo a quarter turn
TINY = 1e-12  # in squares of a box's longer side: rounding
SHORTEST = 1e-3  # patches of a side, so that its logarithm is finite

Array = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


def upright(boxes: npt.NDArray[np.floating]) -> Array:
    """The corners of boxes [K, 4] of left, top, right and bottom."""
    corners: Array = np.asarray(boxes, np.float64)[:, [[0, 1], [2, 1], [2, 3], [0, 3]]]
    return corners


WHOLE = upright(np.array([[0, 0, 1, 1]]))[0]  # an image, in fractions of its sides


def bounds(corners_K42: Array) -> Array:
    """Left, top, right and bottom of the smallest upright box around each, [K, 4]."""
    return np.concatenate([corners_K42.min(1), corners_K42.max(1)], 1)


def ordered(corners_42: Array) -> Array | None:
    """Corners in any order as a box has them, the one nearest the top left first; None where one lies among the others.

    >>> ordered(np.array([[1.0, 1], [0, 0], [0, 1], [1, 0]])).tolist()
    [[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]]
    """
    x, y = (corners_42 - corners_42.mean(0)).T
    turned = corners_42[np.argsort(np.arctan2(y, x), kind="stable")]
    edges = np.roll(turned, -1, 0) - turned
    if (_cross(edges, np.roll(edges, -1, 0)) < -TINY * np.abs(edges).max() ** 2).any():
        return None
    return np.roll(turned, -int(turned.sum(1).argmin()), 0)


def areas(corners_K42: Array) -> Array:
    """The area of each, [K]."""
    return _area(corners_K42 - corners_K42[:, :1])


# --- intersection over union -----------------------------------------------------------------------------------------


def iou(corners_42: Array, others_K42: Array) -> Array:
    """Intersection over union of one box with each of others, [K]."""
    shared = intersections(corners_42, others_K42)
    return shared / np.maximum(areas(corners_42[None]) + areas(others_K42) - shared, 1e-300)


def intersections(corners_42: Array, others_K42: Array) -> Array:
    """The area of the intersection of one box with each of others, [K]."""
    bounds_4, bounds_K4 = bounds(corners_42[None])[0], bounds(others_K42)
    near_K = ((bounds_4[:2] < bounds_K4[:, 2:]) & (bounds_K4[:, :2] < bounds_4[2:])).all(1)
    shared = np.zeros(len(others_K42))
    shared[near_K] = _intersections(corners_42, others_K42[near_K])
    return shared


def _intersections(corners_42: Array, others_K42: Array) -> Array:
    """Vertices of the intersection are the corners of one box inside the other, and the crossings of their edges."""
    unit = float(np.ptp(corners_42, 0).max()) or 1.0
    other_K42 = (others_K42 - corners_42[0]) / unit
    one_K42 = np.broadcast_to((corners_42 - corners_42[0]) / unit, other_K42.shape)
    crossings, crossed = _crossings(one_K42, other_K42)
    points = np.concatenate([one_K42, other_K42, crossings], 1)
    there = np.concatenate([_within(one_K42, other_K42), _within(other_K42, one_K42), crossed], 1)
    return _hulls(points, there) * unit**2


def _hulls(points_KP2: Array, there_KP: Flags) -> Array:
    """The area of the convex polygon of those points that are there, in any order, [K]."""
    count = np.maximum(there_KP.sum(1), 1)[:, None, None]
    offsets = points_KP2 - (points_KP2 * there_KP[..., None]).sum(1, keepdims=True) / count
    order = np.argsort(np.where(there_KP, np.arctan2(offsets[..., 1], offsets[..., 0]), np.inf), 1)
    offsets = np.take_along_axis(offsets, order[..., None], 1)
    offsets = np.where(np.take_along_axis(there_KP, order, 1)[..., None], offsets, offsets[:, :1])  # closes it
    return _area(offsets)


def _area(offsets_KP2: Array) -> Array:
    """The area of polygons whose vertices are given from a point on or in them, [K]."""
    area: Array = np.abs(_cross(offsets_KP2, np.roll(offsets_KP2, -1, 1)).sum(1)) / 2
    return area


def _within(points_K42: Array, corners_K42: Array) -> Flags:
    """Which of four points lie in a box, [K, 4]."""
    edges = np.roll(corners_K42, -1, 1) - corners_K42
    turns = _cross(edges[:, None], points_K42[:, :, None] - corners_K42[:, None])
    inside: Flags = np.all(turns >= -TINY, axis=2)
    return inside


def _crossings(one_K42: Array, other_K42: Array) -> tuple[Array, Flags]:
    """Where the edges of two boxes cross, [K, 16, 2], and whether they do."""
    ours = (np.roll(one_K42, -1, 1) - one_K42)[:, :, None]
    theirs = (np.roll(other_K42, -1, 1) - other_K42)[:, None]
    apart = other_K42[:, None] - one_K42[:, :, None]
    turn = _cross(ours, theirs)
    slanted = np.abs(turn) > TINY  # parallel edges overlap in corners, which count anyway
    turn = np.where(slanted, turn, 1.0)
    along, beside = _cross(apart, theirs) / turn, _cross(apart, ours) / turn
    crossed: Flags = np.all([slanted, along >= 0, along <= 1, beside >= 0, beside <= 1], axis=0)
    points = one_K42[:, :, None] + along[..., None] * ours
    return points.reshape(-1, 16, 2), crossed.reshape(-1, 16)


def _cross(one: Array, other: Array) -> Array:
    product: Array = one[..., 0] * other[..., 1] - one[..., 1] * other[..., 0]
    return product


# --- regression ------------------------------------------------------------------------------------------------------


def rectangles(corners_K42: Array) -> tuple[Array, Array, Array]:
    """Centre [K, 2], sides [K, 2] and angle of the first side [K], clockwise in radians.

    For a quadrilateral that is not a rectangle, sides and angle are those of its midlines.
    """
    first, second, third, fourth = np.moveaxis(corners_K42, 1, 0)
    wide, high = (second + third - first - fourth) / 2, (third + fourth - first - second) / 2
    sides = np.maximum(np.stack([np.hypot(*wide.T), np.hypot(*high.T)], 1), SHORTEST)
    axis = wide / sides[:, :1] + np.stack([high[:, 1], -high[:, 0]], 1) / sides[:, 1:]
    return corners_K42.mean(1), sides, np.arctan2(axis[:, 1], axis[:, 0])


def to_values(corners_K42: Array) -> Array:
    """The regression targets [K, 7] of boxes in units of patches.

    Centre; mean of the sides' logarithms; their difference times cosine and sine of twice the angle; cosine and sine of
    four times the angle. Swapping the sides of a box and turning it by a quarter turn leaves the box the same, and all
    of these values (cf. the Gaussian of arXiv:2101.11952). So they are continuous where the angle wraps around or the
    longer side changes; the last two keep the orientation of a square.
    """
    centre, sides, angle = rectangles(corners_K42)
    logs = np.log(sides)
    longer = logs[:, 0] - logs[:, 1]
    form = [logs.mean(1), longer * np.cos(2 * angle), longer * np.sin(2 * angle), np.cos(4 * angle), np.sin(4 * angle)]
    return np.concatenate([centre, np.stack(form, 1)], 1)


def from_values(values_K7: npt.NDArray[np.floating]) -> Array:
    """The corners of boxes from regression values; logarithms of sides are clipped to -4 and 6."""
    x, y, size, even, odd, cosine, sine = np.asarray(values_K7, np.float64).T
    angle = np.arctan2(sine, cosine) / 4
    angle = angle + np.round((np.arctan2(odd, even) / 2 - angle) / (np.pi / 2)) * (np.pi / 2)
    longer = even * np.cos(2 * angle) + odd * np.sin(2 * angle)
    width, height = (np.exp(np.clip(size + part, -4, 6)) / 2 for part in (longer / 2, -longer / 2))
    across = np.stack([np.cos(angle), np.sin(angle)], 1) * width[:, None]
    down = np.stack([-np.sin(angle), np.cos(angle)], 1) * height[:, None]
    corners = np.stack([-across - down, across - down, across + down, down - across], 1)
    placed: Array = corners + np.stack([x, y], 1)[:, None]
    return placed
