"""Which thing to pick next, an assignment of things to the coming picks by worth and by when each can be reached; and
how fast they may come.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment

from groundup.apps.sorter.tracks import Track

AHEAD = 8  # picks that are planned
# of a thing's worth that its way through the reach costs, as nothing sees it there; it grows with the square: first
# come, first picked
EARLY = 0.1
SOON, SPARE = (
    0.5,
    1.5,
    # seconds until the first of those that wait is picked, and mean times of a pick that each takes, tries that fail
    # among
    # them
)


class Reach(NamedTuple):
    """Where things are picked (metres along the belt), how long until the first pick meets its thing, and from one to
    the next (seconds).
    """

    low: float
    high: float
    lead: float
    cycle: float


def choose(
    tracks: Sequence[Track], worth: Callable[[Track], float], places: Sequence[float], speed: float, reach: Reach
) -> Track | None:
    """The thing for the next pick, such that the worth of the next `AHEAD` picks is greatest; None where none is in
    reach by then.

    `places` (metres along the line) says where they are now, `speed` (m/s) how fast they come. The assignment is
    optimal (Jonker and Volgenant 1987, as SciPy solves it).
    """
    if not tracks:
        return None
    times = reach.lead + reach.cycle * np.arange(AHEAD)
    then = np.array(places)[:, None] + speed * times
    way = (then - reach.low) / (reach.high - reach.low)
    values = np.where(
        (way >= 0) & (way <= 1), np.array([[worth(track)] for track in tracks]) * (1 - EARLY * way**2), 0.0
    )
    rows, picks = linear_sum_assignment(values, maximize=True)
    first = [tracks[row] for row, pick in zip(rows, picks, strict=True) if pick == 0 and values[row, 0] > 0]
    return first[0] if first else None


def unhurried(places: Sequence[float], high: float, cycle: float) -> float:
    """The fastest belt (m/s) on which things at these places (metres along it) are all picked before `high`, the
    foremost first.

    `cycle` is the mean time of a pick (seconds).
    """
    times = SOON + SPARE * cycle * np.arange(1, len(places) + 1)
    return float(np.min((high - np.sort(places)[::-1]) / times, initial=np.inf))
