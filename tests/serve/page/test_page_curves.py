"""The curves: their arithmetic, their legend, calmed and logarithmic, what is no number, their table; a lineage of any
shape.
"""

from itertools import pairwise

import pytest

from tests.serve.page.fake_server import a_run

pytestmark = pytest.mark.browser

HUES = ["series-1", "series-2", "series-3"]


@pytest.fixture
def run(visit, host):
    """The page of a run of one training, with losses held out of two sources."""
    host.runs = {"demo": a_run(live=False, done=400)}
    del host.runs["demo"]["training"][1]
    one = visit()
    one.open("#/runs/demo")
    one.page.wait_for_selector(".plot svg")
    return one


@pytest.fixture
def scale(chat):
    """Calls a function of scale.js; what is no number arrives there as such, written as text."""

    def call(name, *values):
        script = """async ([name, values]) => {
            const read = value => Array.isArray(value) ? value.map(read) : ["NaN", "Infinity", "-Infinity"].includes(value) ? Number(value) : value;
            return (await import("/scale.js"))[name](...read(values));
        }"""
        return chat.page.evaluate(script, [name, list(values)])

    return call


# --- arithmetic ------------------------------------------------------------------------------------------------------


def test_ticks_are_round_few_and_inside(scale):
    assert scale("ticks", 0, 10, 5) == [0, 2, 4, 6, 8, 10]
    assert scale("ticks", 0.1, 0.35, 5) == [0.1, 0.15, 0.2, 0.25, 0.3, 0.35]
    assert scale("ticks", -3.2, 7.1, 5) == [-2, 0, 2, 4, 6]
    assert scale("ticks", 3, 3, 5) == [3]
    for low, high in ((1e-9, 3e-9), (0.97, 1.03), (1, 1e6), (-1e-3, 2e4)):
        found = scale("ticks", low, high, 5)
        assert 3 <= len(found) <= 8 and low <= found[0] and found[-1] <= high, (low, high)


def test_there_are_no_ticks_where_there_are_no_numbers(scale):
    for low, high in (
        ("NaN", 1),
        (0, "NaN"),
        ("-Infinity", "Infinity"),
        (-1e308, 1e308),
        (2, 1),
        ("Infinity", "-Infinity"),
    ):
        assert scale("ticks", low, high, 5) == [], (low, high)
    for low, high in ((0, 10), (-5, -1), ("NaN", 3), ("Infinity", "-Infinity")):
        assert scale("logTicks", low, high, 5) == [], (low, high)


def test_logarithmic_ticks_grow_by_factors(scale):
    assert scale("logTicks", 1, 500, 5) == [1, 2, 5, 10, 20, 50, 100, 200, 500]
    assert scale("logTicks", 1.2, 9, 5) == [1.5, 2, 3, 4, 6]
    assert scale("logTicks", 4, 4, 5) == [4]
    assert scale("logTicks", 2, 3, 5) == [2, 2.2, 2.4, 2.6, 2.8, 3]  # so close that a plain scale is as good
    wide = scale("logTicks", 1e-9, 1e9, 5)
    assert len(wide) <= 10 and all(later / earlier == pytest.approx(100) for earlier, later in pairwise(wide))


def test_bounds_have_room_and_are_never_a_point(scale):
    for values, options in (([2, 2], {}), ([0, 0], {}), ([0, 0], {"zero": True}), ([5, 5], {"log": True})):
        low, high = scale("bounds", values, options)
        assert low < high and low <= values[0] and values[1] <= high
    assert scale("bounds", [3000, 4000], {"zero": True})[0] == 0
    assert scale("bounds", [-3, 4], {"zero": True})[0] < -3
    assert scale("bounds", [1, 100], {"log": True})[0] > 0
    assert scale("extent", []) is None


def test_a_list_is_thinned_evenly_with_its_ends(scale):
    assert scale("thinned", list(range(10)), 4) == [0, 3, 6, 9]
    assert scale("thinned", [1, 2, 3], 4) == [1, 2, 3]
    many = scale("thinned", list(range(1500)), 60)
    assert len(set(many)) == 60 and many[0] == 0 and many[-1] == 1499


def test_a_calmed_line_is_calm_and_does_not_lag(scale):
    noisy = [[step, 100 - step / 2 + (-1) ** step] for step in range(200)]
    calm = scale("calmed", noisy)
    assert all(abs(value - (100 - step / 2)) < 0.15 for step, value in calm[50:150])
    assert [step for step, _ in calm] == list(range(200))


def test_a_calmed_line_passes_over_what_is_no_number(scale):
    assert scale("calmed", [[1, 1], [2, None], [3, "NaN"], [4, 1]]) == [[1, 1], [2, None], [3, None], [4, 1]]
    assert scale("calmed", [[1, None]]) == [[1, None]]


def test_the_nearest_step_is_found(scale):
    points = [[1, 0], [4, 0], [10, 0]]
    assert [scale("nearest", points, step) for step in (-5, 2, 3, 6.9, 7.1, 99)] == [0, 0, 1, 1, 2, 2]


# --- the chart -------------------------------------------------------------------------------------------------------


def test_curves_are_hidden_and_shown_by_their_legend(run):
    chart = run.page.locator("figure.chart").first
    keys = chart.locator(".key")
    assert keys.all_inner_texts() == ["training", "held out: library", "held out: tasks"]
    keys.nth(0).focus()
    run.page.keyboard.press("Space")
    assert keys.nth(0).get_attribute("aria-pressed") == "false"
    assert [item.get_attribute("class") for item in chart.locator(".curve").all()] == [
        f"curve {hue}" for hue in HUES[1:]
    ]  # none changes its colour
    chart.locator(".plot").focus()
    assert chart.locator(".readout").inner_text().startswith("step 599: held out: library ")
    keys.nth(1).click()
    keys.nth(2).click()  # the last one: all come back
    assert chart.locator(".curve").count() == 3
    assert chart.locator(".key[aria-pressed=true]").count() == 3


def test_no_two_curves_look_alike(visit, host):
    host.runs = {"demo": a_run(live=False)}
    for point in host.runs["demo"]["training"][0]["points"][19::20]:
        point["heldout"] = {f"source {number}": point["loss"] + number / 10 for number in range(11)}
    one = visit()
    page = one.open("#/runs/demo")
    page.wait_for_selector(".plot svg")
    style = (
        "all => all.map(line => getComputedStyle(line)).map(({ stroke, strokeDasharray }) => stroke + strokeDasharray)"
    )
    for places in (".curve > path", ".key path"):
        styles = page.locator("figure.chart").nth(2).locator(places).evaluate_all(style)
        assert len(styles) == len(set(styles)) == 12


@pytest.mark.parametrize("role, name", [("button", "held out: library"), ("link", "Report")])
def test_what_has_the_focus_keeps_it_while_curves_grow(visit, host, role, name):
    host.runs = {"demo": a_run()}
    one = visit()
    page = one.open("#/runs/demo")
    page.wait_for_selector(".plot svg")
    item = page.get_by_role(role, name=name).first
    item.focus()
    item.evaluate("item => { window.held = item; }")
    host.runs["demo"] = a_run(done=300)
    page.locator("p.note", has_text="step 299 of 400").wait_for()
    assert page.evaluate("document.activeElement === window.held")


def test_a_curve_can_be_calmed(run):
    chart = run.page.locator("figure.chart").first
    chart.get_by_label("Smooth").check()
    assert chart.locator(".calm").count() == 1  # of the training; few measurements need none
    rough, calm = (chart.locator(f".curve .{kind}").get_attribute("d") for kind in ("raw", "calm"))
    assert rough != calm and rough.count("L") == calm.count("L")
    chart.locator(".plot").focus()
    assert "(smoothed 1." in chart.locator(".readout").inner_text()
    chart.get_by_label("Smooth").uncheck()
    assert chart.locator(".calm").count() == 0


def test_a_diverged_training_is_shown(visit, host):
    host.runs = {"demo": a_run(done=300)}
    points = host.runs["demo"]["training"][1]["points"]
    for point in points[100:]:
        point["loss"] = None
    for point in points[20:25]:
        point["loss"] = None
    one = visit()
    page = one.open("#/runs/demo")
    section = page.locator("section", has=page.get_by_role("heading", name="Training: instruct"))
    section.locator(".plot svg").first.wait_for()
    assert section.locator("p.note").first.inner_text() == "step 299 of 400 · loss not a number"
    assert section.locator(".curve path").first.get_attribute("d").count("M") == 2  # a gap, no bridge
    section.locator(".plot").first.focus()
    assert section.locator(".readout").first.inner_text().startswith("step 299: training not a number, ")
    assert page.locator(".error:visible").count() == 0


def test_a_logarithm_leaves_out_what_has_none(visit, host):
    host.runs = {"demo": a_run(live=False)}
    training = host.runs["demo"]["training"]
    for point, loss in zip(training[0]["points"], (0, -1, 5e-7), strict=False):
        point["loss"] = loss
    for point in training[1]["points"]:
        point["loss"] = -1
        point.pop("heldout", None)
    one = visit()
    page = one.open("#/runs/demo")
    page.wait_for_selector(".plot svg")
    for place in range(0, 4, 2):
        page.locator("figure.chart").nth(place).get_by_label("Logarithmic").check()
        page.locator(".plot").nth(place).focus()
    drawn = page.locator(".plot svg").evaluate_all("all => all.map(item => item.outerHTML).join()")
    assert "NaN" not in drawn and "Infinity" not in drawn
    assert page.locator(".plot").nth(0).locator("text").count() == 0  # nothing is above zero: no axis either
    assert page.locator(".plot").nth(2).locator(".curve path").first.get_attribute("d").count("L") == 297


def test_a_chart_is_read_as_a_table_that_stands_still(visit, host):
    host.runs = {"demo": a_run()}
    one = visit()
    page = one.open("#/runs/demo")
    chart = page.locator("figure.chart").first
    chart.get_by_text("As a table").click()
    table = chart.locator("table")
    table.wait_for()
    assert table.locator("thead th").all_inner_texts() == ["step", "training", "held out: library", "held out: tasks"]
    rows = table.locator("tbody tr").evaluate_all(
        "all => all.map(row => Array.from(row.cells, cell => cell.textContent))"
    )
    points = {str(point["step"]): point for point in host.runs["demo"]["training"][1]["points"]}
    assert rows[0][0] == "1" and rows[-1][0] == "239" and 60 <= len(rows) <= 66
    assert [row[0] for row in rows if row[2]] == [step for step, point in points.items() if "heldout" in point]
    assert all(row[1] == f"{points[row[0]]['loss']:.3f}" for row in rows)
    host.runs["demo"] = a_run(done=300)
    page.locator("p.note", has_text="step 299 of 400").wait_for()
    assert table.locator("tbody tr").last.locator("th").inner_text() == "239"


def test_a_chart_is_as_wide_as_its_place(run):
    widths = []
    for width in (1280, 320):
        run.page.set_viewport_size({"width": width, "height": 700})
        run.wait(f"innerWidth === {width}")
        run.wait(
            "document.querySelector('.plot').clientWidth === Number(document.querySelector('.plot"
            " svg').getAttribute('width'))"
        )
        widths.append(run.page.locator(".plot svg").first.bounding_box()["width"])
    assert widths[0] > widths[1] > 200


# --- the lineage -----------------------------------------------------------------------------------------------------

BRANCHED = {
    "nodes": [
        {"id": name, "kind": "stage", "title": name, "lines": ["1 s"]} for name in ("a", "b", "c", "d", "e", "x")
    ],
    "edges": [["a", "b"], ["b", "c"], ["c", "d"], ["a", "d"], ["a", "e"], ["x", "e"], ["e", "d"]],
}


def test_lines_of_a_lineage_pass_no_box_but_their_own(run):
    crossed = run.page.evaluate(
        """async lineage => {
            const { lineagePicture } = await import("/lineage.js");
            const picture = lineagePicture(lineage);
            document.querySelector(".runs").append(picture);
            const place = item => { const { x, y, width, height } = item.getBoundingClientRect(); return [x + 2, y, x + width - 2, y + height]; };
            const boxes = Array.from(picture.querySelectorAll(".box rect"), place);
            const hit = ({ x, y }) => boxes.some(([left, top, right, bottom]) => x > left && x < right && y > top && y < bottom);
            const screen = (edge, at) => edge.getPointAtLength(edge.getTotalLength() * at / 199).matrixTransform(edge.getScreenCTM());
            const crosses = edge => Array.from({ length: 200 }, (_, at) => screen(edge, at)).some(hit);
            return [boxes.length, Array.from(picture.querySelectorAll(".edge")).filter(crosses).length];
        }""",
        BRANCHED,
    )
    assert crossed == [6, 0]


def test_the_lineage_has_a_name_and_says_what_it_shows(run):
    picture = run.page.get_by_role("img", name="Lineage")
    assert picture.count() == 1
    described = picture.get_attribute("aria-describedby")
    assert run.page.locator(f"#{described}").text_content().startswith("5 nodes, from the sources on the left")


def test_texts_of_a_lineage_stay_in_their_boxes(visit, host):
    host.runs = {"demo": a_run()}
    for node in host.runs["demo"]["lineage"]["nodes"][:2]:
        node |= {
            "title": "WWWWWWWWWW" * 5,
            "lines": ["一个非常非常长的名字" * 5, "MIT OR Apache-2.0 WITH LLVM-exception"],
        }
    one = visit()
    page = one.open("#/runs/demo")
    page.wait_for_selector(".lineage")
    outside = page.evaluate("""() => [...document.querySelectorAll(".lineage .box")].flatMap(box => {
        const right = box.querySelector("rect").getBoundingClientRect().right;
        return [...box.querySelectorAll("text")].filter(text => text.getBoundingClientRect().right > right).map(text => text.textContent);
    })""")
    assert outside == []
    page.get_by_text("As a list").click()
    assert "WITH LLVM-exception" in page.locator("details li").first.inner_text()  # nothing is lost
