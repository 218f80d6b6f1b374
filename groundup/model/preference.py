"""Losses over pairs of answers, of which one is preferred. Shapes: P pairs; 2: chosen, rejected.

DPO: arXiv:2305.18290; conservative: its authors' note with label smoothing; IPO: arXiv:2310.12036; SimPO:
arXiv:2405.14734.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def log_ratios(logs_P2: Tensor, reference_P2: Tensor | None, tokens_P2: Tensor | None) -> Tensor:
    """Log-probabilities of the answers less the reference's, [P, 2]; divided by their numbers of tokens, if given."""
    ratios_P2 = logs_P2 if reference_P2 is None else logs_P2 - reference_P2
    return ratios_P2 if tokens_P2 is None else ratios_P2 / tokens_P2


def margins(ratios_P2: Tensor, beta: float) -> Tensor:
    """Beta times the lead of the chosen answer, [P]."""
    return beta * (ratios_P2[:, 0] - ratios_P2[:, 1])


def logistic(margins_P: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """DPO's loss of each pair, [P], and SimPO's with the margin less its target; in nats."""
    return -(1 - label_smoothing) * F.logsigmoid(margins_P) - label_smoothing * F.logsigmoid(-margins_P)


def squared(margins_P: Tensor, beta: float) -> Tensor:
    """IPO's loss of each pair, [P]: the squared distance of the log-ratios' lead from 1 / (2 beta)."""
    return (margins_P / beta - 0.5 / beta).square()


def pair_sums(values_N: Tensor, answer_N: Tensor, pairs: int) -> Tensor:
    """Sums over the tokens of each answer, [P, 2]; `answer_N` is a token's pair times 2, plus 1 if it is rejected."""
    sums = torch.zeros(2 * pairs, dtype=torch.float32, device=values_N.device)
    return sums.index_add(0, answer_N, values_N.float()).view(pairs, 2)
