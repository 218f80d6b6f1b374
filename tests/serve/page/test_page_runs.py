"""The runs: their list, live curves, stages, figures, lineage, the report."""

from itertools import pairwise

import pytest

from tests.serve.page.fake_server import a_run

pytestmark = pytest.mark.browser


@pytest.fixture
def run(visit, host):
    host.runs = {"demo": a_run()}
    one = visit()
    one.open("#/runs/demo")
    one.page.wait_for_selector(".lineage")
    return one


def test_runs_are_listed(visit, host):
    host.runs = {"demo": a_run(), "done one": a_run("done one", live=False)}
    one = visit()
    page = one.open("#/runs")
    cards = page.locator(".card")
    cards.nth(1).wait_for()
    assert [card.locator("h2 a").inner_text() for card in cards.all()] == ["demo", "done one"]
    assert cards.nth(0).locator(".live").count() == 1 and cards.nth(1).locator(".live").count() == 0
    assert cards.nth(0).locator(".note").inner_text().startswith("3 of 5 stages done · 5 min 24 s")
    cards.nth(1).locator("a").click()
    page.wait_for_selector("h1 >> text=done one")


def test_without_runs_there_is_no_page_of_them(visit, host):
    host.settings["runs"] = False
    one = visit()
    one.page.goto(host.url)
    one.page.wait_for_selector(".welcome >> text=Chat with demo")
    assert one.page.locator("#side nav a").count() == 1


def test_stages_have_state_and_time(run):
    stages = [" ".join(item.locator("b, span").all_inner_texts()) for item in run.page.locator(".stages li").all()]
    assert stages == [
        "documents-library done · 3.1 s",
        "tokenizer done · 8.4 s",
        "pretrain done · 5 min 12 s",
        "instruct running",
        "evaluate waiting",
    ]


def test_curves_grow_while_a_run_is_live(run, host):
    section = run.page.locator("section", has=run.page.get_by_role("heading", name="Training: instruct"))
    assert "step 239 of 400" in section.locator("p.note").first.inner_text()
    assert section.locator("progress").get_attribute("value") == "239"
    before = section.locator(".curve path").first.get_attribute("d")
    host.runs["demo"] = a_run(done=300)
    host.paths.clear()
    section.locator("p.note", has_text="step 299 of 400").wait_for()
    after = section.locator(".curve path").first.get_attribute("d")
    assert after.count("L") == before.count("L") + 30  # every second step is a point
    assert host.paths.count("/api/runs/demo") == 1


def test_a_stage_that_ends_is_shown_as_it_ended(run, host):
    host.runs["demo"] = a_run(live=False, done=400)
    run.page.locator(".stages li", has_text="instruct").get_by_text("done").wait_for()
    run.wait("!document.querySelector('.live')")
    assert run.page.locator("progress:visible").count() == 0


def test_only_new_points_are_asked_for(run, host):
    with run.page.expect_request(lambda request: "since=instruct%3A239" in request.url):
        pass


def test_a_curve_is_read_with_pointer_and_keys(run):
    section = run.page.locator("section", has=run.page.get_by_role("heading", name="Training: pretrain"))
    plot = section.locator(".plot").first
    plot.scroll_into_view_if_needed()
    box = plot.bounding_box()
    run.page.mouse.move(box["x"] + 52 + (box["width"] - 66) / 2, box["y"] + 50)
    first = section.locator(".readout").first.inner_text()
    assert first.startswith(("step 299: training 1.5", "step 301: training 1.5"))
    assert "held out: library" in first and "held out: tasks" in first
    run.page.mouse.move(5, 5)
    plot.focus()
    run.page.keyboard.press("Home")
    assert section.locator(".readout").first.inner_text().startswith("step 1: ")
    run.page.keyboard.press("ArrowRight")
    assert plot.get_attribute("aria-valuetext").startswith("step 3: training ")
    assert plot.get_attribute("aria-valuenow") == "3"


def test_a_curve_can_be_logarithmic(run):
    chart = run.page.locator("figure.chart").first
    labels = chart.locator("svg text").all_text_contents()
    chart.get_by_label("Logarithmic").check()
    assert chart.locator("svg text").all_text_contents() != labels
    y = (
        "Array.from(document.querySelectorAll('figure.chart')[0].querySelectorAll('.grid'), line =>"
        " Number(line.getAttribute('y1')))"
    )
    places = run.page.evaluate(y)
    gaps = [low - high for low, high in pairwise(places)]
    assert max(gaps) - min(gaps) > 5  # 1, 2, 5, 10: no even steps


def test_figures_licences_and_lineage_are_shown(run):
    page = run.page
    assert (
        page.locator("caption").all_inner_texts()[0] == "Exact match on held-out tasks, 40 cases a family and language"
    )
    row = page.locator("tr", has_text="spelling")
    assert row.locator("td").all_inner_texts() == ["1", "100.0 % (91–100)", "90.0 % (77–96)"]
    assert page.locator("tr", has_text="PSF-2.0").locator("td").inner_text() == "1,834"
    boxes = page.locator(".lineage .title").all_text_contents()
    assert sorted(boxes) == ["documents-library", "library", "pretrain", "shards-library", "tokenizer"]
    assert page.locator(".lineage .edge").count() == 6
    page.get_by_text("As a list").click()
    assert "pretrain, 312 s ← shards-library, tokenizer" in page.locator("details li").all_inner_texts()
    left = {
        text: page.locator(".lineage .box", has_text=text).first.bounding_box()["x"]
        for text in ("library", "tokenizer", "pretrain")
    }
    assert left["library"] < left["tokenizer"] < left["pretrain"]


def test_lineage_in_a_circle_is_borne(chat):
    depths = chat.page.evaluate("""async () => {
        const { layers, lineagePicture } = await import("/lineage.js");
        const nodes = ["a", "b", "c"].map(id => ({id, kind: "stage", title: id, lines: []}));
        lineagePicture({nodes, edges: [["a", "b"], ["b", "a"], ["b", "b"], ["b", "nowhere"]]});
        return [...layers(nodes, [["a", "b"], ["b", "c"], ["c", "a"]]).values()].every(depth => depth < 3);
    }""")
    assert depths


def test_the_report_is_linked(run, host):
    with run.context.expect_page() as opened:
        run.page.get_by_role("link", name="Report").click()
    opened.value.wait_for_selector("h1 >> text=A report")


def test_with_a_key_the_report_is_saved(run, host):
    run.page.evaluate("import('/api.js').then(api => api.setApiKey('k'))")
    with run.page.expect_download() as download:
        run.page.get_by_role("link", name="Report").click()
    assert download.value.suggested_filename == "demo-report.html"


def test_a_run_that_is_not_there_is_said(visit, host):
    one = visit()
    one.open("#/runs/nowhere")
    one.page.wait_for_selector(".error >> text=there is no run 'nowhere'")
    one.noise.clear()
