"""The report is one sound page that loads nothing, shows what the manifests say, and lets nobody's text become
markup.
"""

import re
import shutil
from dataclasses import replace
from itertools import pairwise

import pytest

from groundup.core import ledger
from groundup.core.errors import InputError
from groundup.release.report import read_log, write_report
from tests.release.page import Page
from tests.release.release_helpers import ATTACK, RECIPE, forge


@pytest.fixture(scope="module")
def text(original, tmp_path_factory):
    out = tmp_path_factory.mktemp("report") / "report.html"
    write_report(original, RECIPE, out)
    return out.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(text):
    return Page(text)


def table(page, caption):
    (found,) = [item for item in page.all("table") if item.all("caption")[0].full_text.strip().startswith(caption)]
    return [[cell.full_text.strip() for cell in row.children] for row in found.all("tr")]


# --- a sound page --------------------------------------------------------------------------------------------


def test_ids_are_unique_and_links_lead_somewhere(page):
    ids = [element.attributes["id"] for element in page.every() if "id" in element.attributes]
    assert len(ids) == len(set(ids))
    targets = [element.attributes["href"] for element in page.every() if "href" in element.attributes]
    assert targets and all(target.startswith("#") and target[1:] in ids for target in targets)


def test_nothing_is_loaded_and_nothing_runs(page, text):
    assert not [
        element.name
        for element in page.every()
        if element.name in ("script", "link", "img", "iframe", "object", "base", "form")
    ]
    assert not [
        name for element in page.every() for name in element.attributes if name == "src" or name.startswith("on")
    ]
    assert not re.findall(r"@import|url\((?!#)", text)
    assert set(re.findall(r"https?://[^\s\"<]*", text)) == {"http://www.w3.org/2000/svg"}  # a name, not a place


def test_headings_go_down_one_level_at_a_time(page, text):
    levels = [int(level) for level in re.findall(r"<h([1-6])", text)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(below - above <= 1 for above, below in pairwise(levels))


def test_tables_say_what_they_are_and_what_their_heads_belong_to(page):
    tables = page.all("table")
    assert len(tables) > 10
    for item in tables:
        assert item.all("caption")[0].full_text.strip()
        assert all(head.attributes.get("scope") in ("col", "row") for head in item.all("th"))
        assert len({len(row.children) for row in item.all("tr")}) == 1


def test_pictures_are_described_or_hidden(page):
    pictures = page.all("svg")
    assert (
        len([item for item in pictures if item.attributes.get("aria-label") and item.attributes["role"] == "img"]) == 5
    )
    assert all("aria-label" in item.attributes or item.attributes.get("aria-hidden") == "true" for item in pictures)


def test_light_dark_and_language_are_declared(page, text):
    assert page.all("html")[0].attributes["lang"] == "en"
    assert "prefers-color-scheme: dark" in text and any(
        meta.attributes.get("name") == "viewport" for meta in page.all("meta")
    )


# --- what it shows -------------------------------------------------------------------------------------------


def test_hostile_texts_stay_texts(text, page):
    assert ATTACK not in text
    shown = [element.full_text for element in page.every() if ATTACK in element.text]
    assert len(shown) > 10  # samples, answers, mistakes, a file's name


def test_headline_and_answers_are_there(page):
    assert page.all("h1")[0].text == "small"
    headline = {item.all("dt")[0].text: item.all("dd")[0].text for item in page.all("dl")[0].children}
    assert (
        headline["Bits per byte, library"] == "2.41"
        and headline["Exact match, tasks"] == "82.5 %"
        and headline["Tokens trained on"] == "6 M"
    )
    assert [item.text for item in page.all("dl")[1].all("dt")] == list(RECIPE.evaluate.prompts)


def test_figures_stand_beside_their_baselines(page):
    assert table(page, "Bits per byte") == [
        ["source", "text", "model", "gzip", "xz", "n-gram"],
        ["library", "977 KiB", "2.412 (2.366–2.458)", "3.020", "2.877", "2.693"],
    ]


def test_every_family_is_there_in_both_languages(page):
    rows = table(page, "Exact match on held-out tasks")
    assert rows[0] == ["family", "level", "English", "Chinese"]
    assert [row[0] for row in rows[1:]] == ["arithmetic", "copying", "dates", "lookup", "sorting", "mean of families"]
    assert rows[2] == ["copying", "1", "92.5 % (80–97)", "87.5 % (74–95)"]


def test_drops_are_counted_by_source_and_reason(page):
    assert table(page, "Filtered documents")[1:] == [
        ["handbook", "exact duplicate", "41"],
        ["handbook", "too short", "7"],
    ]


def test_sources_stand_in_the_order_of_the_recipe(page):
    assert [row[0] for row in table(page, "Sources")] == ["source", "handbook", "library", "tasks", "total"]


def test_an_unstated_licence_is_warned_about(page):
    assert "licence unstated" in next(
        item.full_text for item in page.all("p") if item.attributes.get("class") == "warning"
    )
    assert [cell.text for cell in page.all("td") if "warn" in (cell.attributes.get("class") or "").split()] == [
        "unstated"
    ]


def test_costs_are_summed(page):
    rows = table(page, "Cost")
    assert len(rows) == 1 + 10 + 1
    assert rows[-1] == ["total", "8 min 19 s", "62 TFLOP", "6 M", "", "120 MiB", "131 MiB", "not measured"]


def test_energy_is_summed_where_it_was_measured(run, tmp_path):
    for folder in run.iterdir():
        forge(folder, joules=3600.0)
    write_report(run, RECIPE, tmp_path / "report.html")
    assert table(Page((tmp_path / "report.html").read_text()), "Cost")[-1][-1] == "10 Wh"


# --- runs of other kinds ---------------------------------------------------------------------------------------


def test_a_run_without_evaluation_has_no_figures(run, tmp_path):
    shutil.rmtree(run / "evaluate")
    write_report(run, RECIPE, tmp_path / "report.html")
    page = Page((tmp_path / "report.html").read_text())
    assert [item.text for item in page.all("h2")] == ["Training", "Data", "Lineage", "Cost", "Environment"]


def test_a_run_of_few_steps_is_drawn(run, tmp_path):
    for stage in ("pretrain", "instruct"):
        log = run / stage / "metrics.jsonl"
        log.write_text(log.read_text().splitlines(keepends=True)[0])
    write_report(run, RECIPE, tmp_path / "report.html")
    assert len(Page((tmp_path / "report.html").read_text()).all("figure")) == 5


def test_a_broken_chain_is_warned_about(run, tmp_path):
    ledger.write(run / "shards-tasks", replace(ledger.read(run / "shards-tasks"), outputs={}))
    write_report(run, RECIPE, tmp_path / "report.html")
    assert "has digest" in Page((tmp_path / "report.html").read_text()).all("p")[2].full_text


def test_the_same_run_gives_the_same_page(original, tmp_path, text):
    write_report(original, RECIPE, tmp_path / "report.html")
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == text


def test_a_log_that_is_gone_is_named(run, tmp_path):
    (run / "pretrain" / "metrics.jsonl").unlink()
    with pytest.raises(InputError, match=r"pretrain.metrics\.jsonl: no such log"):
        write_report(run, RECIPE, tmp_path / "report.html")


def test_a_broken_log_is_named_with_its_line(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n{"step":')
    with pytest.raises(InputError, match=r"metrics\.jsonl:2: not valid JSON"):
        read_log(tmp_path / "metrics.jsonl")
