"""Calibration: whether answers given with a probability are right as often as it says, and how far to trust them."""

from bisect import bisect
from collections.abc import Sequence
from dataclasses import dataclass

from groundup.evaluate.display import Row, interval
from groundup.evaluate.figure import Figure, proportion

TENTHS = tuple(tenth / 10 for tenth in range(10))  # lower ends of the bins of a reliability diagram
Judged = Sequence[tuple[float, bool]]
"""The probability of each answer, and whether it was right."""


@dataclass(frozen=True)
class ReliabilityBin:
    """The answers with a probability in one bin: the mean of it, and the fraction of them that is right."""

    probability: float
    right: Figure


@dataclass(frozen=True)
class Reliability:
    """The bins that are not empty, and the expected calibration error (Naeini et al. 2015): the mean distance of
    probability and fraction over all answers.
    """

    bins: list[ReliabilityBin]
    error: float

    @property
    def cases(self) -> int:
        """Number of answers."""
        return sum(each.right.n for each in self.bins)

    def rows(self) -> list[Row]:
        """Mean probability, number of answers and fraction that is right of each bin, for a display's table."""
        return [(f"{each.probability:.4f}", f"{each.right.n:,}", interval(each.right)) for each in self.bins]


def reliability(judged: Judged, edges: Sequence[float] = TENTHS) -> Reliability:
    """The reliability of answers; `edges` are the lower ends of the bins."""
    groups: list[list[tuple[float, bool]]] = [[] for _ in edges]
    for answer in judged:
        groups[bisect(edges, answer[0]) - 1].append(answer)
    bins = []
    for group in filter(None, groups):
        probabilities, right = zip(*group, strict=True)
        bins.append(ReliabilityBin(sum(probabilities) / len(group), proportion(sum(right), len(group))))
    error = sum(abs(each.probability - each.right.value) * each.right.n for each in bins) / max(len(judged), 1)
    return Reliability(bins, error)


def threshold(judged: Judged, least: float) -> float | None:
    """The lowest probability such that of the answers with at least that, a fraction of `least` is right even at the
    lower end of its 95 % interval (selective prediction; Geifman and El-Yaniv 2017); None where there is none.
    """
    found, right = None, 0
    ranked = sorted(judged, reverse=True)
    for count, (probability, correct) in enumerate(ranked, 1):
        right += correct
        last = count == len(ranked) or ranked[count][0] < probability  # equal ones go together
        if last and (proportion(right, count).low or 0.0) >= least:
            found = probability
    return found
