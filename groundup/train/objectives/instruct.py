"""Instruction tuning: the loss mask keeps the assistant's tokens; all parameters train."""

from groundup.config.objective import Objective
from groundup.core.tables import OBJECTIVES

OBJECTIVES.add(
    "instruct",
    Objective(version=1, assistant_only=True, predicts_patches=False, completes=False, muon_lr=0.01, decay=0.6),
)
