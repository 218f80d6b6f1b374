"""The recipe's table of a training stage."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from groundup.config.base import NAME, Part, knob
from groundup.config.preference import PreferencePart
from groundup.core.tables import OBJECTIVES


class StagePart(Part):
    """One training stage: an objective, its data and how to optimise."""

    do: Annotated[str, AfterValidator(OBJECTIVES.known)] = knob(
        ...,
        "name",
        "objective; pretrain: every token is in the loss; instruct: only the assistant's; prefer: pairs of answers",
    )
    name: str | None = knob(None, "name", "name of the stage's folder; default: the objective's name", pattern=NAME)
    tokens: int = knob(..., "tokens", "length of the training", ge=1)
    mix: dict[str, Annotated[float, Field(gt=0)]] = knob(
        ..., "source: weight", "fraction of the training tokens from each source", min_length=1
    )
    batch_tokens: int | None = knob(None, "tokens", "tokens a step, all processes together", ge=8)
    micro_tokens: int | None = knob(
        None, "tokens", "tokens a forward on one process; less needs less memory and gives the same result", ge=8
    )
    muon_lr: float | None = knob(None, "rate", "peak learning rate of Muon, for the matrices of the blocks", gt=0)
    adamw_lr: float | None = knob(None, "rate", "peak learning rate of AdamW, for embedding, head and norms", gt=0)
    weight_decay: float | None = knob(None, "rate", "decoupled weight decay, of matrices only", ge=0)
    clip: float | None = knob(
        None, "norm", "largest norm of the gradient of all parameters; larger ones are clipped", gt=0
    )
    warmup: float | None = knob(None, "fraction", "of the steps in which the learning rate rises from zero", ge=0, le=1)
    decay: float | None = knob(
        None, "fraction", "of the steps in which the rate falls to zero; before, it is constant", ge=0, le=1
    )
    augment: float = knob(
        0.0,
        "strength",
        "of random crops, colours, erasing and mixing, 0 to 1: for few images that are read often",
        ge=0,
        le=1,
    )
    mirror: bool = knob(
        False,
        "flag",
        "mirrors half of the images, whatever augment is; not if that changes the class, as of digits",
    )
    affine: float | None = knob(
        None,
        "strength",
        "of random rotations, shifts and scales of images without boxes, 0 to 1; default: 0.2 if instruct learns from"
        " small pictures alone, else 0",
        ge=0,
        le=1,
    )
    images: Literal["next", "masked"] = knob(
        "next", "name", "image objective of pre-training: predict the next patch, or masked patches"
    )
    optimizer: Literal["muon", "adamw"] | None = knob(
        None, "name", "of the matrices: muon, or adamw, which costs less where batches are small; adamw has the rest"
    )
    blocks: int | None = knob(
        None,
        "blocks",
        "into which the parameters are divided to train in turn, all in little memory (BAdam): weights in bf16,"
        " gradients and optimiser state of one block; 1: all at once in fp32",
        ge=1,
        le=4096,
    )
    block_steps: int | None = knob(None, "steps", "of one block, before the next one trains", ge=1)
    preference: PreferencePart | None = knob(None, "table", "the loss of the objective prefer; default: DPO")
    recompute: bool = knob(False, "flag", "gradient checkpointing: a third more compute, far less memory")
    checkpoint_steps: int = knob(200, "steps", "between checkpoints; a crash loses at most so many", ge=1)
    keep: int = knob(2, "checkpoints", "number kept; if the last one is damaged, the one before is used", ge=1)
    sample_steps: int = knob(500, "steps", "between generated samples in the log; 0: none", ge=0)
    validate_steps: int = knob(250, "steps", "between measurements of the held-out loss; 0: none", ge=0)

    @property
    def title(self) -> str:
        """Name of the stage and of its folder."""
        return self.name or self.do
