"""The loss over packed preference pairs. Shapes: B rows, T tokens, N supervised tokens, P pairs, D width.

The segments of a row are chosen and rejected answers in turn, each with its prompt before it.
"""

import torch
from torch import Tensor

from groundup.config.preference import PreferencePart
from groundup.model import preference
from groundup.model.losses import token_log_probabilities
from groundup.model.transformer import Transformer
from groundup.train.loss_module import LossModule, ModelInputs


class PreferenceLoss(LossModule):
    """A model with its loss over pairs; `reference` has the initial weights, which do not train.

    After a forward `figures` holds sums over its pairs: those in which the chosen answer leads (accuracy), the leads
    (margin), and by how many nats each answer's log-probability left the reference's (drift).
    """

    def __init__(self, model: Transformer, part: PreferencePart, reference: Transformer | None):
        super().__init__(model)
        self.part = part
        self._reference = (reference,)  # in a tuple: none of its weights is this module's

    def forward(self, inputs: ModelInputs) -> Tensor:
        """Sum over the pairs of their loss."""
        chosen_N = inputs.weights_BT.flatten().nonzero()[:, 0]
        answer_N, pairs = _answers(inputs.segments_BT, chosen_N)
        logs_P2 = preference.pair_sums(self._log_probabilities(self.model, inputs, chosen_N), answer_N, pairs)
        tokens_P2 = preference.pair_sums(torch.ones_like(chosen_N), answer_N, pairs)
        there_P = tokens_P2.amin(1) > 0  # a row has fewer pairs than the fullest one
        return self._loss(logs_P2, self._reference_logs(inputs, chosen_N, answer_N, pairs), tokens_P2, there_P)

    def _loss(self, logs_P2: Tensor, reference_P2: Tensor | None, tokens_P2: Tensor, there_P: Tensor) -> Tensor:
        part, drift_P2 = self.part, preference.log_ratios(logs_P2, reference_P2, None)
        per_token = part.length_normalised or not part.compares
        ratios_P2 = preference.log_ratios(logs_P2, reference_P2, tokens_P2.clamp(min=1) if per_token else None)
        margins_P = preference.margins(ratios_P2, part.scale)
        if part.loss == "ipo":
            loss_P = preference.squared(margins_P, part.scale)
        else:
            loss_P = preference.logistic(margins_P - part.target_margin, part.label_smoothing)
        sums = {"accuracy": (margins_P > 0).float(), "margin": margins_P}
        if reference_P2 is not None:
            sums |= {"drift of chosen": drift_P2[:, 0], "drift of rejected": drift_P2[:, 1]}
        self.figures = {name: (each.detach() * there_P).sum() for name, each in sums.items()}
        return (loss_P * there_P).sum()

    @torch.no_grad()
    def _reference_logs(self, inputs: ModelInputs, chosen_N: Tensor, answer_N: Tensor, pairs: int) -> Tensor | None:
        (reference,) = self._reference
        if reference is None:
            return None
        return preference.pair_sums(self._log_probabilities(reference, inputs, chosen_N), answer_N, pairs)

    def _log_probabilities(self, model: Transformer, inputs: ModelInputs, chosen_N: Tensor) -> Tensor:
        x_ND = self.states(model, inputs)[chosen_N]
        return token_log_probabilities(x_ND, model.lm_head.weight, inputs.targets_BT.flatten()[chosen_N])


def _answers(segments_BT: Tensor, chosen_N: Tensor) -> tuple[Tensor, int]:
    """The answer of each supervised token, counted over the rows, and the number of pairs that rows have room for."""
    most = int(segments_BT.max().item()) // 2 + 1
    row_N = chosen_N // segments_BT.shape[1]
    return segments_BT.flatten()[chosen_N] + 2 * most * row_N, most * len(segments_BT)


def reference_of(model: Transformer) -> Transformer:
    """Make a model the reference: its matrices in the precision that they are multiplied in, no gradients."""
    for parameter in model.eval().requires_grad_(False).parameters():
        if parameter.dim() > 1:
            parameter.data = parameter.data.to(model.precision)
    return model
