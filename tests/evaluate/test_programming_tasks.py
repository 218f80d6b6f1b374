"""Programming tasks: what is read, which program an answer holds, and that it is judged by what it returns."""

import json
from pathlib import Path
from typing import Any

import pytest

from groundup.core import sandbox
from groundup.core.errors import InputError
from groundup.evaluate.display import Cell
from groundup.evaluate.suites import programs
from groundup.evaluate.suites.programs import ProgrammingTask, program_of
from groundup.generate.engine import Engine

needed = pytest.mark.skipif(sandbox._lack() is not None, reason=f"no sandbox: {sandbox._lack()}")
PROMPT = 'def add(a, b):\n    """Add two numbers."""\n'
LINE = {
    "task_id": "T/1",
    "prompt": PROMPT,
    "entry_point": "add",
    "test": "def check(candidate):\n    assert candidate(1, 2) == 3\n    assert candidate('a', 'b') == 'ab'\n",
}


def written(path: Path, *lines: Any) -> Path:
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines), encoding="utf-8")
    return path


@needed
def test_an_answer_is_right_if_all_calls_return_what_they_must(tmp_path: Path) -> None:
    tasks = programs.read(written(tmp_path / "t.jsonl", *[LINE] * 3))
    found = programs.judged(
        tasks, ["    return a + b", "```python\ndef add(a, b):\n    return a + b\n```", "    return 3"]
    )
    assert (found.solved.value, found.solved.n) == (2 / 3, 3)
    assert [case.expected for case in found.mistakes] == ["1 of 2 calls right: add('a', 'b') returned another value; "]


@pytest.mark.parametrize(
    ("answer", "program"),
    [
        ("    return 1", f"{PROMPT}    return 1"),
        ("def add(a, b): return 1", "def add(a, b): return 1"),
        ("Here it is:\n```python\nimport re\ndef add(x): return 1\n```\nIt adds.", "import re\ndef add(x): return 1\n"),
        ("```\n    return 1\n```", f"{PROMPT}    return 1\n"),
        ("```py\n    return 1", f"{PROMPT}```py\n    return 1"),
        ("", PROMPT),
    ],
)
def test_the_program_of_an_answer(answer: str, program: str) -> None:
    assert program_of(ProgrammingTask(PROMPT, "add", []), answer) == program


@needed
def test_a_model_that_writes_nothing_solves_nothing_and_is_displayed(engine: Engine, tmp_path: Path) -> None:
    found = programs.solve(engine, written(tmp_path / "t.jsonl", LINE))
    assert found.solved.value == 0.0
    display = programs.display(programs.Programs({"t.jsonl": found}))
    assert display.headline[0].title == "Programs solved, t.jsonl"
    assert display.tables[0].rows[0][0] == Cell("t.jsonl", verbatim=True)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"language": "java"}, "'language' is 'java'; programs in Python alone"),
        ({"prompt": None}, "'prompt' must be a text, found null"),
        ({"entry_point": "f(x)"}, "'entry_point' must be the name of a function"),
        ({"test": "assert True"}, "does not compare a call with a literal"),
    ],
)
def test_a_wrong_line_is_refused(tmp_path: Path, change: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=rf"t\.jsonl:2: .*{says}".replace("(", r"\(").replace(")", r"\)")):
        programs.read(written(tmp_path / "t.jsonl", LINE, LINE | change))


def test_without_a_sandbox_no_program_is_asked_for(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sandbox, "_lack", lambda: "none here")
    with pytest.raises(InputError, match="none is run: none here"):
        programs.solve(engine, written(tmp_path / "t.jsonl", LINE))
