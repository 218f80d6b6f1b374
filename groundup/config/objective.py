"""A training objective: the loss mask, image objective and default schedule that it declares."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Objective:
    """The loss mask of tokens and patches, and the default schedule.

    The loss of a stage is the sum over tokens of weight times cross-entropy, plus the image losses of patches
    (`train/loss_module.py`). `version` is raised when training on the same batches gives other model weights.
    """

    version: int
    assistant_only: bool  # the loss mask keeps only the assistant's tokens; else every token
    predicts_patches: bool  # patches of images are predicted, next or masked as the stage's `images` says
    completes: bool  # samples during training continue the prompts as text; else they answer them in the chat template
    muon_lr: float  # default peak learning rate of Muon
    decay: float  # default fraction of the steps in which the learning rate falls
    pairs: bool = False  # it learns from pairs of a chosen and a rejected answer, and compares with the initial weights
