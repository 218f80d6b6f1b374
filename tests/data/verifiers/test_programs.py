"""Programs are judged by what their functions return, outside their reach."""

import pytest

from groundup.core import sandbox
from groundup.core.errors import InputError
from groundup.data.verifiers.programs import Call, calls_of, verify

pytestmark = pytest.mark.skipif(sandbox._lack() is not None, reason=f"no sandbox: {sandbox._lack()}")
RIGHT = "def double(x):\n    print('hello')\n    return x * 2\n"
EQUAL = "class Equal:\n  def __eq__(self, other): return True\n  def __repr__(self): return 'Equal()'"
CALLS = [Call("double(2)", 4), Call("double('ab')", "abab"), Call("double(0.1)", 0.2, 1e-6)]


def test_a_right_program_passes_whatever_it_prints() -> None:
    assert verify(RIGHT, CALLS).passed == 3


@pytest.mark.parametrize(
    ("program", "passed", "says"),
    [
        ("def double(x): return x + 2", 1, "double('ab'): TypeError"),
        ("import sys\nsys.exit(0)", 0, "3 calls returned nothing: exit code 0"),
        ("import os\nos._exit(0)", 0, "exit code 0"),
        ("def double(x): return x *", 0, "SyntaxError"),
        ("", 0, "NameError"),
        ("while True: print('x' * 9999)", 0, "it wrote too much"),
        (f"{EQUAL}\ndef double(x): return Equal()", 0, "another value"),
        ("import sys\nsys.stdout.write('4\\n')\nprint('\"4\"')\ndef double(x): raise ValueError", 0, "another value"),
        ("def double(x): return [double(x)]", 0, "RecursionError"),
        ("import builtins\nbuiltins.repr = lambda value: '[' * 9999\ndef double(x): return 1", 0, "another value"),
    ],
)  # fmt: skip
def test_a_wrong_program_fails_with_the_reason(program: str, passed: int, says: str) -> None:
    verdict = verify(program, CALLS, sandbox.Limits(seconds=30.0))
    assert verdict.passed == passed and verdict.calls == 3 and says in verdict.reason


def test_a_program_that_does_not_end_fails() -> None:
    assert verify("while True: pass", CALLS, sandbox.Limits(seconds=1.0)).reason == "it took too long"


def test_expected_values_are_nowhere_in_the_sandbox() -> None:
    """A program that searches its own process, its input and its files for the expected value finds none."""
    program = """
import gc, os, sys
def find(x):
    texts = [open(f"/given/{name}").read() for name in os.listdir("/given") if name != "program.py"]
    texts += [open(f"/proc/{pid}/cmdline").read() for pid in os.listdir("/proc") if pid.isdigit()]
    frame = sys._getframe()
    while frame:
        texts.append(repr(frame.f_locals)); frame = frame.f_back
    texts.append(repr([each for each in gc.get_objects() if isinstance(each, list)]))
    return any("31337" in text for text in texts)
"""
    assert verify(program, [Call("find(1)", False), Call("find(2)", 31337)]).passed == 1


def test_assertions_of_public_test_sets_become_calls() -> None:
    test = "assert candidate([1], k=2) == (1, -2.5)\nassert abs(candidate(3) - 0.5) < 1e-06\n"
    assert calls_of(test, "f", "t") == [Call("f([1], k=2)", (1, -2.5)), Call("f(3)", 0.5, 1e-06)]


@pytest.mark.parametrize(
    ("test", "says"),
    [
        ("x = 1", "asserts nothing"),
        ("assert candidate(1)", "does not compare a call with a literal"),
        ("assert candidate(1) == g(2)", "does not compare a call with a literal"),
        ("assert candidate(", "is no Python"),
    ],
)
def test_a_test_that_cannot_be_judged_outside_is_refused(test: str, says: str) -> None:
    with pytest.raises(InputError, match=f"task 7: .*{says}"):
        calls_of(test, "f", "task 7")
