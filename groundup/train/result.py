"""The typed result of a training stage, as its manifest stores it."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class TrainingResult:
    """Figures of a whole training."""

    parameters: dict[str, int]  # by group
    steps: int
    tokens: int
    flops: float
    loss: float | None  # of the last step; None where a crash lost all records of it
    heldout: dict[str, float]  # loss by source
    seconds: float
    tokens_per_second: float
    share_of_peak: float
    predicted_memory: int  # bytes
    peak_memory: int
    heldout_figures: dict[str, dict[str, float]] = field(default_factory=dict)  # beside the loss, by source
