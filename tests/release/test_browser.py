"""The report in a real browser: it asks the network for nothing, nothing fails, and all is seen on any screen, light or
dark.
"""

import pytest

from groundup.release.report import write_report
from tests.chromium import chromium
from tests.release.release_helpers import RECIPE

SCREENS = {"wide": (1280, 900), "narrow": (360, 740)}

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def browser():
    with chromium() as opened:
        yield opened


@pytest.fixture(scope="module")
def report(original, tmp_path_factory):
    out = tmp_path_factory.mktemp("report") / "report.html"
    write_report(original, RECIPE, out)
    return out.as_uri()


@pytest.fixture
def visit(browser, report):
    """Open the report on a screen, all of it unfolded; returns the page and what it asked for or complained of."""
    contexts = []

    def open_page(screen="wide", scheme="light"):
        width, height = SCREENS[screen]
        contexts.append(browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme))
        page, noise = contexts[-1].new_page(), []
        page.on("console", lambda message: noise.append(f"console: {message.text}"))
        page.on("pageerror", lambda error: noise.append(f"error: {error}"))
        page.on("dialog", lambda dialog: (noise.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        page.on("request", lambda request: noise.append(f"request: {request.url}") if request.url != report else None)
        page.goto(report)
        page.evaluate("document.querySelectorAll('details').forEach(item => item.open = true)")
        return page, noise

    yield open_page
    for context in contexts:
        context.close()


def test_it_asks_for_nothing_and_nothing_fails(visit):
    page, noise = visit()
    page.wait_for_timeout(200)
    assert noise == []


def test_headings_tables_and_pictures_are_seen(visit):
    page, _ = visit()
    for selector, least in (("h1", 1), ("h2", 6), ("table", 12), ("svg[role=img]", 5)):
        found = page.locator(selector)
        assert found.count() >= least
        assert all(item.is_visible() and item.bounding_box()["height"] > 10 for item in found.all()), selector


@pytest.mark.parametrize("screen", SCREENS)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_is_as_wide_as_the_screen(visit, tmp_path, screen, scheme):
    page, _ = visit(screen, scheme)
    page.screenshot(path=tmp_path / f"{screen}-{scheme}.png", full_page=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= SCREENS[screen][0]


CONTRAST = """() => {
    const light = text => {
        const parts = text.match(/[\\d.]+/g).slice(0, 3).map(value => value / 255);
        const linear = parts.map(value => value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4);
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
    };
    const paper = light(getComputedStyle(document.body).backgroundColor);
    const shades = [...document.querySelectorAll("h1, p, th, td, dt, dd, a, summary, svg text")].map(item => {
        const style = getComputedStyle(item);
        return light(item instanceof SVGElement ? style.fill : style.color);
    });
    return Math.min(...shades.map(shade => (Math.max(shade, paper) + 0.05) / (Math.min(shade, paper) + 0.05)));
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_stands_out_from_the_paper(visit, scheme):
    page, _ = visit(scheme=scheme)
    assert page.evaluate(CONTRAST) >= 4.5  # WCAG 2.2, level AA


def test_dark_paper_is_dark_and_light_paper_light(visit):
    red = {}
    for scheme in ("light", "dark"):
        page, _ = visit(scheme=scheme)
        red[scheme] = int(page.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/)[0]"))
    assert red["light"] > 240 and red["dark"] < 40


OVERLAPS = """selector => [...document.querySelectorAll(selector)].flatMap(picture => {
    const boxes = [...picture.querySelectorAll("text")].map(item => [item.textContent, item.getBoundingClientRect()]);
    return boxes.flatMap(([text, box], place) => boxes.slice(0, place).filter(([, other]) =>
        box.left < other.right - 1 && other.left < box.right - 1 && box.top < other.bottom - 3 && other.top < box.bottom - 3
    ).map(([other]) => `${text} / ${other}`));
})"""


@pytest.mark.parametrize("screen", SCREENS)
def test_texts_in_pictures_do_not_overlap(visit, screen):
    page, _ = visit(screen)
    assert page.evaluate(OVERLAPS, "svg[role=img]") == []


def test_texts_in_the_lineage_stay_in_their_boxes(visit):
    page, _ = visit()
    outside = page.evaluate("""() => [...document.querySelectorAll(".lineage g:has(> rect)")].flatMap(group => {
        const box = group.querySelector("rect").getBoundingClientRect();
        return [...group.querySelectorAll("text")].filter(text => text.getBoundingClientRect().right > box.right).map(text => text.textContent);
    })""")
    assert outside == []
