"""Conversations in the browser: kept, found, renamed, removed, saved to files and read from them; also where there is
no room.
"""

import json

import pytest

from groundup.codecs import chat as codec
from tests.serve.page.fake_server import says

pytestmark = pytest.mark.browser
LISTED = "[...document.querySelectorAll('.conversations li a span')].map(item => item.textContent)"


def wait_for_titles(chat, *wanted):
    chat.wait(f"JSON.stringify({LISTED}) === JSON.stringify({json.dumps(wanted)})")


def begin(chat, *questions):
    for question in questions:
        chat.page.keyboard.press("Alt+n")
        chat.say(question)


def test_conversations_are_kept_and_opened_again(chat):
    begin(chat, "About apples", "About pears")
    wait_for_titles(chat, "About pears", "About apples")
    chat.page.reload()
    chat.page.locator(".conversations a", has_text="apples").click()
    chat.page.wait_for_selector(".said >> text=About apples")
    assert chat.page.locator("h1").inner_text() == "About apples"
    assert chat.page.title() == "About apples · Ground Up"
    chat.page.go_back()
    chat.page.wait_for_selector(".said >> text=About pears")


def test_conversations_are_found_by_what_was_said(chat, host):
    host.script = says("Bananas are yellow.")
    begin(chat, "First")
    host.script = says("Cherries are red.")
    begin(chat, "Second")
    chat.page.keyboard.press("Control+k")
    chat.page.keyboard.type("RED cherries")
    wait_for_titles(chat, "Second")
    chat.page.fill("#search", "nowhere")
    chat.page.wait_for_selector(".conversations >> text=Nothing found.")
    chat.page.fill("#search", "")
    wait_for_titles(chat, "Second", "First")


def test_a_conversation_is_renamed(chat):
    begin(chat, "About apples")
    chat.page.locator(".conversations li").hover()
    chat.page.get_by_role("button", name="Rename: About apples").click()
    chat.page.keyboard.type("Fruit")
    chat.page.keyboard.press("Enter")
    wait_for_titles(chat, "Fruit")
    chat.say("More")
    assert chat.page.locator("h1").inner_text() == "Fruit"
    chat.page.locator(".conversations li").hover()
    chat.page.get_by_role("button", name="Rename: Fruit").click()
    chat.page.keyboard.type("Not this")
    chat.page.keyboard.press("Escape")
    wait_for_titles(chat, "Fruit")


def test_a_removed_conversation_can_be_brought_back(chat):
    begin(chat, "Apples", "Pears")
    wait_for_titles(chat, "Pears", "Apples")
    chat.page.locator(".conversations li", has_text="Pears").hover()
    chat.page.get_by_role("button", name="Delete: Pears").click()
    wait_for_titles(chat, "Apples")
    assert chat.page.locator(".message").count() == 0
    chat.wait("document.activeElement.textContent === 'Apples'")
    chat.page.get_by_role("button", name="Undo").click()
    wait_for_titles(chat, "Pears", "Apples")
    chat.page.reload()
    wait_for_titles(chat, "Pears", "Apples")


def test_a_conversation_removed_while_it_answers_stays_away(chat, host):
    host.script = says(*["word "] * 10_000, pause=0.02)
    chat.say("Go on", wait=False)
    chat.page.wait_for_selector(".prose >> text=word")
    chat.page.locator(".conversations li").hover()
    chat.page.get_by_role("button", name="Delete: Go on").click()
    assert host.cut.wait(60)
    chat.page.wait_for_timeout(100)
    chat.page.reload()
    chat.page.wait_for_selector(".conversations >> text=No conversations yet.")


def test_an_address_of_no_conversation_says_so(chat):
    chat.page.evaluate("location.hash = '#/chat/nowhere'")
    chat.page.wait_for_selector(".toast >> text=There is no such conversation")
    assert chat.page.evaluate("location.hash") == "#/chat"


def test_what_is_written_but_not_sent_stays_with_its_conversation(chat):
    begin(chat, "Apples")
    chat.page.fill("#composer", "unfinished")
    chat.page.keyboard.press("Alt+n")
    chat.wait("document.getElementById('composer').value === ''")
    chat.page.locator(".conversations a").click()
    chat.page.wait_for_selector(".said")
    assert chat.page.input_value("#composer") == "unfinished"


def test_what_two_tabs_add_is_kept_by_both(chat, host):
    begin(chat, "Shared")
    other = chat.tab()
    other.goto(chat.page.url)
    other.wait_for_selector(".said >> text=Shared")
    host.script = says("From the other.")
    other.fill("#composer", "Second")
    other.keyboard.press("Enter")
    chat.page.wait_for_selector(".prose >> text=From the other.")
    chat.say("Third")
    other.wait_for_selector(".said >> text=Third")


def test_a_full_browser_is_said_and_nothing_shown_is_lost(chat):
    chat.page.evaluate(
        "() => { IDBObjectStore.prototype.put = function () { throw new DOMException('full', 'QuotaExceededError');"
        " }; }"
    )
    chat.say("Hi")
    assert "storage is full" in chat.page.locator(".toast span").first.inner_text()
    assert chat.page.locator(".prose").inner_text().strip() == "Hello there."


def test_a_browser_that_keeps_nothing_still_talks(visit, host):
    one = visit(own=True)
    one.context.add_init_script(
        "Object.defineProperty(window, 'indexedDB', {get() { throw new Error('forbidden'); }});"
    )
    one.context.add_init_script(
        "Object.defineProperty(window, 'localStorage', {get() { throw new Error('forbidden'); }});"
    )
    one.open()
    assert "stores nothing" in one.page.locator(".welcome").inner_text()
    one.say("Hi")
    wait_for_titles(one, "Hi")
    one.page.keyboard.press("Alt+n")
    one.page.locator(".conversations a").click()
    one.page.wait_for_selector(".prose >> text=Hello there.")


# --- files -------------------------------------------------------------------------------------------------------


def save(chat, scope, form):
    chat.page.get_by_role("button", name="Export and import").click()
    chat.page.locator(f"input[name=scope][value={scope}]").check()
    chat.page.locator(f"input[name=format][value={form}]").check()
    with chat.page.expect_download() as download:
        chat.page.get_by_role("button", name="Save file").click()
    chat.page.keyboard.press("Escape")
    return download.value.suggested_filename, download.value.path().read_text(encoding="utf-8")


def load(chat, text):
    chat.page.get_by_role("button", name="Export and import").click()
    chat.page.set_input_files(
        "#import", {"name": "given.json", "mimeType": "application/json", "buffer": text.encode()}
    )


def test_one_conversation_is_saved_with_all_its_versions_and_read_again(chat, host):
    begin(chat, "Apples?")
    host.script = says("Other.")
    chat.page.keyboard.press("Alt+r")
    chat.settle()
    name, text = save(chat, "one", "json")
    assert name == "Apples.json"
    saved = json.loads(text)["conversations"][0]
    assert saved["messages"] == [{"role": "user", "content": "Apples?"}, {"role": "assistant", "content": "Other."}]
    load(chat, text)
    wait_for_titles(chat, "Apples?", "Apples?")
    chat.page.wait_for_selector(".branches >> text=2/2")
    chat.page.get_by_role("button", name="Previous version").click()
    assert chat.page.locator(".prose").inner_text().strip() == "Hello there."
    again = json.loads(save(chat, "one", "json")[1])["conversations"][0]
    assert sorted(node["content"] for node in again["branches"]["nodes"]) == ["Apples?", "Hello there.", "Other."]


def test_all_conversations_are_saved(chat):
    begin(chat, "Apples", "Pears")
    name, text = save(chat, "all", "json")
    assert name == "conversations.json"
    assert [one["title"] for one in json.loads(text)["conversations"]] == ["Pears", "Apples"]
    name, text = save(chat, "all", "markdown")
    assert name == "conversations.md"
    assert (
        text == "# Pears\n\n## You\n\nPears\n\n## demo\n\nHello there.\n\n---\n\n# Apples\n\n## You\n\nApples\n\n##"
        " demo\n\nHello there."
    )


def test_exported_lines_are_what_a_source_of_messages_reads(chat):
    begin(chat, "Apples", "Pears")
    found = [json.loads(line)["messages"] for line in save(chat, "all", "lines")[1].splitlines()]
    assert [messages[0]["content"] for messages in found] == ["Pears", "Apples"]
    for messages in found:
        codec.check(messages)


OTHERS = {
    "a request": json.dumps(
        {
            "model": "demo",
            "messages": [
                {"role": "system", "content": "Brief."},
                {"role": "user", "content": [{"type": "text", "text": "Given"}]},
                {"role": "assistant", "content": "Taken"},
            ],
        }
    ),
    "lines": (
        '{"messages": [{"role": "user", "content": "Given"}, {"role": "assistant", "content": "Taken"}]}\n'
        '{"messages": [{"role": "user", "content": "Two"}]}\n'
    ),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_conversations_of_others_are_read(chat, host, kind):
    load(chat, OTHERS[kind])
    chat.page.wait_for_selector(".said >> text=Given")
    assert chat.page.locator(".prose").inner_text().strip() == "Taken"
    chat.say("Next")
    assert [message["content"] for message in host.asked[0]["messages"]][-3:] == ["Given", "Taken", "Next"]


CIRCLE = [
    {"id": "a", "parent": "b", "role": "user", "content": "x"},
    {"id": "b", "parent": "a", "role": "user", "content": "y"},
]


def test_files_that_hold_no_conversation_are_refused(chat):
    unread = [
        "no JSON",
        "{}",
        "[1, 2]",
        "null",
        '{"messages": 1}',
        '{"messages": [{"role": "wizard", "content": "x"}]}',
        '{"messages": [null]}',
    ]
    unread += [
        '{"messages": [{"role": "user", "content": 5}]}',
        json.dumps({"messages": [], "branches": {"nodes": CIRCLE}}),
    ]
    refused = chat.page.evaluate(
        """async texts => {
            const { Unreadable, fromText } = await import("/conversation_files.js");
            return texts.map(text => { try { fromText(text); return false; } catch (error) { return error instanceof Unreadable; } });
        }""",
        unread,
    )
    assert refused == [True] * len(unread)
    load(chat, unread[0])
    chat.page.wait_for_selector(".toast >> text=contains no readable conversation")
    wait_for_titles(chat)
