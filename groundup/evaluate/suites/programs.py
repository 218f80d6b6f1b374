"""Suite: programming tasks in the format of HumanEval (arXiv:2107.03374); programs run only in the sandbox."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from groundup.core import sandbox, units
from groundup.core.errors import InputError
from groundup.core.tables import SUITES
from groundup.data.verifiers.programs import Call, calls_of, verify
from groundup.evaluate.display import Cell, Display, Headline, Table, interval
from groundup.evaluate.exact_match import MISTAKES, Case, cells
from groundup.evaluate.figure import Figure, proportion
from groundup.evaluate.prompts import answer, prompt_of_question
from groundup.evaluate.questions import records, text
from groundup.evaluate.suite import Advance, Suite, SuiteInputs, ignored
from groundup.generate.engine import Engine

LONGEST = 512  # tokens of an answer
_FENCED = re.compile(r"^```(?:python|py)?[ \t]*\n(.*?)^```", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class ProgrammingTask:
    """The beginning of a program, the function that it defines, and calls of it with their expected values."""

    prompt: str
    function: str
    calls: list[Call]


@dataclass(frozen=True)
class Solved:
    """The fraction solved by one greedy answer each (pass@1), and a few programs that failed with the reason."""

    solved: Figure
    mistakes: list[Case]


@dataclass(frozen=True)
class Programs:
    """The result, by file."""

    programs: dict[str, Solved] = field(default_factory=dict)


# --- measuring ---------------------------------------------------------------------------------------------------


def measure(inputs: SuiteInputs) -> Programs:
    """Solve the files that the recipe names."""
    files = inputs.paths(inputs.options.programs)
    return Programs({path: solve(inputs.engine, file, inputs.advance) for path, file in files.items()})


def solve(engine: Engine, path: Path, advance: Advance = ignored) -> Solved:
    """Generate a program for each task and verify its calls. Raises as `read`, and InputError without a sandbox."""
    sandbox.require()
    tasks = read(path)
    prompts = [prompt_of_question(engine, f"Complete this program:\n```python\n{task.prompt}```") for task in tasks]
    answers = answer(engine, prompts, LONGEST, advance)
    return judged(tasks, answers)


def judged(tasks: Sequence[ProgrammingTask], answers: Sequence[str]) -> Solved:
    """Run each answer's program in the sandbox; a task is solved if all calls return the expected values."""
    wrong = []
    for task, given in zip(tasks, answers, strict=True):
        verdict = verify(program_of(task, given), task.calls)
        if verdict.passed < verdict.calls:
            passed = f"{verdict.passed} of {verdict.calls} calls right: {verdict.reason}"
            wrong.append(Case(task.prompt, passed, given))
    return Solved(proportion(len(tasks) - len(wrong), len(tasks)), wrong[:MISTAKES])


def program_of(task: ProgrammingTask, given: str) -> str:
    """The program of an answer: its first fenced block, or all of it, after the prompt unless it is a whole program."""
    fenced = _FENCED.search(given)
    written = fenced[1] if fenced else given
    return written if re.search(rf"^\s*def {task.function}\b", written, re.MULTILINE) else task.prompt + written


def read(path: Path) -> list[ProgrammingTask]:
    """The tasks of a file, in Python. Raises InputError that names a wrong line, or for an empty or missing file.

    A line: {"prompt": beginning of the program, "entry_point": its function, "test": assertions about `candidate`}.
    """
    return [_task(value, where) for where, value in records(path, None, "programming tasks")]


def _task(value: dict[str, Any], where: str) -> ProgrammingTask:
    if (language := value.get("language", "python")) != "python":
        raise InputError(f"{where}: 'language' is {language!r}; programs in Python alone can be run")
    prompt, function, test = (_code(value, key, where) for key in ("prompt", "entry_point", "test"))
    if not function.isidentifier():
        raise InputError(f"{where}: 'entry_point' must be the name of a function, found {function[:60]!r}")
    return ProgrammingTask(prompt, function, calls_of(test, function, where))


def _code(value: dict[str, Any], key: str, where: str) -> str:
    """A text without normalisation, which would change a program."""
    text(value, key, where)
    return str(value[key])


# --- display -----------------------------------------------------------------------------------------------------


def display(result: Programs) -> Display:
    """A headline and a row a file."""
    entries = result.programs.items()
    rows = [[Cell(path, verbatim=True), str(entry.solved.n), interval(entry.solved)] for path, entry in entries]
    headline = [
        Headline(f"Programs solved, {path}", units.percent(entry.solved.value), f"{entry.solved.n} tasks, pass@1")
        for path, entry in entries
    ]
    mistakes = [[Cell(path, verbatim=True), *cells(case)] for path, entry in entries for case in entry.mistakes]
    table = Table("Programming tasks: fraction solved by one greedy answer", ("file", ">tasks", ">solved"), rows)
    return Display(headline, [table], mistakes=mistakes)


SUITES.add("programs", Suite(1, Programs, measure, display, "evaluate.programs names no file"))
