"""Lists the lines of the package by file and holds them to the budget: `python -m tests.lines`."""

import sys
from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "groundup"
PACKAGE_BUDGET = 20_000  # non-blank lines when all of the path is there, from raw files to a model that is served
APPLICATIONS = ("apps/", "world/")  # what the path is put to: not part of it, and held to a budget of their own
APPLICATIONS_BUDGET = 4_000  # two of them
FILE_BUDGET = 450  # lines one file may have: more do not fit into a head
FORWARD = ("model/trunk.py", "model/shape.py", "model/loss.py")  # the dense forward pass, readable in one sitting
FORWARD_BUDGET = 450


def count(path: Path) -> int:
    """Non-blank lines."""
    return sum(bool(line.strip()) for line in path.read_text(encoding="utf-8").splitlines())


def main() -> int:
    """Print the list; returns 1 when a budget is exceeded."""
    lines = {str(path.relative_to(PACKAGE)): count(path) for path in sorted(PACKAGE.rglob("*.py"))}
    for name, number in lines.items():
        print(f"{number:6} {name}")
    applied = sum(number for name, number in lines.items() if name.startswith(APPLICATIONS))
    total, forward = sum(lines.values()) - applied, sum(lines[name] for name in FORWARD)
    print(f"{total:6} in the path, of {PACKAGE_BUDGET:,}; the dense forward pass {forward}, of {FORWARD_BUDGET}")
    print(f"{applied:6} in applications, of {APPLICATIONS_BUDGET:,}")
    broken = [name for name, number in lines.items() if number > FILE_BUDGET]
    if broken:
        print(f"over {FILE_BUDGET} lines: {', '.join(broken)}")
    return int(bool(broken) or total > PACKAGE_BUDGET or applied > APPLICATIONS_BUDGET or forward > FORWARD_BUDGET)


if __name__ == "__main__":
    sys.exit(main())
