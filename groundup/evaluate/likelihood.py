"""How surprised a model is by given ids, in nats.

Shapes: B rows, T tokens, D width, V vocabulary, N tokens that count.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from groundup.model.transformer import Transformer

TOKENS = 8192  # tokens, and patches, of one forward, padding included
SCORES = 1024  # positions at a time whose scores of all ids are in memory


@dataclass(frozen=True)
class Row:
    """A sequence of at most context + 1 ids, of which those from place `first` (1 or more) count."""

    ids: list[int]
    first: int


@torch.inference_mode()
def nats(model: Transformer, rows: Sequence[Row], advance: Callable[[int], None] = lambda done: None) -> list[float]:
    """-log p(ids[first:] | ids[:first]) of each row. `advance` is told of rows done."""
    sums = [0.0] * len(rows)
    for batch in batches([len(row.ids) for row in rows]):
        for number, value in zip(batch, _nats(model, [rows[number] for number in batch]), strict=True):
            sums[number] = value
        advance(len(batch))
    return sums


def batches(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Numbers of rows of these lengths, in batches of similar length and about TOKENS, longest first."""
    order = sorted(range(len(lengths)), key=lambda number: -lengths[number])
    while order:
        count = max(1, TOKENS // lengths[order[0]])
        yield order[:count]
        order = order[count:]


def _nats(model: Transformer, rows: list[Row]) -> list[float]:
    device, longest = model.device, max(len(row.ids) for row in rows)
    ids_BT = torch.tensor([row.ids + [0] * (longest - len(row.ids)) for row in rows], device=device)
    places_T = torch.arange(1, longest, device=device)
    first_B1 = torch.tensor([[row.first] for row in rows], device=device)
    length_B1 = torch.tensor([[len(row.ids)] for row in rows], device=device)
    counts_BT = (places_T >= first_B1) & (places_T < length_B1)
    # The padding stands behind, where a causal model does not see it.
    x_BTD = model(ids_BT[:, :-1], (places_T - 1).expand(len(rows), -1))
    nats_N = cross_entropy(model, x_BTD[counts_BT], ids_BT[:, 1:][counts_BT])
    sums_B = torch.zeros(len(rows), device=device).index_add_(0, counts_BT.nonzero()[:, 0], nats_N)
    return sums_B.tolist()


def cross_entropy(model: Transformer, x_ND: Tensor, targets_N: Tensor) -> Tensor:
    """-log p of each target, [N], fp32."""
    parts = [slice(start, start + SCORES) for start in range(0, len(x_ND), SCORES)]
    return torch.cat(
        [F.cross_entropy(model.logits(x_ND[part]).float(), targets_N[part], reduction="none") for part in parts]
    )
