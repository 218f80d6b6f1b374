"""The recipes that the documentation of the data room prints are recipes."""

import re
from pathlib import Path

import pytest

from groundup.config.load import load

DOCS = Path(__file__).parents[2] / "docs"
RECIPES = [
    (page, number, text)
    for page in ("data.md", "your-own-data.md")
    for number, text in enumerate(
        re.findall(r"```toml\n(.*?)```", (DOCS / page).read_text(encoding="utf-8"), re.DOTALL)
    )
]


@pytest.mark.parametrize(("page", "number", "text"), RECIPES, ids=[f"{page}-{number}" for page, number, _ in RECIPES])
def test_a_printed_recipe_loads(tmp_path: Path, page: str, number: int, text: str) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(text, encoding="utf-8")
    assert load(path).source


def test_the_first_recipe_has_the_ten_lines_it_promises() -> None:
    first = next(text for page, _, text in RECIPES if page == "your-own-data.md")
    assert len(first.splitlines()) == 10
