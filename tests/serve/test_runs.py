"""Runs for the page: whole ones, ones under way, damaged ones; and no way out of their folder."""

import asyncio
import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from fastapi.encoders import jsonable_encoder

from groundup.core.files import json_text
from groundup.core.ledger import Manifest
from groundup.pipeline.run import locked
from groundup.serve import runs
from groundup.serve.errors import HANDLERS

RECIPE = """
name = "small"
[[source]]
name = "tasks"
kind = "tasks"
count = 60
families = {{ copying = 1, sorting = 1 }}
[tokenizer]
vocab_size = 300
[model]
depth = 1
width = 16
head_dim = 16
heads = 1
context = 64
[[stage]]
do = "pretrain"
tokens = 640
batch_tokens = 128
mix = {{ tasks = 1.0 }}
validate_steps = 2
[evaluate]
suites = ["tasks"]
per_family = 2
"""


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run from its recipe, through the command line."""
    folder = tmp_path_factory.mktemp("run")
    (folder / "small.toml").write_text(RECIPE.format())
    command = [sys.executable, "-m", "groundup.cli", "run", str(folder / "small.toml"), "--runs", str(folder / "runs")]
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL, env=os.environ | {"CXX": "/nonexistent"})
    return folder / "runs"


@pytest.fixture
def folder(finished: Path, tmp_path: Path) -> Path:
    shutil.copytree(finished, tmp_path / "runs")
    return tmp_path / "runs"


def ask(folder: Path, path: str) -> httpx.Response:
    app = FastAPI(exception_handlers=HANDLERS)
    app.include_router(runs.routes(folder))

    async def get() -> httpx.Response:
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app, raise_app_exceptions=False), base_url="http://localhost"
        ) as client:
            return await client.get(path)

    return asyncio.run(get())


def test_a_finished_run_shows_everything(folder):
    (run,) = ask(folder, "/api/runs").json()["runs"]
    assert (run["name"], run["live"]) == ("small", False)
    assert {stage["state"] for stage in run["stages"]} == {"done"}
    assert [stage["name"] for stage in run["stages"] if stage["trains"]] == ["pretrain"]
    one = ask(folder, "/api/runs/small").json()
    (training,) = one["training"]
    assert [point["step"] for point in training["points"]] == list(range(1, training["steps"] + 1))
    assert any("heldout" in point for point in training["points"])
    assert "Exact match" in one["figures"][0]["title"]
    assert all(len(row) == len(table["columns"]) for table in one["figures"] for row in table["rows"])
    names = {node["id"] for node in one["lineage"]["nodes"]}
    assert {"source tasks", "documents-tasks", "tokenizer", "pretrain", "evaluate"} <= names
    assert all(start in names and end in names for start, end in one["lineage"]["edges"])
    assert one["licences"] == {"CC0-1.0": sum(one["licences"].values())}


def test_only_what_is_new_is_sent(folder):
    points = ask(folder, "/api/runs/small?since=pretrain:3").json()["training"][0]["points"]
    assert [point["step"] for point in points] == [4, 5]
    for wrong in ("pretrain", "pretrain:x", ":3", "../x:1", "pretrain:-1", f"pretrain:{'9' * 5000}"):
        assert ask(folder, f"/api/runs/small?since={wrong}").status_code == 400


def test_a_run_under_way_is_live(folder):
    root = folder / "small"
    shutil.rmtree(root / "evaluate")
    (root / "pretrain" / "manifest.json").unlink()
    with locked(root):
        run = ask(folder, "/api/runs").json()["runs"][0]
    assert run["live"]
    states = {stage["name"]: stage["state"] for stage in run["stages"]}
    assert (states["tokenizer"], states["pretrain"]) == ("done", "running")
    assert not ask(folder, "/api/runs").json()["runs"][0]["live"]
    assert ask(folder, "/api/runs/small").json()["lineage"] is None


def test_a_torn_line_is_left_out(folder):
    with (folder / "small" / "pretrain" / "metrics.jsonl").open("a") as log:
        log.write('{"step": 6, "loss": 1.0, "tokens_per')
    assert len(ask(folder, "/api/runs/small").json()["training"][0]["points"]) == 5


def test_long_curves_are_thinned_but_keep_their_ends(tmp_path):
    log = tmp_path / "metrics.jsonl"
    log.write_text(
        "".join(json.dumps({"step": step, "loss": 1.0, "tokens_per_second": 2.0}) + "\n" for step in range(1, 5001))
    )
    points = runs.curve(log)
    assert len(points) == runs.POINTS
    assert (points[0]["step"], points[-1]["step"]) == (1, 5000)


@pytest.mark.parametrize(
    "name",
    [
        "recipe.json",
        "pretrain/manifest.json",
        "pretrain/metrics.jsonl",
        "evaluate/manifest.json",
        "tokenizer/manifest.json",
    ],
)
@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"[]", b"{}", b'{"recipe": 3}'])
def test_damaged_files_are_no_failure(folder, name, content):
    (folder / "small" / name).write_bytes(content)
    assert ask(folder, "/api/runs").status_code == 200
    assert ask(folder, "/api/runs/small").status_code == 200


def anew(table):
    """A manifest with the identities of its other fields; any other table as it is."""
    fields = {key: value for key, value in table.items() if key not in ("record", "digest")}
    try:
        return Manifest(**fields).entry()
    except (TypeError, AttributeError, KeyError):
        return table


@pytest.mark.parametrize(
    "name", ["recipe.json", "pretrain/manifest.json", "evaluate/manifest.json", "documents-tasks/manifest.json"]
)
def test_no_value_in_a_file_is_a_failure(finished, name, tmp_path):
    """Each value is replaced in turn, and a manifest's identities made anew, where there can be any."""
    root = tmp_path / "small"
    shutil.copytree(finished / "small", root)
    table = json.loads((root / name).read_text())
    for holder, key in list(places(table)):
        kept = holder[key]
        for wrong in (None, [], {"a": 1}, "x"):
            holder[key] = wrong
            (root / name).write_text(json_text(anew(table)))
            shown = runs.details(root)
            assert shown["name"] == "small"
            jsonable_encoder(shown)
        holder[key] = kept
    (root / name).write_text(json_text(table))
    assert runs.details(root) == runs.details(finished / "small")


def places(table):
    """Where a value stands in JSON; of a list only the first."""
    for key, value in table.items() if isinstance(table, dict) else list(enumerate(table))[:1]:
        yield table, key
        if isinstance(value, dict | list):
            yield from places(value)


@pytest.mark.parametrize(
    ("line", "points"),
    [
        ('{"step": 6, "loss": NaN, "tokens_per_second": 1.0}', 6),
        ('{"step": 6, "loss": true, "tokens_per_second": 1.0}', 5),
        ('{"step": "6", "loss": 1.0, "tokens_per_second": 1.0}', 5),
        ("[" * 100_000, 5),
        ("[6]", 5),
    ],
)
def test_odd_lines_of_a_log_are_no_failure(folder, line, points):
    with (folder / "small" / "pretrain" / "metrics.jsonl").open("a") as log:
        log.write(line + "\n")
    answer = ask(folder, "/api/runs/small")
    assert answer.status_code == 200
    found = answer.json()["training"][0]["points"]
    assert len(found) == points
    assert points == 5 or found[-1]["loss"] is None


@pytest.mark.parametrize("name", ["..", "%2e%2e", "..%2fruns", "small%2f..", "Small", "nothing", "small%00"])
def test_names_lead_nowhere_else(folder, name):
    assert ask(folder, f"/api/runs/{name}").status_code == 404


def test_links_that_lead_out_are_left_out(folder, tmp_path):
    shutil.copytree(folder / "small", tmp_path / "elsewhere")
    (folder / "linked").symlink_to(tmp_path / "elsewhere")
    assert [run["name"] for run in ask(folder, "/api/runs").json()["runs"]] == ["small"]
    (tmp_path / "secret.html").write_text("secret")
    (folder / "small" / "report" / "report.html").unlink()
    (folder / "small" / "report" / "report.html").symlink_to(tmp_path / "secret.html")
    assert ask(folder, "/api/runs/small/report").status_code == 404
    for part in ("pretrain/metrics.jsonl", "pretrain/manifest.json"):
        (folder / "small" / part).unlink()
        (folder / "small" / part).symlink_to(tmp_path / "elsewhere" / part)
    one = ask(folder, "/api/runs/small").json()
    assert (one["training"][0]["points"], one["lineage"], one["report"]) == ([], None, False)
    os.mkfifo(folder / "small" / "report" / "pipe")
    (folder / "small" / "report" / "report.html").unlink()
    (folder / "small" / "report" / "pipe").rename(folder / "small" / "report" / "report.html")
    assert ask(folder, "/api/runs/small/report").status_code == 404


def test_the_report_comes_in_a_sandbox(folder):
    report = ask(folder, "/api/runs/small/report")
    assert "<html" in report.text
    assert "sandbox" in report.headers["content-security-policy"]
    assert "script" not in report.headers["content-security-policy"]


def test_no_folder_has_no_runs(tmp_path):
    assert ask(tmp_path / "none", "/api/runs").json() == {"runs": []}


def test_runs_are_read_in_threads_of_their_own(tmp_path, monkeypatch):
    """Requests to models may hold every thread of the pool that FastAPI gives to plain functions."""
    names = []
    monkeypatch.setattr(runs, "run_folders", lambda folder: names.append(threading.current_thread().name) or [])
    assert ask(tmp_path, "/api/runs").json() == {"runs": []}
    assert names[0].startswith("runs")
