"""How the next token is drawn from the scores.

Shapes: V vocabulary, N rows.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import Random

import torch
from torch import Tensor

from groundup.core.errors import InputError

NUCLEUS = 1024  # likeliest ids looked at for top_p; where they do not hold enough, all are sorted
# penalties above it or below its inverse do the same as these, and temperatures above it: fp32 holds what comes of them
EXTREME = 1e20


@dataclass(frozen=True)
class Sampling:
    """Greedy at temperature 0; else a draw from softmax(scores / temperature).

    The ids are narrowed first to the `top_k` best (0: all), then to the fewest of these whose probability reaches
    `top_p` (nucleus sampling, arXiv:1904.09751), then to those with at least `min_p` of the best one's probability
    (arXiv:2407.01082). Before all that the scores of ids that were there change: `repetition_penalty` divides positive
    and multiplies negative scores of all ids in the text (arXiv:1909.05858); `presence_penalty` is taken once from each
    id of the answer, `frequency_penalty` once for each time. `bias` is added to the scores of ids. The same seed,
    number and scores give the same draws. A temperature so small that fp32 cannot hold the divided scores is greedy,
    and the best id is always kept. Raises InputError for a value out of range.
    """

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    seed: int = 0
    bias: Mapping[int, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, allowed, range_ in (
            ("temperature", 0 <= self.temperature < float("inf"), "0 (greedy) or more"),
            ("top_k", self.top_k >= 0, "0 (all ids) or more"),
            ("top_p", 0 < self.top_p <= 1, "above 0 and at most 1"),
            ("min_p", 0 <= self.min_p < 1, "0 or more and below 1"),
            ("repetition_penalty", 0 < self.repetition_penalty < float("inf"), "above 0; 1 changes nothing"),
            ("presence_penalty", -100 <= self.presence_penalty <= 100, "between -100 and 100"),
            ("frequency_penalty", -100 <= self.frequency_penalty <= 100, "between -100 and 100"),
        ):
            if not allowed:
                raise InputError(f"{name} is {getattr(self, name)}; it must be {range_}")

    @property
    def shifts(self) -> bool:
        """Whether scores change before an id is chosen."""
        return bool(self.bias or self.repetition_penalty != 1 or self.presence_penalty or self.frequency_penalty)

    def source(self, number: int) -> Random:
        """The random numbers of one answer: its own, so that it is continued alike in whatever company."""
        return Random(f"{self.seed}/{number}")

    def shift(self, scores_V: Tensor, prompt: Sequence[int], answer: Sequence[int]) -> None:
        """Apply bias and penalties to scores, in place."""
        if self.bias:
            ids = torch.tensor(list(self.bias), device=scores_V.device)
            scores_V.index_add_(
                0, ids, torch.tensor(list(self.bias.values()), device=scores_V.device, dtype=scores_V.dtype)
            )
        if self.repetition_penalty != 1:
            ids = torch.tensor(sorted({*prompt, *answer}), device=scores_V.device)
            found = scores_V[ids]
            penalty = min(max(self.repetition_penalty, 1 / EXTREME), EXTREME)
            scores_V[ids] = torch.where(found > 0, found / penalty, found * penalty)
        if answer and (self.presence_penalty or self.frequency_penalty):
            counts = Counter(answer)
            taken = [self.presence_penalty + self.frequency_penalty * count for count in counts.values()]
            scores_V[torch.tensor(list(counts))] -= torch.tensor(taken, device=scores_V.device, dtype=scores_V.dtype)

    def choose(self, scores_V: Tensor, source: Random) -> int:
        """One id, drawn with the next random number; nothing is drawn greedily."""
        if self.temperature == 0:
            return int(scores_V.argmax())
        given_V, scores_V = scores_V, scores_V.float() / min(self.temperature, EXTREME)
        draw = source.random()
        if not scores_V.max().isfinite():
            return int(given_V.argmax())
        if not self.top_k and self.top_p == 1:
            shares = (scores_V - scores_V.max()).exp()
            kept = torch.where(shares >= self.min_p, shares, 0.0)
            return _drawn(kept, draw)
        best, ids = self._best(scores_V)
        shares = (best - best[0]).exp()
        if self.top_k:
            shares, ids = shares[: self.top_k], ids[: self.top_k]
            whole = shares.sum()
        else:
            whole = (scores_V - best[0]).exp().sum()
        above = shares.cumsum(-1) - shares  # weight of the ids before this one
        kept = torch.where((above < self.top_p * whole) & (shares >= self.min_p), shares, 0.0)
        kept[0] = shares[0]  # however small top_p is
        return int(ids[_drawn(kept, draw)])

    def _best(self, scores_V: Tensor) -> tuple[Tensor, Tensor]:
        """The likeliest ids with their scores, the best first, as many as can matter."""
        count = min(self.top_k or NUCLEUS, len(scores_V))
        best, ids = scores_V.topk(count)
        if not self.top_k and count < len(scores_V):
            weight = (best - best[0]).exp().sum() / (scores_V - best[0]).exp().sum()
            if weight < self.top_p:
                best, ids = scores_V.sort(descending=True, stable=True)
        return best, ids


def _drawn(weights_N: Tensor, draw: float) -> int:
    """The place where a draw in [0, 1) falls among weights."""
    sums = weights_N.double().cumsum(-1)
    place = int(torch.searchsorted(sums, draw * sums[-1], right=True))
    return min(place, int(weights_N.nonzero()[-1]))  # a draw that rounds up to the whole sum


GREEDY = Sampling()
