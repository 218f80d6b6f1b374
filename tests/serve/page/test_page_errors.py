"""What goes wrong is said in plain words, with a way on; what had come until then stays."""

import time

import pytest

from tests.serve.page.fake_server import delta, event, raw, says

pytestmark = pytest.mark.browser


def error(message):
    return {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": None}}


REFUSALS = {
    "refused": (
        400,
        error("the prompt is too long by 12 tokens"),
        {},
        "The server refused the request. Its message: the prompt is too long by 12 tokens",
    ),
    "unknown model": (
        404,
        error("there is no model 'demo'"),
        {},
        "The server has no such resource. Its message: there is no model 'demo'",
    ),
    "too large": (
        413,
        error("the body is larger than 4 MiB"),
        {},
        "The server refused the request. Its message: the body is larger than 4 MiB",
    ),
    "busy": (
        429,
        error("too many requests"),
        {"Retry-After": "7"},
        "The server is busy. Try again in 7 s. Its message: too many requests",
    ),
    "closing": (503, error("closing"), {}, "The server is busy. Try again in a moment. Its message: closing"),
    "failed": (500, {"nothing": "known"}, {}, "The server failed. Its message: HTTP 500"),
}


@pytest.mark.parametrize("kind", REFUSALS)
def test_a_refusal_is_said_and_can_be_tried_again(chat, host, kind):
    *refusal, words = REFUSALS[kind]
    host.refusal = tuple(refusal)
    chat.say("Hi")
    assert chat.page.locator(".message .error span").inner_text() == words
    assert chat.page.locator("#spoken p").last.inner_text() == words
    chat.noise.clear()  # the browser reports refusals itself
    host.refusal = None
    chat.page.get_by_role("button", name="Try again").click()
    chat.settle()
    assert chat.page.locator(".message .error").count() == 0
    assert chat.page.locator(".prose").inner_text().strip() == "Hello there."
    assert [message["content"] for message in host.asked[1]["messages"]] == ["Hi"]


BROKEN = {
    "cut off": (raw(delta(content="Half of")), "The answer was interrupted."),
    "error in the middle": (
        raw(delta(content="Half of"), event(error("a page is gone"))),
        "The server failed. Its message: a page is gone",
    ),
    "no JSON": (
        raw(delta(content="Half of"), b"data: {broken\n\n"),
        "The response has an unknown format. Its message: {broken",
    ),
    "no object": (
        raw(delta(content="Half of"), b"data: 42\n\n"),
        "The response has an unknown format. Its message: 42",
    ),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_answer_keeps_what_came(chat, host, kind):
    host.script, words = BROKEN[kind]
    chat.say("Hi")
    assert chat.page.locator(".prose").inner_text().strip() == "Half of"
    assert chat.page.locator(".message .error span").inner_text() == words


def test_odd_events_of_a_stream_are_borne(chat, host):
    host.script = raw(
        b"\xef\xbb\xbf: a comment\r\n\r\nevent: x\r\nid: 1\r\nretry: 5\r\n",
        b'data: {"choices": []}\r\n\r\n',
        b"data: {}\n\n",
        event({"choices": [{"index": 0}]}),
        event({"choices": [{"index": 0, "delta": {"content": None, "tool_calls": None}}]}),
        event({"choices": [{"index": 0, "delta": {"content": 5, "tool_calls": [{"index": 10**9, "function": None}]}}]}),
        b": still here\n\n",
        b'data: {"choices": [{"index": 0,\ndata: "delta": {"content": "two lines"}}]}\n\n',
        delta("stop"),
        b"data: [DONE]\n\ndata: after the end\n\n",
    )
    chat.say("Hi")
    assert chat.page.locator(".prose").inner_text().strip() == "two lines"
    assert chat.page.locator(".message .error").count() == 0


CUTS = """async ({bytes, size}) => {
    const { chunks } = await import("/stream.js");
    const all = new Uint8Array(bytes);
    const body = new ReadableStream({start(controller) {
        for (let start = 0; start < all.length; start += size) controller.enqueue(all.slice(start, start + size));
        controller.close();
    }});
    const found = [];
    for await (const value of chunks(body)) found.push(value);
    return found;
}"""


def test_events_are_the_same_however_the_stream_is_cut(chat):
    for end in (b"\n", b"\r\n", b"\r"):
        events = [b"data: " + f'{{"text": "{text}"}}'.encode() + end + end for text in ("a", "é漢😀", "")]
        stream = b"".join(events) + b": x" + end + b'data:{"last": 1}' + end
        for size in (1, 2, 3, 7, 1000):
            found = chat.page.evaluate(CUTS, {"bytes": list(stream), "size": size})
            assert found == [{"text": "a"}, {"text": "é漢😀"}, {"text": ""}, {"last": 1}], (end, size)


def test_a_page_of_something_else_is_no_answer(chat, host):
    host.refusal = (200, {"not": "a stream"}, {})
    chat.say("Hi")
    assert chat.page.locator(".message .error span").inner_text() == "The response has an unknown format."


def test_a_server_that_is_gone_is_said(chat, host):
    chat.context.set_offline(True)
    chat.say("Hi")
    chat.noise.clear()
    assert chat.page.locator(".message .error span").inner_text().startswith("The server cannot be reached.")
    chat.context.set_offline(False)
    chat.page.get_by_role("button", name="Try again").click()
    chat.settle()
    assert chat.page.locator(".prose").inner_text().strip() == "Hello there."


def test_a_failed_answer_is_no_part_of_what_is_sent_next(chat, host):
    host.refusal = (500, {}, {})
    chat.say("One")
    chat.noise.clear()
    host.refusal = None
    chat.say("Two")
    assert [message["content"] for message in host.asked[1]["messages"]] == ["One", "Two"]


def test_a_key_is_asked_for_and_kept_for_the_tab_alone(visit, host):
    host.key = "gu-secret"
    one = visit()
    one.page.goto(host.url)
    one.page.get_by_label("API key").fill("wrong")
    one.page.keyboard.press("Enter")
    time.sleep(0.2)
    one.page.get_by_label("API key").fill("gu-secret")
    one.page.keyboard.press("Enter")
    one.page.wait_for_selector("#side nav a[data-part=runs]")
    one.noise.clear()
    one.say("Hi")
    assert one.page.locator(".prose").inner_text().strip() == "Hello there."
    everything = one.page.evaluate(
        """async () => JSON.stringify([Object.entries(localStorage), document.cookie, await new Promise(resolve => {
        const asked = indexedDB.open("groundup");
        asked.onsuccess = () => {
            const all = asked.result.transaction("conversations").objectStore("conversations").getAll();
            all.onsuccess = () => resolve(all.result);
        };
    })])"""
    )
    assert "gu-secret" not in everything
    assert one.page.evaluate("sessionStorage.getItem('groundup.key')") == "gu-secret"
    host.key = "another"
    one.say("Again", wait=False)
    one.page.get_by_role("dialog").get_by_label("API key").wait_for()
    one.noise.clear()


def test_a_long_answer_is_read_out_in_sentences(chat, host):
    host.script = says("One sentence. ", "Another one. ", "<b>rest", pause=0.01)
    chat.say("Hi")
    spoken = chat.page.locator("#spoken p").all_inner_texts()
    assert " ".join(spoken).replace("  ", " ").strip() == "Generating One sentence. Another one. <b>rest"
    assert chat.page.get_by_role("log").get_attribute("aria-live") == "off"
