"""Boxes in answers: drawn over the last image, told in words, and never shown as raw tokens."""

from pathlib import Path

import pytest
from test_page_images import attach, png

from tests.serve.page.fake_server import says

pytestmark = pytest.mark.browser

CUP = "cup<loc100><loc250><loc500><loc999>"
HAND = "left hand<loc0><loc0><loc49><loc99>"
TEXTS = ["cup: left 10 %, top 25 %, right 50 %, bottom 100 %", "left hand: left 0 %, top 0 %, right 5 %, bottom 10 %"]


@pytest.fixture
def sight(chat):
    chat.page.get_by_label("Model").select_option("vision_engine")
    attach(chat, ("a.png", "image/png", png(200, 100)))
    chat.page.wait_for_selector(".previews img")
    return chat


def test_boxes_are_drawn_over_the_image_and_told_in_words(sight, host):
    host.script = says(f"{CUP}; {HAND}")
    sight.say("What is where?")
    answer = sight.page.locator(".message.assistant")
    assert "<loc" not in answer.inner_text()
    assert answer.get_by_role("list", name="Detections").get_by_role("listitem").all_inner_texts() == TEXTS
    assert answer.locator("img").get_attribute("alt") == "The image, with 2 boxes drawn on it"
    assert answer.locator("img").get_attribute("src") == sight.page.locator(".message.user img").get_attribute("src")
    assert answer.locator("svg text").all_text_contents() == ["cup", "left hand"]
    image, box = (
        answer.locator(".boxed img").bounding_box(),
        answer.locator(".boxed g:first-child rect:last-of-type").bounding_box(),
    )
    for name, start, size, low, high in (
        ("x", image["x"], image["width"], 0.1, 0.5),
        ("y", image["y"], image["height"], 0.25, 1.0),
    ):
        assert box[name] == pytest.approx(start + low * size, abs=2.5)
        assert box[name] + box["width" if name == "x" else "height"] == pytest.approx(start + high * size, abs=2.5)
    sight.shoot("boxes")


def test_a_rotated_box_is_drawn_by_its_corners(sight, host):
    pen = "pen" + "".join(f"<loc{place}>" for place in (500, 200, 750, 500, 500, 800, 250, 500))
    host.script = says(pen[:40], pen[40:], f"; {CUP}", pause=0.2)
    sight.say("What is where?", wait=False)
    seen = set()
    while sight.page.locator(".round.stop").count():
        seen.update(sight.page.locator(".message.assistant .boxes li").all_inner_texts())
    answer = sight.page.locator(".message.assistant")
    told = "pen: corners at 50 % / 20 %, 75 % / 50 %, 50 % / 80 %, 25 % / 50 % (from the left / from the top)"
    assert answer.locator(".boxes li").all_inner_texts() == [told, TEXTS[0]]
    assert seen <= {told, TEXTS[0]}  # no upright box of half of its corners
    image, box = (answer.locator(place).bounding_box() for place in (".boxed img", ".boxed polygon:last-of-type"))
    assert box["x"] == pytest.approx(image["x"] + 0.25 * image["width"], abs=6)
    assert box["y"] == pytest.approx(image["y"] + 0.2 * image["height"], abs=6)
    assert box["height"] == pytest.approx(0.6 * image["height"], abs=12)  # with the corners of its line
    sight.shoot("boxes-rotated")


def test_a_later_answer_is_drawn_over_the_last_image(sight, host):
    sight.say("Look.")
    attach(sight, ("b.png", "image/png", png(40, 90)))
    sight.page.wait_for_selector(".previews img")
    sight.say("And this?")
    host.script = says(CUP)
    sight.say("Where is the cup?")
    shown = sight.page.locator(".message.assistant .boxed img")
    assert shown.count() == 1
    assert shown.get_attribute("src") == sight.page.locator(".message.user img").last.get_attribute("src")
    sight.page.reload()
    sight.page.wait_for_selector(".boxed rect")


def test_without_an_image_there_is_the_list_alone(chat, host):
    host.script = says(f"I see:\n{CUP}; and more\nThat is all.")
    chat.say("What?")
    answer = chat.page.locator(".message.assistant")
    assert answer.locator(".boxes li").all_inner_texts() == TEXTS[:1]
    assert answer.locator(".boxed").count() == 0
    assert answer.locator(".prose").all_inner_texts() == ["I see:", "; and more\nThat is all."]


def test_half_a_box_is_not_shown_while_the_answer_grows(sight, host):
    host.script = says(
        "cup<loc100><lo", "c250><loc500>", "<loc999>; ", "pen<loc1", "00><loc1><loc200><loc300>", pause=0.3
    )
    sight.say("What?", wait=False)
    seen = set()
    while sight.page.locator(".round.stop").count():
        seen.add(sight.page.evaluate("document.querySelector('.message.assistant .body')?.innerText ?? ''"))
    assert not any("<lo" in text for text in seen)
    assert TEXTS[0] in sight.page.locator(".message.assistant .body").inner_text()


def test_boxes_without_area_and_without_a_name_do_no_harm(sight, host):
    host.script = says("<loc5><loc5><loc5><loc5>; cup<loc900><loc0><loc100><loc50>; " + CUP + "<loc7>")
    sight.say("What?")
    answer = sight.page.locator(".message.assistant")
    assert answer.locator(".boxes li").first.inner_text() == "object: left 1 %, top 1 %, right 1 %, bottom 1 %"
    assert answer.locator(".boxes li").count() == 3
    assert answer.locator(".boxed g").count() == 1


def test_names_are_text(sight, host):
    name = '" onload="alert(1)'
    host.script = says(f"<img src=x onerror=alert(1)>{name}<loc1><loc1><loc9><loc9>")
    sight.say("What?")
    answer = sight.page.locator(".message.assistant")
    assert answer.locator(".boxes li").inner_text().startswith(name)
    assert answer.locator(".boxes text").text_content() == name
    assert answer.locator("img").count() == 1


def test_what_is_copied_is_readable(sight, host):
    sight.context.grant_permissions(["clipboard-read", "clipboard-write"])
    host.script = says(f"{CUP}; {HAND}")
    sight.say("What?")
    sight.page.locator(".message.assistant").get_by_role("button", name="Copy message").click()
    assert sight.page.evaluate("navigator.clipboard.readText()") == "\n".join(TEXTS)


def test_many_boxes_and_endless_lines_leave_the_page_usable(sight, host):
    host.script = says("a" * 200_000 + CUP * 3000 + "<loc1>" * 20_000)
    sight.say("What?")
    assert sight.page.locator(".boxed g").count() == 200


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(visit, host, scheme):
    checker = pytest.importorskip("axe_playwright_python.base")
    one = visit(bypass_csp=True, color_scheme=scheme)
    one.open()
    one.page.get_by_label("Model").select_option("vision_engine")
    attach(one, ("a.png", "image/png", png(200, 100)))
    one.page.wait_for_selector(".previews img")
    host.script = says(f"Two things: \n{CUP}; {HAND}")
    one.say("What is where?")
    one.shoot(f"boxes-{scheme}")
    one.page.evaluate(Path(checker.__file__).with_name("axe.min.js").read_text(encoding="utf-8"))
    found = one.page.evaluate(
        "axe.run(document, {runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice']})"
    )
    assert [(each["id"], [node["html"][:120] for node in each["nodes"]]) for each in found["violations"]] == []


def test_in_chinese(visit, host):
    one = visit(locale="zh-CN")
    one.open()
    host.script = says("杯子<loc100><loc250><loc500><loc999>")
    one.say("在哪里？")
    assert one.page.locator(".boxes li").inner_text() == "杯子：左 10%，上 25%，右 50%，下 100%"
