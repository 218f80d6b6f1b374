"""Verifies an arithmetic expression: its exact value, and the numbers that it uses (the game "countdown")."""

import ast
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction

LONGEST = 200  # characters of an expression
_SIGNS = str.maketrans({"×": "*", "·": "*", "÷": "/", "−": "-", "（": "(", "）": ")", "[": "(", "]": ")"})
_OPERATIONS: Mapping[type[ast.operator], Callable[[Fraction, Fraction], Fraction]] = {
    ast.Add: lambda a, b: a + b,
    ast.Sub: lambda a, b: a - b,
    ast.Mult: lambda a, b: a * b,
    ast.Div: lambda a, b: a / b,
}


def countdown(answer: str, numbers: Sequence[int], target: int) -> bool:
    """Whether an answer is an expression of +, -, *, / and brackets that uses each number once and equals the target.

    "= target" may stand behind it. Divisions are exact.
    """
    written = answer.strip().translate(_SIGNS)
    left, equals, right = written.partition("=")
    if equals and right.strip() != str(target):
        return False
    try:
        value, used = evaluate(left)
    except ValueError:
        return False
    return value == target and Counter(used) == Counter(numbers)


def evaluate(written: str) -> tuple[Fraction, list[int]]:
    """The exact value of an expression, and the whole numbers in it. Raises ValueError for anything else."""
    if len(written) > LONGEST:
        raise ValueError(f"an expression of more than {LONGEST} characters")
    try:
        tree = ast.parse(written.strip(), mode="eval")
    except (SyntaxError, RecursionError, MemoryError) as error:
        raise ValueError(f"no expression: {error}") from None
    used: list[int] = []
    try:
        return _value(tree.body, used), used
    except ZeroDivisionError:
        raise ValueError("a division by zero") from None


def _value(node: ast.expr, used: list[int]) -> Fraction:
    match node:
        case ast.Constant(value=int(number)) if type(number) is int:
            used.append(number)
            return Fraction(number)
        case ast.BinOp(left=left, op=operator, right=right) if type(operator) in _OPERATIONS:
            return _OPERATIONS[type(operator)](_value(left, used), _value(right, used))
    raise ValueError(f"{ast.unparse(node)!r} is no whole number and no +, -, * or / of two")
