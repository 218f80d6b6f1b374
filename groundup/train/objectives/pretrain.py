"""Pre-training: every token is a target; of images, the next patch or masked patches are predicted.

The loss itself is computed in `train/loss_module.py`, the image targets in `train/patch_objective.py`.
"""

from groundup.config.objective import Objective
from groundup.core.tables import OBJECTIVES

OBJECTIVES.add(
    "pretrain",
    Objective(version=1, assistant_only=False, predicts_patches=True, completes=True, muon_lr=0.02, decay=0.4),
)
