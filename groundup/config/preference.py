"""The recipe's table of a preference loss."""

from typing import Literal

from pydantic import model_validator

from groundup.config.base import InvalidCombination, Part, knob


class PreferencePart(Part):
    """The loss of the objective "prefer" over pairs of a chosen and a rejected answer."""

    loss: Literal["dpo", "ipo", "simpo"] = knob(
        "dpo", "name", "dpo and ipo compare with the initial weights; simpo needs no second model in memory"
    )
    beta: float | None = knob(
        None, "factor", "of the log-probabilities; default: 0.1, for simpo 2; larger ones stay nearer the start", gt=0
    )
    label_smoothing: float = knob(
        0.0, "probability", "that a pair is labelled the wrong way round: conservative DPO", ge=0, lt=0.5
    )
    length_normalised: bool = knob(
        False,
        "flag",
        "log-probabilities a token instead of an answer, so that length is not rewarded; simpo's always are",
    )
    target_margin: float = knob(0.0, "nats", "by which simpo wants the chosen answer to lead", ge=0)

    @model_validator(mode="after")
    def _fitting(self) -> "PreferencePart":
        if self.label_smoothing and self.loss == "ipo":
            raise InvalidCombination(
                ("label_smoothing",), "ipo has no label smoothing; set loss to dpo, or take it out"
            )
        if self.target_margin and self.loss != "simpo":
            raise InvalidCombination(
                ("target_margin",), f"a target margin is simpo's alone, and loss is {self.loss}; take it out"
            )
        if self.length_normalised and self.loss == "simpo":
            raise InvalidCombination(("length_normalised",), "simpo is always normalised by length; take it out")
        return self

    @property
    def scale(self) -> float:
        """Beta, its default filled in."""
        return self.beta if self.beta is not None else {"dpo": 0.1, "ipo": 0.1, "simpo": 2.0}[self.loss]

    @property
    def compares(self) -> bool:
        """Whether the loss compares with the initial weights."""
        return self.loss != "simpo"
