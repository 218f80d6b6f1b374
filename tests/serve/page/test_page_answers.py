"""What answers look like: Markdown, mathematics, code, thoughts; growing texts; and that nothing a model writes is ever
carried out.
"""

import json
import re

import pytest

from tests.serve.page.fake_server import a_run, delta, raw, says

pytestmark = pytest.mark.browser

MARKDOWN = r"""# Title

A **bold** and *slanted* word, `code`, ~~gone~~, and [a link](https://example.org/a?b=c).
Second line.

- one
  - inner
- [x] done

3. three
4. four

> said

| left | right |
| --- | ---: |
| $x^2$ | 2 |

```python
def f(x):
    return "<b>" + x
```

Inline \(a+b\) and a price of $5 or $10.

$$
\frac{1}{2}
$$

\[
\sum_{i=1}^n i
\]

---
The end.
"""


def prose(chat, text, host):
    host.script = says(text)
    chat.say("Show me")
    return chat.page.locator(".message.assistant .prose").last


def test_markdown_is_rendered(chat, host):
    shown = prose(chat, MARKDOWN, host)
    wanted = {
        "h1": "Title",
        "strong": "bold",
        "em": "slanted",
        "del": "gone",
        "p > code": "code",
        "blockquote": "said",
        "li li": "inner",
    }
    for selector, text in wanted.items():
        assert shown.locator(selector).first.inner_text().strip() == text, selector
    assert shown.locator("ol").get_attribute("start") == "3"
    assert "☑ done" in shown.inner_text()
    assert shown.locator("p br").count() == 1  # a line end that a model writes is meant
    assert shown.locator("td").nth(1).get_attribute("align") == "right"
    link = shown.locator("a")
    assert link.get_attribute("href") == "https://example.org/a?b=c"
    assert (link.get_attribute("target"), link.get_attribute("rel")) == ("_blank", "noopener noreferrer")


def test_mathematics_is_rendered_and_prices_are_not(chat, host):
    shown = prose(chat, MARKDOWN, host)
    assert shown.locator("math").count() == 4
    assert shown.locator("math mfrac").count() == 1
    assert shown.locator(".math.display").count() == 2
    assert "a price of $5 or $10." in shown.inner_text()


def test_mathematics_that_is_none_stays_text(chat, host):
    shown = prose(
        chat, r"\(\frac{1\) and $\href{javascript:alert(1)}{x}$ and $\includegraphics{https://example.org/x.png}$", host
    )
    assert shown.locator("a, img").count() == 0
    assert r"\frac{1" in shown.inner_text()


def test_code_is_coloured_and_copied(chat, host):
    chat.context.grant_permissions(["clipboard-read", "clipboard-write"])
    shown = prose(chat, MARKDOWN, host)
    assert shown.locator(".code .bar").inner_text() == "python"
    assert shown.locator(".hljs-keyword").first.inner_text() == "def"
    shown.get_by_role("button", name="Copy code").click()
    chat.wait("document.querySelector('.code button').getAttribute('aria-label') === 'Copied'")
    assert chat.page.evaluate("navigator.clipboard.readText()") == 'def f(x):\n    return "<b>" + x'


@pytest.mark.parametrize("modern", [True, False])
def test_a_message_is_copied_as_it_was_written(chat, host, modern):
    chat.context.grant_permissions(["clipboard-read", "clipboard-write"])
    if not modern:  # what browsers do on pages that come over plain HTTP
        chat.page.evaluate("window.read = navigator.clipboard.readText.bind(navigator.clipboard)")
        chat.page.evaluate("Object.defineProperty(navigator, 'clipboard', {value: undefined}) && null")
    host.script = says("<think>hm</think>\n\n**bold**")
    chat.say("Show me")
    chat.page.locator(".message.assistant").get_by_role("button", name="Copy message").click()
    chat.wait("document.querySelector('.message.assistant .actions button').getAttribute('aria-label') === 'Copied'")
    assert chat.page.evaluate("window.read ? read() : navigator.clipboard.readText()") == "**bold**"


def test_bold_chinese_needs_no_spaces(chat, host):
    shown = prose(chat, "这是**“重点”**内容，**注意：**如下。2 ** 3 ** 4", host)
    assert shown.locator("strong").all_inner_texts() == ["“重点”", "注意："]


def test_thoughts_are_folded(chat, host):
    host.script = says("<thi", "nk>I wonder", " about it.</think>", "It is so.")
    chat.say("Why?")
    fold = chat.page.locator("details.fold")
    assert fold.locator("summary").inner_text() == "Reasoning"
    assert not fold.get_by_text("I wonder about it.").is_visible()
    fold.locator("summary").click()
    assert fold.get_by_text("I wonder about it.").is_visible()
    assert chat.page.locator(".body > .prose").inner_text() == "It is so."


def test_thoughts_of_a_field_of_their_own_are_folded_too(chat, host):
    host.script = raw(delta(reasoning_content="Hidden."), delta("stop", content="Seen."), b"data: [DONE]\n\n")
    chat.say("Why?")
    assert chat.page.locator("details.fold").count() == 1
    assert chat.page.locator(".body > .prose").inner_text() == "Seen."


def test_a_call_written_as_text_is_folded(chat, host):
    host.script = says(
        'Let me see.\n<tool_call>\n{"name": "add", "arguments": {"a": 1}}\n</tool_call>',
        " <tool_call>no JSON</tool_call>",
    )
    chat.say("1 + 1?")
    assert chat.page.locator("details.fold summary").all_inner_texts() == ["Calls add"]
    assert "no JSON" in chat.page.locator(".prose").last.inner_text()


# --- growing texts -----------------------------------------------------------------------------------------------

SIZE = 20_000  # characters
GROW = """async ({text, sizes}) => {
    const { Prose } = await import("/markup.js");
    const whole = new Prose();
    whole.show(text, true);
    const found = [];
    for (const size of sizes) {
        const growing = new Prose();
        for (let end = 0; end < text.length; end += size) growing.show(text.slice(0, end), false);
        growing.show(text, true);
        while (growing.busy || whole.busy) await new Promise(resolve => setTimeout(resolve, 10));
        found.push(growing.element.innerHTML === whole.element.innerHTML);
    }
    return found;
}"""


def test_a_text_that_grows_ends_as_the_same_text_at_once(chat):
    late = "See [this][1].\n\nMore.\n\n[1]: https://example.org\n"
    for text in (
        MARKDOWN,
        MARKDOWN.replace("\n", "\r\n"),
        late,
        "- a\n\n- b\n\n  c\n\nd",
        "> " * 40 + "deep",
        "<b>\n\n</b>\n",
    ):
        assert chat.page.evaluate(GROW, {"text": text, "sizes": [1, 3, 17]}) == [True, True, True], text


def test_blocks_that_are_done_are_not_made_again(chat):
    same = chat.page.evaluate("""async () => {
        const { Prose } = await import("/markup.js");
        const growing = new Prose();
        growing.show("First.\\n\\nSecond.\\n\\nThi", false);
        const first = growing.element.firstElementChild;
        growing.show("First.\\n\\nSecond.\\n\\nThird and more", false);
        return first === growing.element.firstElementChild && growing.element.children.length === 3;
    }""")
    assert same


@pytest.mark.parametrize("unit", ["word ", "  \n- a", "**bold** paragraph $x^2$.\n\n", "[", "> ", "*a ", "\\(", "$"])
def test_a_huge_answer_is_shown(chat, host, unit):
    text = unit * (150_000 // len(unit))
    host.script = says(*[text[start : start + 20_000] for start in range(0, len(text), 20_000)])
    chat.page.fill("#composer", "Go")
    chat.page.keyboard.press("Enter")
    chat.wait("document.querySelector('.message.assistant .actions') !== null", 300)
    if unit.strip() not in "->":  # marks alone leave no words
        chat.wait("document.querySelector('.prose').textContent.length > 20_000", 300)


# A text of one of these takes a reader that looks ahead at each place a time that grows with the square of its length.
UNITS = [
    "$", "$ ", "$a", "$$ ", "$$a", "a$\n", "$\\", "$x$1", "\\(", "\\[", "\\[ x\n", "`", "``a", "`a ", "*", "*a ",
    "**a ", "a**", "**字 ", "_a ", "__a", "*_", "***a", "a*b*", "~", "~~a ", "[", "[a](", "[a](b '", "![", "[a]",
    "[a][b] ", "[a]: b\n", "[^1]: a\n", "[\n", "<", "<a ", "<!--", "</a", "<![CDATA[", "<a href='", "<b>", "<a>b</a>",
    "<b>\n\n</b>\n", "<div>\n", "&", "&#1", "\\", "\\a", "|", "|a|a\n", "|\n|-\n", "|-", ">", "> a\n", "> a\nb\n",
    ">\n\n", "- ", "-\n", "- a\n", "* a\n\n", "- a\n\n  b\n", "- [ ] a\n", "1. a\n", "    a\n", " ", "\n", " \n",
    "\t", "# ", "# a\n", "a\n=\n", "---\n", "```\n", "```a", "~~~\n", "www.a", "http://a.", "a@b.", "a@a", "a.", "a",
    "字", "<loc1>", "<think>", "<tool_call>", "<tool_call>{}</tool_call>",
]  # fmt: skip
SHOWN = """async text => {
    const { Prose } = await import("/markup.js");
    const { parts } = await import("/answer.js");
    parts(text, true);
    const prose = new Prose();
    prose.show(text, true);
    while (prose.busy) await new Promise(resolve => setTimeout(resolve));
}"""


def test_no_text_takes_more_than_its_share_of_work(chat):
    """Seconds of the browser's processor, which others at work do not lengthen: of a text, against ordinary answers of
    the same length.
    """
    tools = chat.context.new_cdp_session(chat.page)
    tools.send("Performance.enable")

    def spent() -> float:
        return next(
            each["value"] for each in tools.send("Performance.getMetrics")["metrics"] if each["name"] == "ProcessTime"
        )

    def cost(unit: str) -> float:
        text, began = unit * (SIZE // len(unit)), spent()
        chat.page.evaluate(SHOWN, text)
        return spent() - began

    ordinary = min(cost(MARKDOWN) for _ in range(2))
    found = {unit: cost(unit) for unit in UNITS}
    slow = {unit: min(first, cost(unit)) / ordinary for unit, first in found.items() if first > 5 * ordinary}
    assert {unit: round(ratio, 1) for unit, ratio in slow.items() if ratio > 5} == {}


def test_a_text_that_grows_is_not_read_anew_where_it_was_given_up(chat):
    said = chat.page.evaluate("""async () => {
        const { Prose } = await import("/markup.js");
        const prose = new Prose();
        const text = "|\\n|-\\n".repeat(20_000);
        for (let end = 1; end <= 10; end++) prose.show(text.slice(0, text.length * end / 10), end === 10);
        return [prose.element.querySelector(".note").textContent, prose.element.querySelector(".said").textContent === text, prose.busy];
    }""")
    assert said == ["Shown as plain text: its markup takes too long to parse.", True, False]


# --- nothing is carried out --------------------------------------------------------------------------------------

HOSTILE = [
    "<script>window.hit = 1</script>",
    "<img src=x onerror='window.hit=1'>",
    "<svg onload=window.hit=1><script>window.hit=1</script></svg>",
    "<iframe src='javascript:parent.hit=1'></iframe><object data='javascript:hit=1'></object><embed src='javascript:hit=1'>",
    "<iframe srcdoc='<script>parent.hit=1</script>'></iframe>",
    "<a href='javascript:window.hit=1'>x</a><form action='javascript:hit=1'><button>x</button></form>",
    "[x](javascript:window.hit=1) [y](JaVaScRiPt:window.hit=1) [z](java\tscript:window.hit=1) [w](&#106;avascript:window.hit=1)",
    "[x](data:text/html,<script>window.hit=1</script>) [y](vbscript:hit) [z](file:///etc/passwd) [r](/api/settings) [b](blob:x)",
    "<javascript:window.hit=1> <https://example.org/?q=%22onclick=%22hit> [x]: javascript:window.hit=1",
    "![x](https://evil.example/pixel.png) ![y](javascript:window.hit=1) ![z](data:image/svg+xml,<svg onload=hit=1>)",
    '![x"onerror="window.hit=1](https://evil.example/a.png) [a](https://e.example/" onclick="window.hit=1)',
    "[x](https://evil.example 'title\" onmouseover=\"window.hit=1')",
    "```html\n<script>window.hit=1</script>\n```\n```\" onload=\"window.hit=1\nx\n```",
    '```python"><img src=x onerror=window.hit=1>\nprint("</code><script>window.hit=1</script>")\n```',
    "`<img src=x onerror=window.hit=1>`",
    "<style>@import 'https://evil.example/x.css'; body { display: none }</style><link rel=stylesheet href=https://evil.example/x.css>",
    "<div style='position:fixed;inset:0;background:url(https://evil.example/x)'>over all</div>",
    "<meta http-equiv=refresh content='0;url=https://evil.example'><base href='https://evil.example/'>",
    "<math><mtext><table><mglyph><style><!--</style><img title='--&gt;&lt;img src=1 onerror=window.hit=1&gt;'>",
    "<form><math><mtext></form><form><mglyph><style></math><img src onerror=window.hit=1>",
    "<noscript><p title='</noscript><img src=x onerror=window.hit=1>'>",
    "<video><source onerror=window.hit=1></video><audio src=x onerror=window.hit=1><details open ontoggle=window.hit=1>",
    "<input autofocus onfocus=window.hit=1><textarea autofocus onfocus=window.hit=1></textarea>",
    "<a id=app name=main></a><img name=body><form id=toasts><input name=append></form>",
    r"$\href{javascript:window.hit=1}{x}$ $\url{javascript:window.hit=1}$ $\htmlData{x=y}{z}$ $\htmlStyle{color:red}{x}$",
    r"$$\text{</math><script>window.hit=1</script>}$$ $\def\a{\a\a}\a$ \(\unicode{x3c}img src=x onerror=hit=1>\)",
    "| <script>window.hit=1</script> | b |\n| --- | --- |\n| <img src=x onerror=window.hit=1> | [c](javascript:hit=1) |",
    "- [x] <img src=x onerror=window.hit=1>\n# <svg/onload=window.hit=1>",
    "<think><img src=x onerror=window.hit=1></think><tool_call>{\"name\": \"<img src=x onerror=window.hit=1>\", \"arguments\": {}}</tool_call>",
    "\u202egnp.exe <bdo dir=rtl> \u0000 \ufffd &lt;script&gt;window.hit=1&lt;/script&gt; &#60;img src=x onerror=window.hit=1&#62;",
    "<x-foo onclick=window.hit=1>custom</x-foo><template><script>window.hit=1</script></template><slot onslotchange=hit=1>",
    "<a href='https://evil.example' ping='https://evil.example/ping' target=_top download>x</a>",
    "<!--><script>window.hit=1</script>--> <![CDATA[<script>window.hit=1</script>]]> <?xml-stylesheet href='x'?>",
    "<svg><animate onbegin=window.hit=1 attributeName=x dur=1s><use href='data:image/svg+xml,<svg onload=hit=1>'></svg>",
    "<svg><foreignObject><iframe srcdoc='<script>parent.hit=1</script>'></iframe></foreignObject></svg>",
    "<body onload=window.hit=1><html onclick=window.hit=1><marquee onstart=window.hit=1>x</marquee>",
]  # fmt: skip
MARKDOWN_TAGS = {
    "a",
    "blockquote",
    "br",
    "code",
    "del",
    "em",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "hr",
    "li",
    "ol",
    "p",
    "pre",
    "span",
    "strong",
    "ul",
}
TABLE_TAGS = {"table", "tbody", "td", "th", "thead", "tr"}
PAGE_TAGS = {"button", "details", "div", "path", "summary", "svg"}  # the page's own: folds, buttons, their pictures
SURVEY = """() => {
    const inside = [...document.querySelectorAll(".body *")].filter(item => !item.closest("math"));
    const bad = /^on|^style$|^ping$|^srcdoc$|^id$|^name$/;
    const links = [...document.querySelectorAll(".body [href], .body [src]")];
    return {
        hit: window.hit ?? null,
        names: [...new Set(inside.map(item => item.localName))],
        handlers: [...document.querySelectorAll(".body *")].flatMap(item => item.getAttributeNames()).filter(name => bad.test(name)),
        links: links.map(item => item.getAttribute("href") ?? item.getAttribute("src")),
        frames: window.frames.length,
        app: document.getElementById("app").localName,
    };
}"""


def harmless(found):
    assert found["hit"] is None
    assert set(found["names"]) <= MARKDOWN_TAGS | TABLE_TAGS | PAGE_TAGS
    assert found["handlers"] == []
    assert all(re.match(r"https?://|mailto:", link) for link in found["links"]), found["links"]
    assert (found["frames"], found["app"]) == (0, "div")


@pytest.mark.parametrize("way", ["at once", "piece by piece"])
def test_what_a_model_writes_is_not_carried_out(chat, host, way):
    text = "\n\n".join(HOSTILE)
    host.script = (
        says(text) if way == "at once" else says(*[text[start : start + 7] for start in range(0, len(text), 7)])
    )
    chat.say("Attack me", wait=False)
    chat.wait("document.querySelector('.message.assistant .actions') !== null", 60)
    chat.page.evaluate("document.querySelectorAll('details').forEach(item => item.open = true)")
    for item in chat.page.locator(".body a, .body code").all()[:20]:
        item.hover(force=True)
    harmless(chat.page.evaluate(SURVEY))


def test_each_attack_alone_is_not_carried_out(chat):
    found = chat.page.evaluate(
        """async texts => {
            const { Prose } = await import("/markup.js");
            const place = document.createElement("div");
            place.className = "body";
            document.querySelector("main").append(place);
            for (const text of texts) for (const before of ["", "- ", "> ", "| a |\\n| - |\\n| ", "**", "[", "$", "```html\\n"]) {
                const prose = new Prose();
                prose.show(before + text, true);
                while (prose.busy) await new Promise(resolve => setTimeout(resolve));
                place.append(prose.element);
            }
            await new Promise(resolve => setTimeout(resolve, 100));
        }""",
        HOSTILE,
    )
    assert found is None
    harmless(chat.page.evaluate(SURVEY))


def test_what_others_name_is_not_carried_out(visit, host):
    evil = "<img src=x onerror=window.hit=1>"
    host.settings["models"][0]["id"] = evil
    run = a_run(evil)
    for stage in run["stages"]:
        stage["name"] += evil
        stage["state"] = "done" + evil
    run["training"][0]["stage"] += evil
    run["training"][0]["points"][19]["heldout"] = {evil: 1.0, "__proto__": 2.0}
    run["figures"] = [{"title": evil, "columns": [evil], "rows": [[evil]]}]
    run["lineage"]["nodes"][0] |= {"title": evil, "lines": [evil], "kind": evil}
    run["licences"] = {evil: 1}
    host.runs = {evil: run}
    host.refusal = (400, {"error": {"message": evil}}, {})
    one = visit()
    page = one.open()
    one.say(evil)
    one.noise.clear()  # the browser reports the refusal itself
    assert evil in page.locator(".message .error").inner_text()
    page.goto(host.url + "#/runs")
    page.locator(".card a").click()
    page.wait_for_selector(".lineage")
    assert page.evaluate("[window.hit ?? null, document.querySelectorAll('main img, main script').length]") == [None, 0]


def test_what_is_imported_is_not_carried_out(chat):
    value = {
        "title": HOSTILE[1],
        "messages": [{"role": "user", "content": HOSTILE[1]}, {"role": "assistant", "content": "\n\n".join(HOSTILE)}],
    }
    value["messages"][0]["images"] = [
        "https://evil.example/x.png",
        "data:text/html,x",
        "data:image/svg+xml;base64,PHN2Zz4=",
    ]
    chat.page.get_by_role("button", name="Export and import").click()
    chat.page.set_input_files(
        "#import", {"name": "x.json", "mimeType": "application/json", "buffer": json.dumps(value).encode()}
    )
    chat.page.wait_for_selector(".message.assistant .prose")
    assert chat.page.locator(".message img").count() == 0
    harmless(chat.page.evaluate(SURVEY))
