"""Watching a run: messages when stages end, when the server fails or requires a key, and polling while the page is hidden."""

import pytest

from tests.serve.page.fake_server import a_run

pytestmark = pytest.mark.browser


@pytest.fixture
def watched(visit, host):
    """The page of a live run, at an hour that stands still until `clock` is moved."""
    host.runs = {"demo": a_run()}
    one = visit()
    one.page.clock.install()
    one.open("#/runs/demo")
    one.page.wait_for_selector(".plot svg")
    one.polls = lambda: host.paths.count("/api/runs/demo")
    return one


def pass_by(one, seconds):
    """Let time go by, second for second, with the answers that come meanwhile."""
    for _ in range(seconds):
        one.page.clock.run_for(1000)
        one.calm()
        one.page.wait_for_timeout(20)


def fail(one, status, headers=None):
    """From now on the server fails; returns what was asked."""
    asked = []

    def refuse(route):
        asked.append(route.request.url)
        route.fulfill(status=status, headers=headers or {}, json={"error": {"message": "it hurts <b>here</b>"}})

    one.page.route("**/api/runs/**", refuse)
    return asked


def said(one):
    return one.page.locator("#spoken p").all_text_contents()


def test_a_stage_that_ends_is_said_once(watched, host):
    ended = a_run(done=400)
    ended["stages"][3] |= {"state": "done", "seconds": 402.0, "finished": "2026-11-24T09:13:00Z"}
    ended["stages"][4]["state"] = "running"
    host.runs["demo"] = ended
    before = said(watched)
    pass_by(watched, 8)
    assert said(watched) == [*before, "Done: instruct"]
    host.runs["demo"] = a_run(live=False, done=400)
    pass_by(watched, 8)
    assert said(watched) == [*before, "Done: instruct", "Done: evaluate", "The run demo has ended."]


def test_a_stage_says_when_it_finished(visit, host):
    host.runs = {"demo": a_run()}
    host.runs["demo"]["stages"][1]["finished"] = "no time at all"
    one = visit(timezone_id="Asia/Shanghai")
    page = one.open("#/runs/demo")
    stages = page.locator(".stages li")
    stages.nth(4).wait_for()
    assert stages.locator("time").all_inner_texts() == ["24 Nov 2026, 17:00", "24 Nov 2026, 17:06"]
    page.goto(host.url + "#/runs")
    page.wait_for_selector(".card")
    assert "Invalid" not in page.locator(".card .note").inner_text()


def test_a_live_run_is_looked_at_every_two_seconds_and_an_ended_one_seldom(watched, host):
    before = watched.polls()
    pass_by(watched, 10)
    assert watched.polls() - before in (4, 5)
    host.runs["demo"] = a_run(live=False, done=400)
    pass_by(watched, 4)
    before = watched.polls()
    pass_by(watched, 14)
    assert watched.polls() - before <= 1


def test_a_server_that_fails_is_asked_ever_less_and_what_was_shown_stays(watched):
    asked = fail(watched, 500)
    pass_by(watched, 30)
    assert len(asked) == 4  # after 2, 6, 14 and 30 seconds
    trouble = watched.page.locator(".runs > .error")
    assert "it hurts <b>here</b>" in trouble.inner_text()
    assert watched.page.locator(".plot svg").count() == 4
    watched.page.unroute("**/api/runs/**")
    pass_by(watched, 33)
    assert not trouble.is_visible()
    watched.noise.clear()  # the browser reports the failures itself


def test_a_server_that_names_a_time_is_left_alone_until_then(watched):
    asked = fail(watched, 503, {"Retry-After": "20"})
    pass_by(watched, 18)
    assert len(asked) == 1
    pass_by(watched, 6)
    assert len(asked) == 2
    watched.noise.clear()


def test_nobody_is_asked_while_the_page_is_hidden(watched):
    hide = """hidden => {
        Object.defineProperty(document, "hidden", { configurable: true, get: () => hidden });
        document.dispatchEvent(new Event("visibilitychange"));
    }"""
    watched.page.evaluate(hide, True)
    pass_by(watched, 3)
    before = watched.polls()
    pass_by(watched, 20)
    assert watched.polls() == before
    watched.page.evaluate(hide, False)
    watched.calm()
    assert watched.polls() == before + 1


def test_whoever_leaves_asks_no_more(watched):
    watched.page.evaluate("location.hash = '#/chat'")
    watched.page.wait_for_selector(".composer")
    before = watched.polls()
    pass_by(watched, 10)
    assert watched.polls() == before


def test_a_key_is_asked_for_and_then_the_run_is_shown(watched, host):
    host.key = "sesame"
    pass_by(watched, 3)
    watched.page.fill("#key", "sesame")
    watched.page.keyboard.press("Enter")
    pass_by(watched, 2)
    watched.page.wait_for_selector(".plot svg")
    assert watched.page.locator(".runs > .error:visible").count() == 0
    watched.noise.clear()


@pytest.mark.parametrize("place", ["#/runs/%", "#/runs/%E0%A4%A"])
def test_an_address_that_is_no_encoding_is_a_run_that_is_not_there(visit, host, place):
    one = visit()
    one.open(place)
    trouble = one.page.locator(".runs > .error")
    trouble.wait_for()
    assert "there is no run" in trouble.inner_text()
    assert [said for said in one.noise if "404" not in said] == []
    one.noise.clear()


def test_without_any_run_that_is_said(visit, host):
    one = visit()
    page = one.open("#/runs")
    page.wait_for_selector(".cards >> text=No runs yet.")
