"""What a training objective declares."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Objective:
    """How the tokens and patches of a batch are weighted in the loss, and the schedule that suits it.

    The loss of a stage is the sum of weight times negative log-likelihood, over tokens, and of the image losses, over
    patches (`train/loss_module.py`). `version` is raised when the same batches come to other weights.
    """

    version: int
    assistant_only: bool  # the loss mask keeps the assistant's tokens alone; else every token counts
    predicts_patches: bool  # images are learnt from as the stage's `images` says
    completes: bool  # samples while training continue the prompts as text; else they answer them
    muon_lr: float  # default of the peak rate
    decay: float  # default of the fraction of the steps in which the rate falls
