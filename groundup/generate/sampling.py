"""Sampling: how the next token is chosen from the logits. Shapes: V vocabulary, N ids."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import Random

import torch
from torch import Tensor

from groundup.core.errors import InputError

NUCLEUS = 1024  # top_p is computed on so many likeliest ids; if their probability is too small, all ids are sorted
# largest temperature, and penalty or its inverse: larger ones have the same effect, and fp32 holds the result
EXTREME = 1e20


@dataclass(frozen=True)
class Sampling:
    """Greedy at temperature 0, or one too small for fp32; else a draw from softmax(logits / temperature).

    Filters: the `top_k` best ids (0: all), then the fewest whose probability reaches `top_p` (nucleus sampling,
    arXiv:1904.09751), then those with at least `min_p` of the best one's probability (arXiv:2407.01082); the best is
    always kept. Before that, `bias` is added; `repetition_penalty` divides positive and multiplies negative logits of
    ids in prompt and answer (arXiv:1909.05858); `presence_penalty` is subtracted once from each id of the answer,
    `frequency_penalty` once an occurrence. The same seed, number and logits give the same draws. Raises InputError for
    a value out of range.
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
    def adjusts_logits(self) -> bool:
        """Whether a bias or a penalty applies."""
        return bool(self.bias or self.repetition_penalty != 1 or self.presence_penalty or self.frequency_penalty)

    def random(self, number: int) -> Random:
        """The random number generator of one sequence, independent of the other sequences of a batch."""
        return Random(f"{self.seed}/{number}")

    def adjust(self, logits_V: Tensor, prompt: Sequence[int], answer: Sequence[int]) -> None:
        """Apply bias and penalties to logits, in place."""
        if self.bias:
            ids = torch.tensor(list(self.bias), device=logits_V.device)
            logits_V.index_add_(
                0, ids, torch.tensor(list(self.bias.values()), device=logits_V.device, dtype=logits_V.dtype)
            )
        if self.repetition_penalty != 1:
            ids = torch.tensor(sorted({*prompt, *answer}), device=logits_V.device)
            present = logits_V[ids]
            penalty = min(max(self.repetition_penalty, 1 / EXTREME), EXTREME)
            logits_V[ids] = torch.where(present > 0, present / penalty, present * penalty)
        if answer and (self.presence_penalty or self.frequency_penalty):
            counts = Counter(answer)
            penalties = [self.presence_penalty + self.frequency_penalty * count for count in counts.values()]
            logits_V[torch.tensor(list(counts))] -= torch.tensor(
                penalties, device=logits_V.device, dtype=logits_V.dtype
            )

    def sample(self, logits_V: Tensor, random: Random) -> int:
        """One id, drawn with the next random number; greedy sampling draws none."""
        if self.temperature == 0:
            return int(logits_V.argmax())
        unscaled_V, logits_V = logits_V, logits_V.float() / min(self.temperature, EXTREME)
        draw = random.random()
        if not logits_V.max().isfinite():
            return int(unscaled_V.argmax())
        if not self.top_k and self.top_p == 1:
            weights = (logits_V - logits_V.max()).exp()
            kept = torch.where(weights >= self.min_p, weights, 0.0)
            return _draw(kept, draw)
        best, ids = self._best(logits_V)
        weights = (best - best[0]).exp()
        if self.top_k:
            weights, ids = weights[: self.top_k], ids[: self.top_k]
            total = weights.sum()
        else:
            total = (logits_V - best[0]).exp().sum()
        above = weights.cumsum(-1) - weights  # total probability of the ids before this one
        kept = torch.where((above < self.top_p * total) & (weights >= self.min_p), weights, 0.0)
        kept[0] = weights[0]  # however small top_p is
        return int(ids[_draw(kept, draw)])

    def _best(self, logits_V: Tensor) -> tuple[Tensor, Tensor]:
        """The likeliest ids with their logits, sorted, as many as can be sampled."""
        count = min(self.top_k or NUCLEUS, len(logits_V))
        best, ids = logits_V.topk(count)
        if not self.top_k and count < len(logits_V):
            weight = (best - best[0]).exp().sum() / (logits_V - best[0]).exp().sum()
            if weight < self.top_p:
                best, ids = logits_V.sort(descending=True, stable=True)
        return best, ids


def _draw(weights_N: Tensor, draw: float) -> int:
    """The index where a draw in [0, 1) falls among weights."""
    sums = weights_N.double().cumsum(-1)
    index = int(torch.searchsorted(sums, draw * sums[-1], right=True))
    return min(index, int(weights_N.nonzero()[-1]))  # a draw that rounds up to the total


GREEDY = Sampling()
