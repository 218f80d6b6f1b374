"""Which thing to pick next: an assignment of things to the coming picks by what each is worth and when it can be reached."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment

from groundup.apps.sorter.tracks import Track

AHEAD = 8  # picks that are planned
EARLY = 0.1  # of a thing's worth that its way through the reach costs, as nothing sees it there; it grows with the square: first come, first picked


class Reach(NamedTuple):
    """Where things are picked (metres along the belt), how long until the first pick meets its thing, and from one to the next (seconds)."""

    low: float
    high: float
    lead: float
    cycle: float


def choose(tracks: Sequence[Track], worth: Callable[[Track], float], places: Sequence[float], speed: float, reach: Reach) -> Track | None:
    """The thing for the next pick, such that the worth of the next `AHEAD` picks is greatest; None where none is in reach by then.

    `places` (metres along the line) says where they are now, `speed` (m/s) how fast they come. The assignment is optimal (Jonker and
    Volgenant 1987, as SciPy solves it).
    """
    if not tracks:
        return None
    times = reach.lead + reach.cycle * np.arange(AHEAD)
    then = np.array(places)[:, None] + speed * times
    way = (then - reach.low) / (reach.high - reach.low)
    values = np.where((way >= 0) & (way <= 1), np.array([[worth(track)] for track in tracks]) * (1 - EARLY * way**2), 0.0)
    rows, picks = linear_sum_assignment(values, maximize=True)
    first = [tracks[row] for row, pick in zip(rows, picks, strict=True) if pick == 0 and values[row, 0] > 0]
    return first[0] if first else None
