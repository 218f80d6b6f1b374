"""Files with something wrong: bytes changed, lost or repeated; in JSON a value of another kind, a key lost or twice."""

import json
import random
from typing import Any

INTERESTING = (
    b"\0",
    b"\xff",
    b"\xef\xbb\xbf",
    b"\n",
    b"\r",
    b'"',
    b"{",
    b"[" * 3000,
    b"9" * 5000,
    b"\xe2\x80\xa8",
    b"-",
    b"e",
)
VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**31, 2**63, -(2**63), 10**40, 1e308, -1e308, 0.5, 5e-324, float("nan"), float("inf"),
    "", "x", "\ud800", "\u2028", "\x1b[31m", "../../etc/passwd", "/etc/passwd", "a" * 3000, "NaN", "1",
    [], {}, [[]], [0], {"a": 1}, [None] * 50, {"": ""},
)  # fmt: skip


def mutated(data: bytes, draw: random.Random) -> bytes:
    """The data with one to four changes; JSON (whole, or a line of it) is changed as JSON half of the time."""
    for _ in range(draw.choice((1, 1, 1, 2, 4))):
        structured = _of_json(data, draw) if draw.random() < 0.5 else None
        data = _of_bytes(data, draw) if structured is None else structured
    return data


def _of_bytes(data: bytes, draw: random.Random) -> bytes:
    at, length = draw.randrange(len(data) + 1), draw.choice((1, 1, 2, 8, 64))
    match draw.randrange(6):
        case 0:
            return data[:at]
        case 1:
            return data[:at] + data[at + length :]
        case 2:
            return data[:at] + draw.choice(INTERESTING) + data[at + draw.choice((0, 1)) :]
        case 3:
            return data[:at] + data[max(0, at - length) : at] * draw.choice((2, 50)) + data[at:]
        case 4:
            return data[:at] + bytes(draw.randrange(256) for _ in range(length)) + data[at + length :]
        case _:
            bit = 1 << draw.randrange(8)
            return data[:at] + bytes(byte ^ bit for byte in data[at : at + 1]) + data[at + 1 :]


def _of_json(data: bytes, draw: random.Random) -> bytes | None:
    """JSON with another value somewhere, or None where the data holds no JSON."""
    lines = data.split(b"\n")
    number = draw.randrange(len(lines))
    for whole in (data, lines[number]):
        try:
            tree = json.loads(whole)
        except (ValueError, RecursionError):
            continue
        changed = json.dumps(_changed(tree, draw)).encode()
        return changed if whole is data else b"\n".join([*lines[:number], changed, *lines[number + 1 :]])
    return None


def _changed(tree: Any, draw: random.Random) -> Any:
    """The tree with one node replaced, lost or repeated."""
    if isinstance(tree, dict) and tree and draw.random() < 0.85:
        key = draw.choice(list(tree))
        match draw.randrange(8):
            case 0:
                return {name: value for name, value in tree.items() if name != key}
            case 1:
                return tree | {draw.choice(("", "x", key.upper(), key + " ", "__class__")): tree[key]}
            case _:
                return tree | {key: _changed(tree[key], draw)}
    if isinstance(tree, list) and tree and draw.random() < 0.85:
        at = draw.randrange(len(tree))
        if draw.randrange(8) == 0:
            return tree[:at] + tree[at : at + 1] * draw.choice((0, 2, 300)) + tree[at + 1 :]
        return [*tree[:at], _changed(tree[at], draw), *tree[at + 1 :]]
    return draw.choice(VALUES)
