"""Pick planning: which item to pick next, by an assignment of items to the coming picks; and how fast the belt may
run.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment

from groundup.apps.sorter.tracker import Track

HORIZON = 8  # picks that are planned
# Fraction of its value that an item loses on its way through the arm's reach, where no camera sees it. The loss grows
# with the square of the way, so the first item to come is picked first.
DISCOUNT = 0.1
FIRST = 0.5  # seconds until the first waiting item is picked
SLACK = 1.5  # mean pick times that each waiting item takes, failed tries included


class PickWindow(NamedTuple):
    """The picking zone from low to high (metres along the belt), the time until the first pick meets its item, and the
    time from one pick to the next (seconds).
    """

    low: float
    high: float
    lead: float
    cycle: float


def choose(
    tracks: Sequence[Track],
    value: Callable[[Track], float],
    positions: Sequence[float],
    speed: float,
    window: PickWindow,
) -> Track | None:
    """Choose the item of the next pick, so that the total value of the next `HORIZON` picks is largest; None if no item
    is in the window by then.

    `positions` (metres along the line) are those of now, `speed` (m/s) is the belt's. The assignment is optimal (Jonker
    and Volgenant 1987, as SciPy solves it).
    """
    if not tracks:
        return None
    times = window.lead + window.cycle * np.arange(HORIZON)
    then = np.array(positions)[:, None] + speed * times
    way = (then - window.low) / (window.high - window.low)
    values = np.where(
        (way >= 0) & (way <= 1), np.array([[value(track)] for track in tracks]) * (1 - DISCOUNT * way**2), 0.0
    )
    rows, picks = linear_sum_assignment(values, maximize=True)
    first = [tracks[row] for row, pick in zip(rows, picks, strict=True) if pick == 0 and values[row, 0] > 0]
    return first[0] if first else None


def max_belt_speed(positions: Sequence[float], high: float, cycle: float) -> float:
    """The fastest belt (m/s) on which items at these positions (metres along it) are all picked before `high`, the
    foremost first.

    `cycle` is the mean time of a pick (seconds).
    """
    times = FIRST + SLACK * cycle * np.arange(1, len(positions) + 1)
    return float(np.min((high - np.sort(positions)[::-1]) / times, initial=np.inf))
