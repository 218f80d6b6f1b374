"""The page on the real server and a real engine: what the stand-in promises is what there is."""

import json
import tomllib
from pathlib import Path

import pytest
from test_page_chat import KNOBS
from test_page_images import attach, png

from groundup import device
from groundup.config.recipe import Recipe
from groundup.generate.engine import Engine
from groundup.generate.service import Service
from groundup.model import weights
from groundup.pipeline import run as pipeline
from groundup.serve.access_log import AccessLog
from groundup.serve.admission import AdmissionControl
from groundup.serve.command import Options, application
from groundup.serve.metrics import Metrics
from groundup.serve.models import Registry
from groundup.serve.rate_limit import RateLimiter
from tests.random_models import random_model
from tests.serve.serve_helpers import IMAGE_MODEL, listening, small_tokenizer, vision_tokenizer
from tests.serve.test_runs import RECIPE

pytestmark = pytest.mark.browser


class Real:
    """What a visit needs to know of a server."""

    def __init__(self, port):
        self.url = f"http://127.0.0.1:{port}/"


@pytest.fixture
def runs(tmp_path):
    folder = tmp_path / "runs"
    recipe = Recipe.of(tomllib.loads(RECIPE.format()))
    pipeline.remember(recipe, tmp_path, folder / "small")
    (folder / "small" / "pretrain").mkdir()
    lines = [
        {"step": step, "loss": 5 - step / 4, "tokens_per_second": 900.0, "heldout": {"tasks": 4.0}}
        for step in range(1, 5)
    ]
    (folder / "small" / "pretrain" / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


@pytest.fixture
def tokenizer(request):
    """A tokenizer without image tokens, unless the test names another."""
    return getattr(request, "param", small_tokenizer)()


@pytest.fixture
def real(tmp_path, runs, tokenizer):
    model = tmp_path / "small"
    weights.save(
        random_model(context=1024, vocab=tokenizer.size, **(IMAGE_MODEL if tokenizer.sees else {})), model, None
    )
    tokenizer.save(model)

    def load(folder: Path) -> Service:
        return Service(Engine.load(folder, device.pick("cpu"), cache_bytes=64 << 20))

    registry = Registry({"small": model}, lambda path: path, load)
    registry.load()
    options = Options(
        host="127.0.0.1", port=0, keys=None, weights="full", cache_bytes=64 << 20, queue=16, concurrent=8, requests_per_minute=600,
        total_concurrent=64,
        grace=1.0, temperature=1.0, watch=False, runs=runs, log_prompts=False, device=None,
    )  # fmt: skip
    with (tmp_path / "log").open("w") as out:
        log, metrics = AccessLog(out), Metrics(registry.states)
        whole = application(registry, metrics, options, lambda: True)
        with listening(
            AdmissionControl(
                whole,
                None,
                RateLimiter(options.requests_per_minute, options.concurrent, options.total_concurrent),
                log,
                metrics,
            )
        ) as port:
            yield Real(port)
        registry.close(0)
        log.close()


def test_the_page_talks_to_the_engine_and_shows_runs(visit, real):
    one = visit(host=real)
    page = one.open()
    assert page.locator(".welcome h2").inner_text() == "Chat with small"
    assert "1,024 tokens of context" in page.locator(".welcome p").inner_text()
    page.get_by_role("button", name="Settings").click()
    for label, value in (KNOBS | {"Max tokens": 30}).items():
        page.get_by_label(label, exact=True).fill(str(value))
    page.get_by_label("Stop strings").fill("END")
    page.get_by_label("System prompt").fill("one two")
    page.keyboard.press("Escape")
    one.say("one two three")
    assert page.locator(".message .error").count() == 0
    figures = page.locator(".message.assistant .figures").inner_text()
    assert "tokens" in figures
    first = page.locator(".message.assistant .body").inner_text()
    page.get_by_role("button", name="Regenerate").click()
    one.settle()
    assert page.locator(".branches").inner_text() == "2/2"
    assert page.locator(".message.assistant .body").inner_text() == first  # the same request with the same seed
    page.get_by_role("button", name="Settings").click()
    page.get_by_label("Max tokens").fill("2000")
    page.keyboard.press("Escape")
    one.say("zq" * 3000)
    assert "The server refused the request." in page.locator(".message .error").last.inner_text()
    one.noise.clear()
    page.goto(real.url + "#/runs")
    page.locator(".card a").click()
    page.wait_for_selector("figure.chart svg")
    assert "step 4" in page.locator("section p.note").first.inner_text()


def test_a_stopped_answer_frees_the_engine(visit, real):
    one = visit(host=real)
    page = one.open()
    page.get_by_role("button", name="Settings").click()
    page.get_by_label("Max tokens").fill("900")
    page.keyboard.press("Escape")
    one.say("one two three", wait=False)
    page.wait_for_selector(".message.running")
    page.keyboard.press("Escape")
    one.settle()
    running = (
        "fetch('/metrics').then(answer => answer.text()).then(text =>"
        " Number(text.match(/^groundup_engine_running\\{.*\\} (\\S+)/m)[1]))"
    )
    one.wait(f"{running}.then(number => number === 0)")


@pytest.mark.parametrize("tokenizer", [vision_tokenizer], indirect=True, ids=["vision"])
def test_the_page_shows_an_image_to_the_engine(visit, real):
    one = visit(host=real)
    page = one.open()
    page.get_by_role("button", name="Settings").click()
    page.get_by_label("Max tokens").fill("8")
    page.keyboard.press("Escape")
    attach(one, ("a.png", "image/png", png(1200, 900)))
    page.wait_for_selector(".previews img")
    one.say("one two")
    assert page.locator(".message .error").count() == 0
    assert "8 tokens" in page.locator(".message.assistant .figures").inner_text()
