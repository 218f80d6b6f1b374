"""The tables of kinds: what they know before they import, what they refuse, and a plug-in through the command line."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from groundup.core.errors import InputError
from groundup.core.tables import SOURCES, SUITES, Table

ROOT = Path(__file__).parents[2]
PLUGIN = {
    "rhymes/source.py": '''
from collections.abc import Iterator
from pathlib import Path

from groundup.config.base import knob
from groundup.core.tables import SOURCES
from groundup.data.document import Document
from groundup.data.filtered import Filtered
from groundup.data.source import Source


WORDS = "river stone cloud lamp paper glass winter garden letter bridge".split()


class RhymesSource(Source):
    """Lines that rhyme."""

    count: int = knob(..., "lines", "how many to make", ge=1)

    def read(self, folder: Path, drops: Filtered) -> Iterator[Document]:
        for number in range(self.count):
            text = f"The {WORDS[number % 10]} and the {WORDS[number // 10 % 10]}."
            yield Document(self.name, f"line {number}", self.licence, text=text)


SOURCES.add("rhymes", RhymesSource)
''',
    "rhymes/suite.py": '''
from dataclasses import dataclass, field

from groundup.core.tables import SUITES
from groundup.evaluate.display import Display, Headline
from groundup.evaluate.suite import Suite, SuiteInputs


@dataclass(frozen=True)
class Letters:
    """Sources by the letters of their names."""

    letters: dict[str, int] = field(default_factory=dict)


def measure(inputs: SuiteInputs) -> Letters:
    return Letters({source.name: len(source.name) for source in inputs.sources})


def display(result: Letters) -> Display:
    return Display([Headline(f"letters of {name}", str(count)) for name, count in result.letters.items()])


SUITES.add("letters", Suite(1, Letters, measure, display, "no source"))
''',
    "rhymes/app.py": """
from groundup.core.tables import APPLICATIONS, Application

APPLICATIONS.add("poet", Application(commands="rhymes.commands", recipe={"poem": "rhymes.config:PoemPart"}))
""",
    "rhymes/commands.py": '''
import typer


def register(app: typer.Typer) -> None:
    @app.command()
    def recite() -> None:
        """Recite."""
        print("the cat sat on a mat")
''',
    "rhymes/config.py": '''
from groundup.config.base import knob
from groundup.config.recipe import ApplicationPart


class PoemPart(ApplicationPart):
    """A poem."""

    lines: int = knob(4, "lines", "of a poem", ge=1)
''',
    "rhymes-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: rhymes\nVersion: 1.0\n",
    "rhymes-1.0.dist-info/entry_points.txt": """\
[groundup.sources]
rhymes = rhymes.source
[groundup.suites]
letters = rhymes.suite
[groundup.applications]
poet = rhymes.app
""",
}
RECIPE = """\
name = "poems"
[[source]]
name = "cats"
kind = "rhymes"
count = 100
licence = "CC0-1.0"
heldout_share = 0.1
[tokenizer]
vocab_size = 300
[model]
depth = 1
width = 16
precision = "fp32"
context = 64
[[stage]]
do = "pretrain"
tokens = 256
batch_tokens = 128
mix = { cats = 1.0 }
[evaluate]
suites = ["letters", "bits-per-byte"]
[poem]
lines = 2
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A folder with an installed plug-in and a recipe that uses it."""
    for name, text in PLUGIN.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "poems.toml").write_text(RECIPE)
    return tmp_path


def groundup(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "groundup.cli", *arguments]
    path = f"{home}{os.pathsep}{ROOT}"
    return subprocess.run(command, cwd=home, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True)


@pytest.mark.slow
def test_a_plug_in_brings_a_source_a_suite_and_an_application(home: Path) -> None:
    made = groundup(home, "run", "poems.toml", "--until", "documents-cats", "--json", "--device", "cpu")
    assert made.returncode == 0, made.stderr
    assert json.loads(made.stdout.splitlines()[-1])["documents-cats"]["documents"] == 100
    assert groundup(home, "recite").stdout == "the cat sat on a mat\n"


@pytest.mark.parametrize(
    ("override", "says"),
    [
        (
            "source.cats.kind=guess",
            "known are boxes, images, messages, orders, preferences, python-library, rhymes, scenes",
        ),
        ("source.cats.count=0", "source.0.count: input should be greater than or equal to 1"),
        (
            "evaluate.suites=['guess']",
            "'guess' is none of bits-per-byte, boxes, choice, conversations, images, letters,",
        ),
        ("poem.line=3", "unknown key poem.line; known there: lines"),
    ],
)
def test_a_bad_value_of_a_plug_in_is_refused_as_any_other(home: Path, override: str, says: str) -> None:
    refused = groundup(home, "run", "poems.toml", "--dry-run", "--set", override)
    assert refused.returncode == 2
    assert says in refused.stdout + refused.stderr


def test_a_name_that_the_package_has_is_refused_with_both_modules(home: Path) -> None:
    points = home / "rhymes-1.0.dist-info/entry_points.txt"
    points.write_text("[groundup.sources]\ntext = rhymes.source\n")
    refused = groundup(home, "run", "poems.toml", "--dry-run")
    assert refused.returncode == 2
    assert "called 'text': of groundup.data.sources.text and of rhymes.source" in refused.stdout + refused.stderr


def test_names_are_known_before_anything_is_imported() -> None:
    code = (
        "import sys; from groundup.core.tables import SOURCES, SUITES; print(*SOURCES, *SUITES, 'torch' in sys.modules)"
    )
    command = [sys.executable, "-c", code]
    known = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    assert known == [*SOURCES, *SUITES, "False"]
    assert {"text", "python-library", "simulator", "bits-per-byte", "orders"} <= set(known)


def test_every_declared_entry_is_there() -> None:
    assert all(name == kind for name, (kind, _) in zip(SOURCES, SOURCES.items(), strict=True))
    assert len(list(SUITES.items())) == len(list(SUITES))


def test_two_entries_of_one_name_are_refused() -> None:
    table: Table[int] = Table("groundup.numbers", "groundup.apps")
    table.add("one", 1)
    with pytest.raises(InputError, match=r"groundup.numbers has two entries called 'one': 1 and 2"):
        table.add("one", 2)


def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InputError, match=r"groundup.sources has no 'guess'; known: boxes, images"):
        SOURCES["guess"]


def test_a_module_that_adds_no_entry_of_its_name_is_refused() -> None:
    table: Table[int] = Table("groundup.numbers", "groundup.apps")
    with pytest.raises(InputError, match=r"groundup.apps.sorter is declared for 'sorter' in groundup.numbers"):
        table["sorter"]
