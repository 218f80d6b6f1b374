"""The recipe's table of a training stage."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from groundup.config.base import NAME, Part, knob
from groundup.core.tables import OBJECTIVES


class StagePart(Part):
    """One training stage: an objective, its data and how to optimise."""

    do: Annotated[str, AfterValidator(OBJECTIVES.known)] = knob(
        ..., "name", "pretrain: every token counts; instruct: only the assistant's"
    )
    name: str | None = knob(
        None, "name", "name of the stage's folder; the objective's name when left out", pattern=NAME
    )
    tokens: int = knob(..., "tokens", "how much to train", ge=1)
    mix: dict[str, Annotated[float, Field(gt=0)]] = knob(
        ..., "source: weight", "shares of the tokens seen", min_length=1
    )
    batch_tokens: int | None = knob(None, "tokens", "tokens a step, all processes together", ge=8)
    micro_tokens: int | None = knob(
        None, "tokens", "tokens a forward on one process: less needs less memory, the numbers stay", ge=8
    )
    muon_lr: float | None = knob(None, "rate", "peak rate of Muon, for the matrices of the blocks", gt=0)
    adamw_lr: float | None = knob(None, "rate", "peak rate of AdamW, for embedding, head and norms", gt=0)
    weight_decay: float | None = knob(None, "rate", "pull towards zero, on matrices only", ge=0)
    clip: float | None = knob(None, "norm", "largest norm of the whole gradient", gt=0)
    warmup: float | None = knob(None, "share", "of the steps, rate rising from zero", ge=0, le=1)
    decay: float | None = knob(
        None, "share", "of the steps, rate falling to zero; between them it is stable", ge=0, le=1
    )
    augment: float = knob(
        0.0,
        "strength",
        "of random crops, colours, erasing and mixing, 0 to 1: for few images, seen often",
        ge=0,
        le=1,
    )
    mirror: bool = knob(
        False,
        "flag",
        "half of the images are mirrored, whatever augment is: not where that changes the class, as of digits",
    )
    images: Literal["next", "masked"] = knob(
        "next", "name", "how pre-training learns from images: predict the next patch, or hidden ones"
    )
    recompute: bool = knob(False, "flag", "gradient checkpointing: a third more work, far less memory")
    checkpoint_steps: int = knob(200, "steps", "between checkpoints: the most work a crash can cost", ge=1)
    keep: int = knob(2, "checkpoints", "last ones kept; the one before serves when the last is damaged", ge=1)
    sample_steps: int = knob(500, "steps", "between samples of the model's text; 0 for none", ge=0)
    validate_steps: int = knob(250, "steps", "between looks at the held-out loss; 0 for none", ge=0)

    @property
    def title(self) -> str:
        """Name of the stage and of its folder."""
        return self.name or self.do
