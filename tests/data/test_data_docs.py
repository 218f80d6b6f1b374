"""The recipes that the documentation of the data room prints are recipes, and its short ways go as it says."""

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from groundup.cli import app
from groundup.config.load import load
from tests.data.data_helpers import encoded, save

DOCS = Path(__file__).parents[2] / "docs"
RECIPES = [
    (page, number, text)
    for page in ("data.md", "your-own-data.md")
    for number, text in enumerate(
        re.findall(r"```toml[^\n]*\n(.*?)```", (DOCS / page).read_text(encoding="utf-8"), re.DOTALL)
    )
]
BLOCK = re.compile(r"```(\w+) ([^\n]+?)(?: \((\w+)\))?\n(.*?)```", re.DOTALL)  # language, file, encoding, content
RUN = re.compile(r"```\ngroundup run (\S+)\n```(.*?)(?=```\ngroundup|\n## |\Z)", re.DOTALL)
WAYS = {
    section: text
    for section, text in re.findall(
        r"^## ([^\n]+)\n(.*?)(?=^## |\Z)",
        (DOCS / "your-own-data.md").read_text(encoding="utf-8"),
        re.DOTALL | re.MULTILINE,
    )
    if BLOCK.search(text)
}


@pytest.mark.parametrize(("page", "number", "text"), RECIPES, ids=[f"{page}-{number}" for page, number, _ in RECIPES])
def test_a_printed_recipe_loads(tmp_path: Path, page: str, number: int, text: str) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(text, encoding="utf-8")
    assert load(path).source


def test_the_first_recipe_has_the_ten_lines_it_promises() -> None:
    first = next(text for page, _, text in RECIPES if page == "your-own-data.md")
    assert len(first.splitlines()) == 10


def test_there_are_short_ways() -> None:
    assert len(WAYS) >= 4


@pytest.mark.parametrize("section", WAYS)
def test_a_short_way_reads_the_printed_files_and_says_what_the_page_says(
    tmp_path: Path, section: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for _, name, encoding, content in BLOCK.findall(WAYS[section]):
        save(tmp_path / name, content.encode(encoding or "utf-8"))
    for number, name in enumerate(re.findall(r"`(\S+\.png)`", WAYS[section])):
        save(tmp_path / name, encoded(number, (64, 48)))
    for recipe, after in RUN.findall(WAYS[section]):
        said = ""
        for source in load(tmp_path / recipe).source:
            arguments = ["run", str(tmp_path / recipe), "--until", f"documents-{source.name}", "--runs", str(tmp_path)]
            result = CliRunner().invoke(app, arguments, catch_exceptions=False)
            said += result.output + "".join(capsys.readouterr())
        for line in re.findall(r"^  (?:\d.*|not read.*)$", after, re.MULTILINE):
            assert line in said.splitlines()
