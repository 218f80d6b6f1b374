"""Nothing outside `groundup/apps/` imports an application or names one, comments and docstrings included."""

import re
from pathlib import Path

import groundup

PACKAGE = Path(groundup.__file__).parent
SUFFIXES = {".py", ".js", ".css", ".html", ".jinja", ".c"}
NAMES = re.compile(
    r"\b(apps\.\w+|sorters?|sorting line|robotics|robots?|simulators?|belts?|orders|waste)\b", re.IGNORECASE
)
LISTS_OF_WORDS = PACKAGE / "data" / "tasks" / "vocabulary.py"


def test_nothing_outside_apps_names_an_application() -> None:
    files = [path for path in PACKAGE.rglob("*") if path.suffix in SUFFIXES and "vendor" not in path.parts]
    named = [
        f"{path.relative_to(PACKAGE)}:{number}: {found[0]}"
        for path in files
        if PACKAGE / "apps" not in path.parents and path != LISTS_OF_WORDS
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if (found := NAMES.search(line))
    ]
    assert len(files) > 100 and named == []
