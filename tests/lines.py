"""Lists the lines of the package by file and holds them to the budget: `python -m tests.lines`."""

import re
import sys
from collections import Counter
from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "groundup"
PACKAGE_BUDGET = 28_000  # non-blank lines: two thirds of the path take 23,100, each further part about 1,200
APPLICATIONS = "apps"  # what the path is put to: not part of it
APPLICATION_BUDGET = 4_000  # each
FILE_BUDGET = 450  # lines one file may have: more do not fit into a head
FORWARD_BUDGET = 450  # the dense forward pass: all that transformer.py imports from model/, but for images


def count(path: Path) -> int:
    """Non-blank lines."""
    return sum(bool(line.strip()) for line in path.read_text(encoding="utf-8").splitlines())


def forward_modules(name: str = "model/transformer.py") -> set[str]:
    """The modules of the dense forward pass: this one, and all that it imports from model/ but for model/vision."""
    imports = re.findall(r"^from groundup\.(model\.\w+) import", (PACKAGE / name).read_text(encoding="utf-8"), re.M)
    found = {f"{module.replace('.', '/')}.py" for module in imports if module != "model.vision"}
    return {name}.union(*map(forward_modules, found))


def main() -> int:
    """Print the list; returns 1 when a budget is exceeded."""
    lines = {str(path.relative_to(PACKAGE)): count(path) for path in sorted(PACKAGE.rglob("*.py"))}
    for name, number in lines.items():
        print(f"{number:6} {name}")
    spine = sum(number for name, number in lines.items() if not name.startswith(APPLICATIONS))
    applied: Counter[str] = Counter()
    for name, number in lines.items():
        if name.startswith(APPLICATIONS) and name.count("/") > 1:
            applied[name.split("/")[1]] += number
    forward = sum(lines[name] for name in forward_modules())
    print(f"{spine:6} in the spine, of {PACKAGE_BUDGET:,}; the dense forward pass {forward}, of {FORWARD_BUDGET}")
    for name, number in applied.items():
        print(f"{number:6} in apps/{name}, of {APPLICATION_BUDGET:,}")
    broken = [name for name, number in lines.items() if number > FILE_BUDGET]
    if broken:
        print(f"over {FILE_BUDGET} lines: {', '.join(broken)}")
    over = spine > PACKAGE_BUDGET or forward > FORWARD_BUDGET or max(applied.values()) > APPLICATION_BUDGET
    return int(bool(broken) or over)


if __name__ == "__main__":
    sys.exit(main())
