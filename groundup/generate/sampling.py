"""How the next token is drawn from the scores.

Shapes: B rows, V vocabulary.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

import torch
from torch import Tensor

from groundup.errors import InputError


@dataclass(frozen=True)
class Sampling:
    """Greedy at temperature 0; else a draw from softmax(scores / temperature), narrowed first to the `top_k` best ids
    (0: all) and then to the fewest of these whose probability reaches `top_p` (nucleus sampling, arXiv:1904.09751).

    The same seed, prompts and scores give the same draws. Raises InputError for a value out of range.
    """

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name, allowed, range_ in (
            ("temperature", self.temperature >= 0, "0 (greedy) or more"),
            ("top_k", self.top_k >= 0, "0 (all ids) or more"),
            ("top_p", 0 < self.top_p <= 1, "above 0 and at most 1"),
        ):
            if not allowed:
                raise InputError(f"{name} is {getattr(self, name)}; it must be {range_}")

    def source(self, number: int) -> Random:
        """The random numbers of one prompt: its own, so that it is continued alike in whatever company."""
        return Random(f"{self.seed}/{number}")

    def choose(self, scores_BV: Tensor, sources: Sequence[Random]) -> list[int]:
        """One id for each row, drawn with the row's random numbers."""
        if self.temperature == 0:
            return scores_BV.argmax(-1).tolist()
        best_BK, ids_BK = scores_BV.float().topk(min(self.top_k or scores_BV.shape[1], scores_BV.shape[1]))
        shares_BK = (best_BK / self.temperature).softmax(-1)
        above_BK = shares_BK.cumsum(-1) - shares_BK  # probability of the ids before this one
        kept_BK = shares_BK * (above_BK < self.top_p)
        draws_B1 = torch.tensor([[source.random()] for source in sources], device=scores_BV.device, dtype=torch.float32)
        sums_BK = kept_BK.cumsum(-1)
        places_B1 = (sums_BK <= draws_B1 * sums_BK[:, -1:]).sum(-1, keepdim=True)
        last_B1 = (kept_BK > 0).sum(-1, keepdim=True) - 1  # a draw that rounds up to the whole sum
        return ids_BK.gather(1, places_B1.minimum(last_B1))[:, 0].tolist()
