"""Talking: streaming, stopping, asking again, editing, branches, settings."""

import threading
import time

import pytest

from tests.serve.page.fake_server import USAGE, delta, event, raw, says

pytestmark = pytest.mark.browser
KNOBS = {
    "Temperature": 0.5,
    "Top-p": 0.9,
    "Min-p": 0.05,
    "Top-k": 40,
    "Repetition penalty": 1.1,
    "Presence penalty": 0.2,
    "Frequency penalty": -0.3,
    "Max tokens": 64,
    "Seed": 7,
}
NAMES = [
    "temperature",
    "top_p",
    "min_p",
    "top_k",
    "repetition_penalty",
    "presence_penalty",
    "frequency_penalty",
    "max_tokens",
    "seed",
]


def answers(chat):
    return [text.strip() for text in chat.page.locator(".message.assistant .prose").all_inner_texts()]


def test_a_model_says_what_it_is_for_and_an_example_goes_into_the_field(visit, host):
    host.settings["models"][0] |= {"purpose": "Counts <b>legs</b>.", "examples": ["Three cats?", "<i>Two</i>\ndogs?"]}
    chat = visit()
    page = chat.open()
    assert page.locator(".welcome .purpose").inner_text() == "Counts <b>legs</b>."
    buttons = page.get_by_role("list", name="Examples").get_by_role("button")
    assert buttons.all_inner_texts() == ["Three cats?", "<i>Two</i> dogs?"]
    page.get_by_label("Model").select_option("vision_engine")
    assert page.locator(".welcome h2").inner_text() == "Chat with vision_engine"
    assert page.locator(".purpose, .examples").count() == 0
    page.get_by_label("Model").select_option("demo")
    buttons.nth(1).click()
    assert page.input_value("#composer") == "<i>Two</i>\ndogs?"
    assert page.evaluate("document.activeElement.id") == "composer"
    assert host.asked == []
    page.keyboard.press("Enter")
    chat.settle()
    assert [message["content"] for message in host.asked[0]["messages"]] == ["<i>Two</i>\ndogs?"]
    assert page.locator(".examples").count() == 0


def test_an_answer_comes_piece_by_piece(chat, host):
    gate = threading.Event()

    def script(body):
        yield delta(content="First ")
        gate.wait(60)
        yield delta(content="second.")
        yield delta("stop")
        yield b"data: [DONE]\n\n"

    host.script = script
    chat.say("Hi", wait=False)
    chat.wait("document.querySelector('.prose')?.textContent.trim() === 'First'")
    assert chat.page.locator(".message.running").count() == 1
    gate.set()
    chat.settle()
    assert answers(chat) == ["First second."]
    assert host.asked == [
        {
            "model": "demo",
            "messages": [{"role": "user", "content": "Hi"}],
            "stream": True,
            "stream_options": {"include_usage": True},
        }
    ]


def test_the_next_question_carries_what_was_said(chat, host):
    chat.say("One")
    host.script = says("Again.")
    chat.say("Two")
    roles = [(message["role"], message["content"]) for message in host.asked[1]["messages"]]
    assert roles == [("user", "One"), ("assistant", "Hello there."), ("user", "Two")]
    assert answers(chat) == ["Hello there.", "Again."]


@pytest.mark.parametrize("how", ["button", "escape"])
def test_stopping_keeps_what_was_said_and_frees_the_server(chat, host, how):
    host.script = says(*["word "] * 10_000, pause=0.02)
    chat.say("Go on", wait=False)
    chat.page.wait_for_selector(".message.assistant .prose >> text=word")
    if how == "button":
        chat.page.get_by_role("button", name="Stop").click()
    else:
        chat.page.keyboard.press("Escape")
    chat.settle()
    assert chat.page.locator(".message.assistant .note").inner_text() == "Stopped."
    assert answers(chat)[0].startswith("word")
    assert host.cut.wait(60)


def test_asking_again_keeps_the_first_answer_as_a_version(chat, host):
    chat.say("Hi")
    host.script = says("Another.")
    chat.page.get_by_role("button", name="Regenerate").click()
    chat.settle()
    assert answers(chat) == ["Another."]
    assert host.asked[1]["messages"] == [{"role": "user", "content": "Hi"}]
    before = chat.page.get_by_role("button", name="Previous version")
    assert chat.page.get_by_role("img", name="Version 2 of 2").is_visible()
    before.click()
    assert answers(chat) == ["Hello there."]
    assert chat.page.evaluate("document.activeElement.getAttribute('aria-label')") == "Next version"
    chat.page.keyboard.press("Enter")
    assert answers(chat) == ["Another."]


def test_editing_an_earlier_message_branches_there(chat, host):
    chat.say("One")
    host.script = says("About two.")
    chat.say("Two")
    first = chat.page.locator(".message.user").first
    first.hover()
    first.get_by_role("button", name="Edit").click()
    field = first.get_by_role("textbox", name="Edit")
    assert field.input_value() == "One"
    field.fill("Uno")
    host.script = says("Ciao.")
    chat.page.keyboard.press("Control+Enter")
    chat.settle()
    assert answers(chat) == ["Ciao."]
    assert [message["content"] for message in host.asked[2]["messages"]] == ["Uno"]
    first = chat.page.locator(".message.user").first
    first.hover()
    first.get_by_role("button", name="Previous version").click()
    assert answers(chat) == ["Hello there.", "About two."]


def test_escape_leaves_an_edit_as_it_was(chat):
    chat.say("One")
    chat.page.keyboard.press("Alt+e")
    chat.page.keyboard.type("more")
    chat.page.keyboard.press("Escape")
    assert chat.page.locator(".message.user .said").inner_text() == "One"
    assert chat.page.evaluate("document.activeElement.getAttribute('aria-label')") == "Edit"


def test_an_answer_can_be_put_right_without_asking(chat, host):
    chat.say("Hi")
    answer = chat.page.locator(".message.assistant")
    answer.get_by_role("button", name="Edit").click()
    answer.get_by_role("textbox", name="Edit").fill("As I want it.")
    answer.get_by_role("button", name="Save").click()
    assert answers(chat) == ["As I want it."]
    assert len(host.asked) == 1
    chat.say("And?")
    assert host.asked[1]["messages"][1]["content"] == "As I want it."


def test_arrow_up_in_an_empty_field_edits_the_last_message(chat):
    chat.say("One")
    chat.page.focus("#composer")
    chat.page.keyboard.press("ArrowUp")
    assert chat.page.get_by_role("textbox", name="Edit").input_value() == "One"


def test_enter_sends_and_shift_enter_begins_a_line(chat, host):
    chat.page.focus("#composer")
    chat.page.keyboard.type("a")
    chat.page.keyboard.press("Shift+Enter")
    chat.page.keyboard.type("b")
    chat.page.keyboard.press("Enter")
    chat.settle()
    assert host.asked[0]["messages"][0]["content"] == "a\nb"


def test_enter_that_ends_a_word_of_an_input_method_sends_nothing(chat, host):
    chat.page.fill("#composer", "你好")
    chat.page.locator("#composer").dispatch_event("keydown", {"key": "Enter", "isComposing": True, "bubbles": True})
    chat.page.wait_for_timeout(50)
    assert host.asked == []


def test_system_prompt_and_sampling_are_sent_and_kept(chat, host):
    page = chat.page
    page.get_by_role("button", name="Settings").click()
    page.get_by_label("System prompt").fill("Be brief.")
    for label, value in KNOBS.items():
        page.get_by_label(label, exact=True).fill(str(value))
    page.get_by_label("Stop strings").fill("END\n\\n\\n")
    page.keyboard.press("Escape")
    chat.say("Hi")
    wanted = dict(zip(NAMES, KNOBS.values(), strict=True)) | {"stop": ["END", "\n\n"]}
    assert {name: host.asked[0].get(name) for name in wanted} == wanted
    assert host.asked[0]["messages"][0] == {"role": "system", "content": "Be brief."}
    page.reload()
    page.get_by_role("button", name="Settings").click()
    assert page.get_by_label("Temperature").input_value() == "0.5"
    assert page.get_by_label("System prompt").input_value() == "Be brief."
    page.get_by_role("button", name="Clear all").click()
    page.keyboard.press("Escape")
    chat.say("Bye")
    assert not wanted.keys() & host.asked[1].keys()


def test_a_knob_stays_within_its_bounds(chat, host):
    chat.page.get_by_role("button", name="Settings").click()
    chat.page.get_by_label("Temperature").fill("9")
    chat.page.get_by_label("Top-k", exact=True).fill("2.7")
    chat.page.keyboard.press("Tab")
    assert chat.page.get_by_label("Temperature").input_value() == "2"
    assert chat.page.get_by_label("Top-k", exact=True).input_value() == "3"


def test_the_chosen_model_answers(chat, host):
    chat.page.get_by_label("Model").select_option("vision_engine")
    chat.say("Hi")
    assert host.asked[0]["model"] == "vision_engine"
    assert chat.page.locator(".message.assistant .who").inner_text() == "vision_engine"


def test_figures_of_an_answer_are_shown(chat, host):
    host.script = says("a ", "b ", "c.", pause=0.05)
    chat.say("Hi")
    figures = chat.page.locator(".message.assistant .figures").inner_text()
    rate = float(figures.split(" · ")[1].removesuffix(" tokens/s").replace(",", ""))
    assert figures.startswith("8 tokens · ")
    assert 20 < rate < 7 / 0.09  # seven tokens after the first, in the two pauses of 0.05 s after it
    assert "first token after 0." in figures
    assert chat.page.locator(".meter").inner_text() == "20 of 4,096 tokens"
    assert USAGE["completion_tokens"] == 8


def test_an_answer_of_the_greatest_length_says_so(chat, host):
    host.script = says("Long", finish="length")
    chat.say("Hi")
    assert chat.page.locator(".message.assistant .note").inner_text() == "The answer reached its maximum length."


def test_two_conversations_answer_at_once(chat, host):
    gate = threading.Event()

    def script(body):
        yield delta(content="Slow")
        if body["messages"][0]["content"] == "One":
            gate.wait(60)
        yield delta("stop", content=" done.")
        yield b"data: [DONE]\n\n"

    host.script = script
    chat.say("One", wait=False)
    chat.page.wait_for_selector(".prose >> text=Slow")
    chat.page.get_by_role("button", name="New conversation").click()
    chat.say("Two")
    assert answers(chat) == ["Slow done."]
    assert chat.page.locator(".conversations li.running").inner_text().strip() == "One"
    chat.page.locator(".conversations a", has_text="One").click()
    chat.wait("document.querySelector('.log .prose')?.textContent.trim() === 'Slow'")
    assert answers(chat) == ["Slow"]
    gate.set()
    chat.settle()
    assert answers(chat) == ["Slow done."]


def test_a_page_that_is_left_in_the_middle_keeps_what_was_said(chat, host):
    host.script = says("Kept so far. ", *["x"] * 10_000, pause=0.02)
    chat.say("Hi", wait=False)
    chat.page.wait_for_selector(".prose >> text=Kept so far")
    time.sleep(2.3)  # an answer that grows is written every two seconds
    chat.page.reload()
    chat.page.wait_for_selector(".message.assistant .note >> text=Stopped.")
    assert answers(chat)[0].startswith("Kept so far.")


def test_the_log_follows_its_end_unless_the_reader_has_gone_elsewhere(chat, host):
    gate = threading.Event()

    def script(body):
        yield delta(content="\n\n".join(f"Paragraph {number}." for number in range(60)))
        gate.wait(60)
        yield delta("stop", content="\n\nThe end.")
        yield b"data: [DONE]\n\n"

    host.script = script
    chat.say("Hi", wait=False)
    rest = (
        "(() => { const log = document.querySelector('.log'); return log.scrollHeight - log.scrollTop -"
        " log.clientHeight; })()"
    )
    chat.wait(f"document.querySelector('.prose')?.textContent.includes('Paragraph 59') && {rest} < 2")
    chat.page.locator(".log").evaluate("log => { log.scrollTop = 0; }")
    chat.page.wait_for_selector(".jump:not([hidden])")
    gate.set()
    chat.settle()
    assert chat.page.locator(".log").evaluate("log => log.scrollTop") == 0
    chat.page.get_by_role("button", name="Jump to the latest").click()
    assert chat.page.evaluate(rest) < 2


def test_a_tool_is_called_and_its_result_given(chat, host):
    page = chat.page
    tools = '[{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]'
    page.get_by_role("button", name="Settings").click()
    page.get_by_label("Tools").fill("[")
    assert page.locator("#tools-why").inner_text().startswith("This is not JSON")
    page.get_by_label("Tools").fill(tools)
    page.keyboard.press("Escape")
    call = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city":'}}
    host.script = raw(
        delta(tool_calls=[call]),
        delta(tool_calls=[{"index": 0, "function": {"arguments": ' "Graz"}'}}]),
        delta("tool_calls"),
        event({"choices": [], "usage": USAGE}),
        b"data: [DONE]\n\n",
    )
    chat.say("Weather?")
    fold = page.locator(".message.assistant details.fold")
    assert fold.evaluate("item => item.open") is False
    fold.locator("summary").click()
    assert fold.locator("pre").inner_text() == '{\n  "city": "Graz"\n}'
    host.script = says("Sunny.")
    page.get_by_label("Result of weather").fill("21 degrees")
    page.get_by_role("button", name="Submit result").click()
    chat.settle()
    assert answers(chat) == ["Sunny."]
    asked, given = host.asked[1]["messages"][1:]
    function = {"name": "weather", "arguments": '{"city": "Graz"}'}
    assert asked == {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": "call_1", "type": "function", "function": function}],
    }
    assert given == {"role": "tool", "tool_call_id": "call_1", "content": "21 degrees"}
    assert host.asked[1]["tools"][0]["function"]["name"] == "weather"
