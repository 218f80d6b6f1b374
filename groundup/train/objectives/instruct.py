"""Instruction tuning: the loss mask keeps only the assistant's tokens; all parameters train.

The loss itself is computed in `train/loss_module.py`; `data/batches.py` applies the mask (`weights`).
"""

from groundup.config.objective import Objective
from groundup.core.tables import OBJECTIVES

OBJECTIVES.add(
    "instruct",
    Objective(version=1, assistant_only=True, predicts_patches=False, completes=False, muon_lr=0.01, decay=0.6),
)
