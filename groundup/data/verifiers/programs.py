"""Verifies a Python program by what its functions return, in the sandbox.

Only the calls enter the sandbox; the expected values are compared in this process. So a program cannot read them, and
neither its exit code nor its output counts.
"""

import ast
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from groundup.core import sandbox
from groundup.core.errors import InputError

# runs in the sandbox: returned values go to the real standard output, what the program prints to the standard errors
_HARNESS = """
import json, os, sys, types
results = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)
calls = json.loads(sys.stdin.readline())
names = {"__name__": "program"}
types.FunctionType(compile(open("/given/program.py").read(), "program.py", "exec"), names)()
for call in calls:
    try:
        value = repr(types.FunctionType(compile(call, "call", "eval"), names)())
    except Exception as error:
        value = None
        print(f"{call}: {type(error).__name__}: {error}", file=sys.stderr)
    results.write(json.dumps(value) + "\\n")
    results.flush()
"""
_NOTHING = object()


@dataclass(frozen=True)
class Call:
    """An expression that calls the program, and its expected value, a Python literal.

    `tolerance`: the largest difference of a number from the expected one.
    """

    expression: str
    expected: Any
    tolerance: float = 0.0

    def met_by(self, value: Any) -> bool:
        """Whether a value is the expected one."""
        try:
            return bool(abs(value - self.expected) < self.tolerance if self.tolerance else value == self.expected)
        except (TypeError, OverflowError, RecursionError):
            return False


@dataclass(frozen=True)
class Verdict:
    """How many of the calls returned the expected value, and the reason of the first that did not."""

    passed: int
    calls: int
    reason: str = ""


def calls_of(test: str, function: str, where: str) -> list[Call]:
    """The calls in a test's assertions (HumanEval, MBPP), `candidate` being `function`.

    An assertion compares a call with a literal: `candidate(...) == 3`, or `abs(candidate(...) - 0.5) < 1e-6`. Raises
    InputError for a test that is written in another way.
    """
    try:
        tree = ast.parse(test)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise InputError(f"{where}: the test is no Python ({error})") from None
    asserted = [node.test for node in ast.walk(tree) if isinstance(node, ast.Assert)]
    if not asserted:
        raise InputError(f"{where}: the test asserts nothing; write `assert {function}(…) == value`")
    return [_call(condition, function, where) for condition in asserted]


def _call(condition: ast.expr, function: str, where: str) -> Call:
    match condition:
        case ast.Compare(left=call, ops=[ast.Eq()], comparators=[literal]):
            tolerance = 0.0
        case ast.Compare(
            left=ast.Call(func=ast.Name("abs"), args=[ast.BinOp(left=call, op=ast.Sub(), right=literal)]),
            ops=[ast.Lt() | ast.LtE()],
            comparators=[ast.Constant(value=float(tolerance))],
        ):
            pass
        case _:
            call = literal = condition
    if (value := _literal(ast.unparse(literal))) is _NOTHING or call is literal:
        raise InputError(
            f"{where}: `assert {ast.unparse(condition)[:80]}` does not compare a call with a literal; such a test"
            " cannot be judged outside the program"
        )
    return Call(ast.unparse(_Renamed(function).visit(call)), value, tolerance)


class _Renamed(ast.NodeTransformer):
    def __init__(self, function: str):
        self.function = function

    def visit_Name(self, node: ast.Name) -> ast.Name:
        return ast.Name(self.function, node.ctx) if node.id == "candidate" else node


def verify(program: str, calls: Sequence[Call], limits: sandbox.Limits | None = None) -> Verdict:
    """Run a program and its calls in the sandbox, and compare what they return.

    Raises InputError where programs cannot be isolated: then none is run.
    """
    stdin = json.dumps([call.expression for call in calls]) + "\n"
    ran = sandbox.run(["python", "-c", _HARNESS], {"program.py": program}, stdin, limits)
    lines = ran.output.splitlines()[: len(calls)]
    values = [_value(line) for line in lines]
    wrong = [call for call, value in zip(calls, values, strict=False) if not call.met_by(value)]
    passed = len(values) - len(wrong)
    if passed == len(calls):
        return Verdict(passed, len(calls))
    return Verdict(passed, len(calls), _reason(ran, wrong, len(calls) - len(values)))


def _value(line: str) -> Any:
    """The value that a line of the harness says; nothing for one that is no literal."""
    try:
        written = json.loads(line)
    except (ValueError, RecursionError):
        return _NOTHING
    return _literal(written) if isinstance(written, str) else _NOTHING


def _literal(written: str) -> Any:
    try:
        return ast.literal_eval(written)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return _NOTHING


def _reason(ran: sandbox.Ran, wrong: Sequence[Call], missing: int) -> str:
    if ran.end == "time":
        return "it took too long"
    if ran.end == "output":
        return "it wrote too much"
    said = next(reversed(ran.errors.strip().splitlines()), "")
    if missing:
        return f"{missing} calls returned nothing: {said or f'exit code {ran.code}'}"[:300]
    return f"{wrong[0].expression} returned another value; {said}"[:300]
