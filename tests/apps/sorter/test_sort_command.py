"""`groundup sort`: what does not fit together is refused, and the line at work in its page, as a user starts and ends
it.
"""

import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("mujoco")
pytest.importorskip("fastapi")
pytest.importorskip("httpx")

import httpx
import typer
from typer.testing import CliRunner

from groundup.apps.sorter.cli import confirmed
from groundup.apps.sorter.command import SortOptions, sort
from groundup.apps.sorter.interpretation import Interpretation
from groundup.core.errors import InputError
from groundup.model import weights
from tests.random_models import random_model
from tests.serve.serve_helpers import vision_tokenizer

ORACLE = SortOptions(
    model=None,
    oracle=True,
    name=None,
    key=None,
    items=3,
    setting="standard",
    seed=1,
    sure=80,
    record=None,
    page=False,
    port=None,
    device=None,
)


def but(**changes: object) -> SortOptions:
    return SortOptions(**(vars(ORACLE) | changes))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (but(oracle=False), "either a model or --oracle"),
        (but(model="runs/sorter"), "either a model or --oracle"),
        (but(name="sorter"), "--name: only with http://HOST:PORT"),
        (but(port=8765), "--port: only with --page"),
        (but(device="cpu"), "--device: only with a model's folder"),
        (but(setting="rainy"), "rainy: no setting of the line"),
        (but(oracle=False, model="http://127.0.0.1:9"), "say with --name what the model is called there"),
        (but(oracle=False, model="https://127.0.0.1:9", name="sorter"), "no address of a model server"),
        (
            but(oracle=False, model="http://127.0.0.1:9", name="sorter"),
            "refused; start it with `groundup serve sorter=FOLDER`",
        ),
    ],
)
def test_what_does_not_fit_is_refused_in_one_sentence(options, says):
    with pytest.raises(InputError, match=re.escape(says)) as error:
        sort(options, lambda path: path)
    assert "\n" not in str(error.value)


def test_it_ends_after_so_many_items_with_their_figures():
    figures = sort(ORACLE, lambda path: path)
    assert figures["setting"] == "standard" and figures["sorted"] + figures["manual"] + figures["passed"] >= 3


def test_orders_are_carried_out_before_the_first_item():
    figures = sort(but(orders=("leave paper; route can 3", "sure 90")), lambda path: path)
    assert figures["passed"] + figures["sorted"] + figures["manual"] >= 3
    for order, says in (
        ("route paper 9", "There is no bin 9."),
        ("ask bin", "Which bin?"),
        ("no order", "not an order"),
    ):
        with pytest.raises(InputError, match=f"order {order!r}: .*{says}.*nothing was sorted"):
            sort(but(orders=("leave paper", order)), lambda path: path)


@pytest.mark.parametrize("yes", [True, False])
def test_an_improbable_order_needs_a_yes_at_the_terminal(monkeypatch, yes):
    shown: list[str] = []

    def confirm(words: str) -> bool:
        shown.append(words)
        return yes

    options = but(orders=("别拣纸",), threshold=0.9, confirm=confirm)
    monkeypatch.setattr("groundup.apps.sorter.command.Interpretation", lambda text: Interpretation("leave paper", 0.8))
    if yes:
        sort(options, lambda path: path)
    else:
        with pytest.raises(InputError, match="was not confirmed; nothing was sorted"):
            sort(options, lambda path: path)
    assert shown == ["'别拣纸' means: 纸张留在带上"]


@pytest.mark.parametrize(("typed", "yes"), [("y\n", True), ("n\n", False), ("", False), ("maybe\n", False)])
def test_only_a_yes_confirms(typed, yes):
    runner = CliRunner()
    app = typer.Typer()
    app.command()(lambda: print(f"confirmed: {confirmed('leave paper on the belt')}"))
    result = runner.invoke(app, input=typed)
    assert f"confirmed: {yes}" in result.stdout
    assert "leave paper on the belt. Do that?" in result.stderr


def test_a_language_model_takes_the_orders_while_an_oracle_sees(tmp_path):
    pytest.importorskip("llguidance", reason="needs the extra serve")
    weights.save(random_model(context=256, vocab=vision_tokenizer().size), tmp_path / "listener", None)
    vision_tokenizer().save(tmp_path / "listener")
    model = str(tmp_path / "listener")
    assert sort(but(language_model=model), lambda path: path)["orders"] == "listener"
    with pytest.raises(InputError, match="nothing was sorted"):  # no threshold was calibrated: it asks, or refuses
        sort(but(language_model=model, orders=("leave paper",), device="cpu"), lambda path: path)


def test_random_faults_are_injected_and_counted():
    figures = sort(but(items=12, faults=True), lambda path: path)
    assert figures["faults"] >= 1
    assert figures["arrived"] == figures["sorted"] + figures["manual"] + figures["passed"] + figures["on"]


def test_the_page_shows_a_line_at_work_that_takes_orders_until_ctrl_c(tmp_path: Path):
    command = [sys.executable, "-m", "groundup.cli", "sort", "--oracle", "--page", "--json"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as line:
        try:
            address = re.search(r"http://127\.0\.0\.1:\d+", line.stderr.readline()).group()
            with httpx.Client(base_url=address, timeout=60, trust_env=False) as client:
                said = client.post("/api/order", json={"text": "leave paper", "language": "en"}).json()
                assert "Left on the belt: paper" in said["policy"]
                assert (
                    "refusal"
                    in client.post("/api/order", json={"text": "please leave the paper", "language": "en"}).json()
                )
                before = client.get("/api/live").json()["time"]
                while (live := client.get("/api/live").json())["time"] <= before:
                    pass
                assert live["policy"]["en"] == said["policy"] and live["picture"].startswith("data:image/png")
                assert [event["what"] for event in live["events"] if "text" in event] == [
                    "order: policy",
                    "order: refusal",
                ]
            line.send_signal(signal.SIGINT)
            out, complaints = line.communicate(timeout=60)
        finally:  # a page that nobody ends would take its share of a core for ever
            line.kill()
    assert (line.returncode, complaints) == (0, "")
    assert json.loads(out)["seconds"] >= live["time"]
