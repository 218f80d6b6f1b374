"""The recipe's table `[evaluate]`."""

from typing import Annotated

from pydantic import AfterValidator

from groundup.config.base import Part, knob
from groundup.core.tables import SUITES


class EvaluatePart(Part):
    """What is measured on the trained model."""

    suites: tuple[Annotated[str, AfterValidator(SUITES.known)], ...] = knob(
        ("bits-per-byte",), "names", "evaluation suites to run"
    )
    per_family: int = knob(50, "instances", "held-out instances a task family and language", ge=1)
    choice: tuple[str, ...] = knob((), "paths", "multiple-choice JSONL files: question, choices, answer")
    questions: tuple[str, ...] = knob((), "paths", "JSONL files of your own questions: question, answer, match")
    programs: tuple[str, ...] = knob((), "paths", "JSONL files of programming tasks: prompt, entry_point, test")
    text: tuple[str, ...] = knob((), "paths", "text files to measure bits per byte and perplexity a word on")
    baselines: bool = knob(False, "flag", "gzip, xz and an n-gram model beside the bits per byte")
    validation_megabytes: float = knob(1.0, "MB", "held-out text a source for bits per byte", gt=0)
    prompts: tuple[str, ...] = knob((), "texts", "questions answered at the end of the run and in the report")

    @property
    def files(self) -> tuple[str, ...]:
        """The files that suites read."""
        return (*self.choice, *self.questions, *self.programs, *self.text)
