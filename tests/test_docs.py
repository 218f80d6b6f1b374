"""Documents say what the code does: the page of knobs is generated, links lead somewhere, commands exist."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic_core import PydanticUndefined

from tests.config.test_recipe import PARTS

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
HEAD = """\
# Recipes

A recipe is one TOML file. `groundup run RECIPE --dry-run` prints every value it settles and why;
what is unknown or impossible is refused before anything runs.
`--set key=value` changes one value: `--set model.depth=6`, `--set stage.pretrain.tokens=1000`.
Paths are relative to the recipe's folder.

`recipes/demo.toml`, `recipes/scenes.toml` and `recipes/sorter.toml` need no data; the others want the files they name.
This page is made by `python -m tests.test_docs > docs/recipes.md`.
"""


def knob_page() -> str:
    """Every knob with unit, default and reason, from the recipe's own declarations."""
    lines = [HEAD]
    for part in PARTS:
        lines += [
            f"\n## {part.__name__}\n",
            f"{(part.__doc__ or '').strip()}\n",
            "| knob | default | unit | what it decides, and why |",
            "| --- | --- | --- | --- |",
        ]
        for name, field in part.model_fields.items():
            if field.description is None:
                continue
            default = (
                "needed"
                if field.default is PydanticUndefined
                else "derived"
                if field.default is None
                else f"`{field.default!r}`"
            )
            lines.append(f"| `{name}` | {default} | {field.json_schema_extra['unit']} | {field.description} |")
    return "\n".join(lines)


def test_the_page_of_knobs_is_current() -> None:
    assert (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8").strip() == knob_page().strip()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_and_options_that_pages_name_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for path in re.findall(r"`((?:groundup|tests|benchmarks|recipes)/[\w/.-]+\.(?:py|toml|txt))`", text):
        assert (ROOT / path).exists(), path
    source = "".join(file.read_text(encoding="utf-8") for file in (ROOT / "groundup").rglob("cli.py"))
    for verb in re.findall(r"^groundup (\w+)", text, re.MULTILINE):
        assert f"def {verb}(" in source, verb


def test_each_term_of_the_glossary_names_where_it_lives() -> None:
    text = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (?!term|---)(.+?) \| .+ \| (.+) \|$", text, re.MULTILINE)
    assert len(rows) > 80
    terms = [term for term, _ in rows]
    assert sorted(set(terms)) == sorted(terms), "a term stands once"
    for term, place in rows:
        assert re.fullmatch(r"`groundup/[\w/]+(\.py)?`", place) and (ROOT / place.strip("`")).exists(), (term, place)


def test_tests_that_the_page_of_reliability_names_exist() -> None:
    named = re.findall(
        r"`(tests/[\w/]+\.py)(?:::(\w+))?", (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
    )
    assert len(named) > 30
    for file, test in named:
        assert f"def {test}" in (ROOT / file).read_text(encoding="utf-8"), f"{file}::{test}"


@pytest.mark.parametrize("benchmark", sorted((ROOT / "benchmarks").glob("[a-z]*.py")), ids=lambda path: path.stem)
def test_benchmarks_explain_themselves(benchmark: Path) -> None:
    if benchmark.stem in ("common", "served"):
        pytest.skip("shared by the others")
    out = subprocess.run([sys.executable, str(benchmark), "--help"], capture_output=True, text=True, check=True).stdout
    assert f"python benchmarks/{benchmark.name}" in out


if __name__ == "__main__":
    print(knob_page())
