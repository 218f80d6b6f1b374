"""A figure: a value with its 95 % interval and its number of cases."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

Z = 1.959963984540054  # standard normal quantile of 97.5 %


@dataclass(frozen=True)
class Figure:
    """A value, the ends of its 95 % interval (None for a single case or a method without one) and n cases."""

    value: float
    low: float | None
    high: float | None
    n: int

    def as_dict(self) -> dict[str, Any]:
        """The fields by name, for JSON."""
        return asdict(self)


def proportion(successes: int, n: int) -> Figure:
    """A fraction of successes with Wilson's score interval (1927), which also holds near 0 and 1 and for small n."""
    fraction = successes / n
    centre = (fraction + Z**2 / (2 * n)) / (1 + Z**2 / n)
    half = Z / (1 + Z**2 / n) * math.sqrt(fraction * (1 - fraction) / n + Z**2 / (4 * n**2))
    return Figure(fraction, min(fraction, max(0.0, centre - half)), max(fraction, min(1.0, centre + half)), n)


def mean(figures: Sequence[Figure]) -> Figure:
    """The plain mean of independent figures; its interval comes from theirs (MOVER; Zou and Donner 2008)."""
    count = len(figures)
    value = sum(figure.value for figure in figures) / count
    below = math.hypot(*(figure.value - figure.low for figure in figures if figure.low is not None)) / count
    above = math.hypot(*(figure.high - figure.value for figure in figures if figure.high is not None)) / count
    return Figure(value, value - below, value + above, sum(figure.n for figure in figures))


def ratio(amounts: Sequence[float], sizes: Sequence[float]) -> Figure:
    """Total amount by total size, with the interval of the ratio estimator (Cochran 1977, 6.4); cases are documents."""
    count, size = len(sizes), sum(sizes)
    value = sum(amounts) / size
    if count == 1:
        return Figure(value, None, None, 1)
    squares = sum((amount - value * part) ** 2 for amount, part in zip(amounts, sizes, strict=True))
    half = Z * math.sqrt(squares * count / (count - 1)) / size
    return Figure(value, value - half, value + half, count)
