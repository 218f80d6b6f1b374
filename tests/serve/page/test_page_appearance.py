"""For everyone: two languages, light and dark, narrow screens, the keyboard alone, a screen reader, reduced motion.
Screenshots are kept.
"""

from pathlib import Path

import pytest

from tests.serve.page.fake_server import a_run, delta, raw, says

pytestmark = pytest.mark.browser

SHOWN = r"""<think>A short answer with the formula will do.</think>Each token asks a **query** of all tokens before it:

$$
\operatorname{Attention}(Q, K, V) = \operatorname{softmax}\left(\frac{QK^\top}{\sqrt{d}}\right) V
$$

```python
def attention(query, key, value):
    scores = query @ key.transpose(-2, -1) / query.shape[-1] ** 0.5
    return softmax(scores, dim=-1) @ value
```

| part | cost |
| --- | ---: |
| scores | $n^2 d$ |

1. It costs $O(n^2)$; see [the paper](https://example.org).
2. A *cache* makes the next token cheap.
"""
SIZES = {"wide": (1280, 860), "narrow": (320, 640)}


@pytest.fixture
def full(visit, host):
    """The page with something everywhere, in a size, scheme and language."""

    def make(place="", **options):
        host.runs = {"demo": a_run(), "corpus": a_run("corpus", live=False)}
        host.script = says(SHOWN)
        one = visit(**options)
        one.open()
        one.say("How does attention work?")
        one.page.locator(".log").evaluate("log => { log.scrollTop = 0; }")
        if place:
            one.page.goto(one.host.url + place)
            one.page.wait_for_selector(".lineage" if "/demo" in place else ".card")
        return one

    return make


@pytest.mark.parametrize("place", ["", "#/runs", "#/runs/demo"], ids=["chat", "runs", "run"])
@pytest.mark.parametrize("size", SIZES)
def test_the_page_is_as_wide_as_the_screen(full, size, place):
    one = full(place, size=SIZES[size])
    assert one.page.evaluate("document.documentElement.scrollWidth") <= SIZES[size][0]
    outside = one.page.evaluate("""() => [...document.querySelectorAll("main *, header.bar *")].filter(item => {
        const box = item.getBoundingClientRect();
        const out = box.width && (box.right > innerWidth + 1 || box.left < -1);
        return out && !item.closest(".scroll, pre, .math") && getComputedStyle(item).position !== "absolute";
    }).map(item => item.outerHTML.slice(0, 90))""")
    assert outside == []
    one.shoot(f"{place.strip('#/').replace('/', '-') or 'chat'}-{size}")


def test_dialogs_fit_narrow_screens(full):
    one = full(size=SIZES["narrow"])
    one.page.get_by_role("button", name="Settings").click()
    one.shoot("settings-narrow")
    assert one.page.evaluate(
        "document.querySelector('dialog .content').scrollWidth <= document.querySelector('dialog .content').clientWidth"
    )
    one.page.keyboard.press("Escape")
    one.page.keyboard.press("Control+/")
    one.shoot("help-narrow")
    assert one.page.evaluate("document.querySelector('dialog').getBoundingClientRect().right <= innerWidth")


def test_on_narrow_screens_the_list_is_a_drawer(full):
    one = full(size=SIZES["narrow"])
    page = one.page
    side = page.locator("#side")
    assert not side.is_visible()
    menu = page.get_by_role("button", name="Open the list of conversations")
    assert menu.get_attribute("aria-expanded") == "false"
    menu.click()
    side.wait_for()
    page.wait_for_timeout(250)
    one.shoot("drawer-narrow")
    assert menu.get_attribute("aria-expanded") == "true"
    assert page.evaluate("document.activeElement.getAttribute('aria-label')") == "Close the list of conversations"
    assert page.evaluate("document.querySelector('main').inert")
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement.classList.contains('menu')")
    menu.click()
    page.locator(".conversations a").click()
    side.wait_for(state="hidden")


def test_a_chinese_browser_gets_a_chinese_page(full):
    one = full(locale="zh-CN")
    page = one.page
    assert page.evaluate("document.documentElement.lang") == "zh-Hans"
    assert page.get_by_role("button", name="新对话").is_visible()
    assert page.get_by_placeholder("输入消息").is_visible()
    one.shoot("chat-chinese")
    page.goto(one.host.url + "#/runs/demo")
    page.wait_for_selector("h2 >> text=训练：instruct")
    one.shoot("run-chinese")
    missing = page.evaluate("""async () => {
        const { STRINGS } = await import("/i18n.js");
        return Object.keys(STRINGS.en).filter(key => typeof STRINGS.zh[key] !== typeof STRINGS.en[key] && typeof STRINGS.zh[key] !== "string");
    }""")
    assert missing == []


def test_the_language_is_switched_and_stays(full):
    one = full()
    page = one.page
    page.fill("#composer", "half written")
    page.get_by_role("button", name="中文").click()
    page.get_by_placeholder("输入消息").wait_for()
    assert page.input_value("#composer") == "half written"
    assert page.locator(".message").count() == 2
    assert page.evaluate("document.activeElement.textContent") == "English"
    page.reload()
    page.get_by_placeholder("输入消息").wait_for()
    page.get_by_role("button", name="English").click()
    page.get_by_placeholder("Message").wait_for()


def test_an_answer_under_way_outlives_a_change_of_language(visit, host):
    host.script = says(*["word "] * 40, "end.", pause=0.02)
    one = visit()
    one.open()
    one.say("Go", wait=False)
    one.page.wait_for_selector(".prose >> text=word")
    one.page.get_by_role("button", name="中文").click()
    one.settle()
    assert one.page.locator(".prose").inner_text().strip().endswith("end.")


PAPER = "Number(getComputedStyle(document.body).backgroundColor.match(/\\d+/)[0])"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colours_follow_the_system_until_they_are_chosen(full, scheme):
    one = full(color_scheme=scheme)
    other = "dark" if scheme == "light" else "light"
    dark = {"light": lambda red: red > 240, "dark": lambda red: red < 40}
    assert dark[scheme](one.page.evaluate(PAPER))
    one.shoot(f"chat-{scheme}")
    switch = one.page.get_by_role("button", name="Colours:")
    while f"{other}" not in switch.get_attribute("aria-label"):
        switch.click()
    assert dark[other](one.page.evaluate(PAPER))
    one.page.reload()
    assert dark[other](one.page.evaluate(PAPER))


CONTRAST = """() => {
    const context = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
    const light = colour => {
        context.clearRect(0, 0, 1, 1);
        context.fillStyle = colour;
        context.fillRect(0, 0, 1, 1);
        const parts = [...context.getImageData(0, 0, 1, 1).data].slice(0, 3).map(value => value / 255);
        const linear = parts.map(value => value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4);
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
    };
    const paper = item => {
        for (let place = item; place; place = place.parentElement) {
            const colour = getComputedStyle(place).backgroundColor;
            if (colour !== "rgba(0, 0, 0, 0)") return colour;
        }
        return "white";
    };
    const found = [];
    for (const item of document.querySelectorAll("body *")) {
        const own = [...item.childNodes].some(node => node.nodeType === 3 && node.textContent.trim());
        if (!own || item.closest("math, [hidden], .unseen, option, :disabled, .mark") || !item.getClientRects().length) continue;
        const style = getComputedStyle(item);
        const [ink, ground] = [light(item instanceof SVGElement ? style.fill : style.color), light(paper(item))];
        const ratio = (Math.max(ink, ground) + 0.05) / (Math.min(ink, ground) + 0.05);
        if (ratio < 4.5) found.push(`${item.localName}.${item.getAttribute("class")} ${item.textContent.slice(0, 20)} ${ratio.toFixed(2)}`);
    }
    return found;
}"""


@pytest.mark.parametrize("place", ["", "#/runs/demo"], ids=["chat", "run"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_stands_out_from_its_ground(full, scheme, place):
    one = full(place, color_scheme=scheme)
    assert one.page.evaluate(CONTRAST) == []  # WCAG 2.2, level AA
    one.shoot(f"{'run' if place else 'chat'}-{scheme}")
    if not place:
        one.page.keyboard.press("Alt+s")
        assert one.page.evaluate(CONTRAST) == []
        one.shoot(f"settings-{scheme}")


@pytest.mark.parametrize(
    "place", ["", "#/runs", "#/runs/demo", "dialogs", "narrow"], ids=["chat", "runs", "run", "dialogs", "narrow"]
)
def test_an_accessibility_checker_finds_nothing(full, place):
    checker = pytest.importorskip("axe_playwright_python.base")
    one = full(
        place if place.startswith("#") else "", size=SIZES["narrow" if place == "narrow" else "wide"], bypass_csp=True
    )
    one.page.evaluate(Path(checker.__file__).with_name("axe.min.js").read_text(encoding="utf-8"))
    opened = {"dialogs": ["Alt+s", "Control+/"]}.get(place, [None])
    for keys in opened:
        if keys:
            one.page.keyboard.press(keys)
        found = one.page.evaluate(
            "axe.run(document, {runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice']})"
        )
        assert [(one["id"], [node["html"][:120] for node in one["nodes"]]) for one in found["violations"]] == []
        if keys:
            one.page.keyboard.press("Escape")


def test_landmarks_and_names(full):
    page = full().page
    assert page.get_by_role("main").count() == 1
    assert page.get_by_role("navigation", name="Pages").count() == 1
    assert page.get_by_role("complementary", name="Conversations").count() == 1
    assert page.get_by_role("log", name="Conversation").count() == 1
    assert page.locator("h1").count() == 1
    assert [item.get_attribute("aria-label") for item in page.get_by_role("article").all()] == ["You", "demo"]
    nameless = page.evaluate(
        """() => [...document.querySelectorAll("button, a, input, textarea, select")].filter(item =>
        !(item.getAttribute("aria-label") || item.textContent.trim() || item.labels?.length || item.hidden)).map(item => item.outerHTML)"""
    )
    assert nameless == []


WHERE = """() => {
    const item = document.activeElement;
    const style = getComputedStyle(item);
    const ring = style.outlineStyle !== "none" && parseFloat(style.outlineWidth) > 0;
    const inner = item.closest(".line") && getComputedStyle(item.closest(".line")).boxShadow !== "none";
    const after = getComputedStyle(item, "::after").outlineStyle !== "none";
    const name = item.getAttribute("aria-label") || item.labels?.[0]?.textContent || item.id || item.textContent.trim();
    return [item === document.body ? "" : name, ring || Boolean(inner) || after];
}"""


def from_the_start(page):
    page.evaluate(
        "() => { document.body.tabIndex = -1; document.body.focus(); document.body.removeAttribute('tabindex'); }"
    )


def walk(page, most=80):
    """What the Tab key leads to, in order, until it leaves the page."""
    found = []
    from_the_start(page)
    for _ in range(most):
        page.keyboard.press("Tab")
        name, seen = page.evaluate(WHERE)
        if not name or (found and name == found[0]):
            return found
        assert seen, f"no focus is seen on {name}"
        found.append(name)
    raise AssertionError(f"a trap: {found[-10:]}")


def test_the_tab_key_leads_through_the_page_and_out_again(full):
    order = walk(full().page)
    assert order[0] == "Skip to the main part"
    wanted = [
        "Chat",
        "New conversation",
        "Search",
        "Keyboard shortcuts",
        "Settings",
        "Conversation",
        "Copy message",
        "Regenerate",
        "Message",
        "Send",
    ]
    places = [order.index(name) for name in wanted]
    assert places == sorted(places)


def test_the_tab_key_leads_through_a_run(full):
    order = walk(full("#/runs/demo").page)
    wanted = (
        "Report (opens in a new tab)",
        "Logarithmic",
        "Smooth",
        "held out: library",
        "Loss: read with the arrow keys",
        "As a table",
        "Lineage",
    )
    places = [order.index(name) for name in wanted]
    assert places == sorted(places)


def test_skipping_leads_to_the_field(full):
    page = full().page
    from_the_start(page)
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "composer"


def test_shortcuts(full, host):
    one = full()
    page = one.page
    page.keyboard.press("Control+/")
    rows = page.get_by_role("dialog", name="Keyboard shortcuts").locator("tr")
    assert rows.count() == 12
    one.shoot("help")
    page.keyboard.press("Escape")
    assert page.get_by_role("dialog").count() == 0
    page.keyboard.press("Control+k")
    assert page.evaluate("document.activeElement.id") == "search"
    page.keyboard.press("Alt+m")
    assert page.evaluate("document.activeElement.id") == "composer"
    page.keyboard.press("Alt+s")
    page.get_by_role("dialog", name="Settings").wait_for()
    page.keyboard.press("Escape")
    page.keyboard.press("Alt+r")
    one.settle()
    assert len(host.asked) == 2
    page.keyboard.press("Alt+e")
    page.get_by_role("textbox", name="Edit").wait_for()
    page.keyboard.press("Escape")
    page.keyboard.press("Alt+n")
    page.wait_for_selector(".welcome")
    one.shoot("welcome")


def test_the_focus_comes_back_from_a_dialog(full):
    page = full().page
    page.get_by_role("button", name="Settings").focus()
    page.keyboard.press("Enter")
    assert page.evaluate("document.querySelector('dialog').contains(document.activeElement)")
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement.getAttribute('aria-label')") == "Settings"


def test_reduced_motion_is_respected(visit, host):
    host.script = says("a", *["b"] * 50, pause=0.02)
    one = visit(reduced_motion="reduce")
    one.open()
    one.say("Hi", wait=False)
    one.page.wait_for_selector(".prose")
    times = one.page.evaluate(
        "document.getAnimations().map(item => item.effect.getComputedTiming()).map(time => [time.duration,"
        " time.iterations])"
    )
    assert all(duration <= 1 and count <= 1 for duration, count in times)
    one.page.keyboard.press("Escape")
    one.settle()


def test_screenshots_of_what_is_rarer(full, host):
    one = full()
    call = {"index": 0, "id": "c1", "function": {"name": "weather", "arguments": '{"city": "Graz"}'}}
    host.script = raw(delta("tool_calls", tool_calls=[call]), b"data: [DONE]\n\n")
    one.say("What is the weather?")
    one.page.locator("details.fold summary").last.click()
    one.shoot("tool-call")
    host.script = raw(delta(content="It is "))
    one.say("And now?")
    one.shoot("trouble")
    one.page.get_by_role("button", name="Export and import").click()
    one.shoot("transfer")
