"""Preference learning: of two answers to a prompt the chosen one becomes more probable than the rejected one."""

from groundup.config.objective import Objective
from groundup.core.tables import OBJECTIVES

OBJECTIVES.add(
    "prefer",
    Objective(
        version=1, assistant_only=True, predicts_patches=False, completes=False, muon_lr=0.001, decay=0.6, pairs=True
    ),
)
