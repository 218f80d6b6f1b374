"""Pre-training: every token is a target, and images are learnt from by the patches to come or hidden ones."""

from groundup.config.objective import Objective
from groundup.core.tables import OBJECTIVES

OBJECTIVES.add(
    "pretrain",
    Objective(version=1, assistant_only=False, predicts_patches=True, completes=True, muon_lr=0.02, decay=0.4),
)
