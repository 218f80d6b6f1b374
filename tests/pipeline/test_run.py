"""The whole path through the command line, on a recipe that takes seconds."""

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from groundup.core.files import sha256

RECIPES = Path(__file__).parents[2] / "recipes"
RECIPE = """\
name = "tiny"

[[source]]
name = "notes"
kind = "text"
path = "notes/*.txt"
licence = "CC0-1.0"
heldout_share = 0.2

[[source]]
name = "made"
kind = "tasks"
count = 300
families = { copying = 1, arithmetic = 1 }

[tokenizer]
vocab_size = 320

[model]
depth = 1
width = 32
context = 64
precision = "fp32"

[[stage]]
do = "pretrain"
tokens = 4096
batch_tokens = 256
checkpoint_steps = 2
mix = { notes = 0.5, made = 0.5 }

[[stage]]
do = "instruct"
tokens = 4096
checkpoint_steps = 2
mix = { made = 1.0 }

[evaluate]
suites = ["bits-per-byte", "tasks"]
per_family = 3
baselines = true
prompts = ["What is 1 + 1?", "请重复：鱼", "Say hello."]
"""

WORDS = ["river", "stone", "cloud", "lamp", "paper", "glass", "winter", "garden", "letter", "bridge"]


def fill(folder: Path) -> Path:
    """Put the recipe and its notes into a folder."""
    (folder / "notes").mkdir()
    for number in range(40):
        words = random.Random(number).choices(WORDS, k=60)
        (folder / "notes" / f"{number}.txt").write_text(" ".join(words))
    (folder / "tiny.toml").write_text(RECIPE)
    return folder


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return fill(tmp_path)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run gone through once, for tests that only look."""
    folder = fill(tmp_path_factory.mktemp("finished"))
    groundup(folder, "run", "tiny.toml")
    return folder


def groundup(home: Path, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    """Run the command line as a user does; eager, as compiling would take most of the time."""
    result = subprocess.run(
        command(*arguments), cwd=home, capture_output=True, text=True, env=environment(), check=False
    )
    assert result.returncode == code, result.stderr
    return result


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "groundup.cli", *arguments]


def environment() -> dict[str, str]:
    return os.environ | {"TORCHDYNAMO_DISABLE": "1", "OMP_NUM_THREADS": "1"}


def stages(home: Path) -> dict[str, str]:
    """State of each stage, by a dry run."""
    return json.loads(groundup(home, "run", "tiny.toml", "--dry-run", "--json").stdout)["stages"]


def stale(home: Path) -> set[str]:
    return {name for name, reason in stages(home).items() if reason != "fresh"}


def test_a_run_ends_with_figures_report_answers_and_the_line_that_starts_a_chat(home: Path) -> None:
    out = groundup(home, "run", "tiny.toml").stdout
    assert "report.html" in out
    assert "groundup chat runs/tiny/instruct" in out
    assert "What is 1 + 1?" in out
    assert "copying" in out
    assert (home / "runs/tiny/report/report.html").read_text(encoding="utf-8").startswith("<!doctype html>")


def test_the_second_run_does_nothing(finished: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in finished.glob("runs/tiny/*/manifest.json")}
    groundup(finished, "run", "tiny.toml")
    assert before == {path: path.stat().st_mtime_ns for path in finished.glob("runs/tiny/*/manifest.json")}


def test_chat_answers(finished: Path) -> None:
    messages = json.loads(
        groundup(
            finished, "chat", "runs/tiny", "--ask", "What is 1 + 1?", "--ask", "And 2 + 2?", "--tokens", "5", "--json"
        ).stdout
    )
    assert [message["role"] for message in messages] == ["user", "assistant", "user", "assistant"]


def test_chat_reads_from_a_pipe_and_over_several_lines(finished: Path) -> None:
    asked = {"cwd": finished, "input": "Sort:\\\n2, 1\n/reset\nSort:\\\n2, 1\n", "env": environment()}
    process = subprocess.run(
        command("chat", "runs/tiny/instruct", "--tokens", "3"), capture_output=True, text=True, check=True, **asked
    )
    first, second = process.stdout.replace("you> ", "").replace("...> ", "").splitlines()[:2]
    assert first == second  # the conversation began anew, and the answers are greedy


def test_evaluate_repeats_the_figures_of_the_run(finished: Path) -> None:
    figures = json.loads(groundup(finished, "evaluate", "runs/tiny", "--json").stdout)
    recorded = json.loads((finished / "runs/tiny/evaluate/manifest.json").read_text())["metrics"]
    assert figures == recorded


def test_evaluate_takes_a_multiple_choice_file(finished: Path) -> None:
    lines = [
        {"question": "1 + 1 =", "choices": [" 2", " 3"], "answer": 0},
        {"question": "2 + 1 =", "choices": [" 2", " 3"], "answer": "B"},
    ]
    (finished / "choice.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert "choice" in groundup(finished, "evaluate", "runs/tiny", "--choice", "choice.jsonl").stdout


def test_export_writes_what_trace_reads(finished: Path) -> None:
    groundup(finished, "export", "runs/tiny", "exported", "--to", "hf")
    assert {"config.json", "model.safetensors", "tokenizer.json", "README.md"} <= {
        path.name for path in (finished / "exported").iterdir()
    }
    assert "CC0-1.0" in groundup(finished, "trace", "exported").stdout


def test_trace_names_every_file_and_licence(finished: Path) -> None:
    table = groundup(finished, "trace", "runs/tiny", "--verify", "--json").stdout
    assert all(f"notes/{number}.txt" in table for number in range(40))
    assert "CC0-1.0" in table


def test_doctor_says_what_is_there(finished: Path) -> None:
    table = json.loads(groundup(finished, "doctor", "--json").stdout)
    assert table["versions"]["torch"]
    assert "judges" in table["extras"]


def test_new_copies_a_recipe_under_another_name(finished: Path) -> None:
    groundup(finished, "new", "mine", "--like", "tiny.toml")
    assert 'name = "mine"' in (finished / "mine.toml").read_text()
    assert "there already" in groundup(finished, "new", "mine", "--like", "tiny.toml", code=2).stderr


def test_an_unchanged_run_is_fresh(finished: Path) -> None:
    assert stale(finished) == set()


def test_what_changes_makes_exactly_its_dependants_stale(home: Path) -> None:
    groundup(home, "run", "tiny.toml", "--until", "shards-made")
    done = {"documents-notes", "documents-made", "tokenizer", "shards-notes", "shards-made"}
    assert stale(home) & done == set()

    recipe = home / "tiny.toml"
    recipe.write_text(RECIPE.replace("context = 64", "context = 32"))
    assert stale(home) & done == {"shards-notes", "shards-made"}
    recipe.write_text(RECIPE.replace("count = 300", "count = 301"))
    assert stale(home) & done == {"documents-made", "tokenizer", "shards-notes", "shards-made"}
    recipe.write_text(RECIPE.replace("per_family = 3", "per_family = 4"))
    assert stale(home) & done == set()
    recipe.write_text(RECIPE)
    (home / "notes" / "0.txt").write_text("something else entirely, and long enough")
    assert stale(home) & done == {"documents-notes", "tokenizer", "shards-notes", "shards-made"}


def test_a_recipe_changed_under_a_finished_model_is_refused_and_nothing_lost(home: Path) -> None:
    groundup(home, "run", "tiny.toml", "--until", "pretrain")
    before = sha256(home / "runs/tiny/pretrain/model.safetensors")
    error = groundup(
        home, "run", "tiny.toml", "--until", "pretrain", "--set", "stage.pretrain.muon_lr=0.5", code=2
    ).stderr
    assert "another name" in error
    assert "--retrain" in error
    assert sha256(home / "runs/tiny/pretrain/model.safetensors") == before
    groundup(home, "run", "tiny.toml", "--until", "pretrain", "--set", "stage.pretrain.muon_lr=0.5", "--retrain")
    assert sha256(home / "runs/tiny/pretrain/model.safetensors") != before


def test_killed_at_random_moments_the_weights_are_bit_identical(home: Path) -> None:
    groundup(home, "run", "tiny.toml", "--until", "pretrain", "--runs", "whole")
    expected = sha256(home / "whole/tiny/pretrain/model.safetensors")

    groundup(home, "run", "tiny.toml", "--until", "shards-made")
    random_moment = random.Random(7)
    for _ in range(4):
        process = subprocess.Popen(
            command("run", "tiny.toml", "--until", "pretrain"), cwd=home, env=environment(), stderr=subprocess.DEVNULL
        )
        checkpoints = home / "runs/tiny/pretrain/checkpoints"
        waited = time.monotonic() + 60
        while process.poll() is None and not list(checkpoints.glob("*step*")) and time.monotonic() < waited:
            time.sleep(0.01)
        time.sleep(random_moment.uniform(0, 0.4))
        process.send_signal(signal.SIGKILL)
        process.wait()
    groundup(home, "run", "tiny.toml", "--until", "pretrain")
    assert sha256(home / "runs/tiny/pretrain/model.safetensors") == expected


def test_two_processes_train_as_one_does(home: Path) -> None:
    groundup(home, "run", "tiny.toml", "--until", "pretrain", "--runs", "one")
    launcher = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
        "-m",
        "groundup.cli",
    ]
    result = subprocess.run(
        [*launcher, "run", "tiny.toml"], cwd=home, capture_output=True, text=True, env=environment(), check=True
    )
    assert result.stdout.count("groundup chat") == 1
    losses = {folder: logged_losses(home / folder / "tiny/pretrain/metrics.jsonl") for folder in ("one", "runs")}
    assert losses["runs"] == pytest.approx(
        losses["one"], rel=5e-3
    )  # sums in another order, sharpened by Muon's bf16 iteration


def logged_losses(log: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in log.read_text(encoding="utf-8").splitlines()]


def test_two_runs_in_one_folder_are_told_so(home: Path) -> None:
    from groundup.pipeline.run import locked

    with locked(home / "runs/tiny"):
        assert "another run is at work" in groundup(home, "run", "tiny.toml", code=2).stderr


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("notes/*.txt", "nothing/*.txt"), "nothing"),
        (("copying = 1", "copyin = 1"), "copying"),
        (("pretrain", "pretrian"), "stage.0.do"),
        (('do = "pretrain"', 'do = "pretrain"\nname = "tokenizer"'), "two stages are called 'tokenizer'"),
    ],
)
def test_bad_input_ends_with_one_sentence_and_code_2(home: Path, change: tuple[str, str], says: str) -> None:
    (home / "tiny.toml").write_text(RECIPE.replace(*change))
    error = groundup(home, "run", "tiny.toml", code=2).stderr.strip().splitlines()[-1]
    assert error.startswith("error: ")
    assert says in error


def test_a_stage_that_is_not_there_is_refused(home: Path) -> None:
    assert "the stages are documents-notes" in groundup(home, "run", "tiny.toml", "--until", "tune", code=2).stderr


def test_conversations_over_the_context_are_warned_about_with_the_context_that_holds_them(home: Path) -> None:
    until = ("run", "tiny.toml", "--until", "shards-made")
    said = groundup(home, *until, "--set", "model.context=24").stderr
    cut, needed = re.search(
        r"source 'made': (\d+) of \d+ documents do not fit the context of 24 tokens .* to (\d+) for all", said
    ).groups()  # type: ignore[union-attr]
    assert int(cut) > 0
    assert "do not fit" in groundup(home, *until, "--set", f"model.context={int(needed) - 1}").stderr
    assert "do not fit" not in groundup(home, *until, "--set", f"model.context={needed}").stderr


def test_a_folder_without_a_model_is_refused(home: Path) -> None:
    assert "no finished model" in groundup(home, "chat", ".", "--ask", "hello", code=2).stderr


def test_help_does_not_load_torch(tmp_path: Path) -> None:
    script = tmp_path / "help.py"
    script.write_text(
        "import sys\nfrom groundup.cli import app\napp(['--help'], standalone_mode=False)\nassert 'torch' not in"
        " sys.modules\n"
    )
    subprocess.run([sys.executable, str(script)], check=True, capture_output=True)


SMALLER = {
    "model.depth": 1,
    "model.context": 64,
    "stage.pretrain.tokens": 2048,
    "stage.instruct.tokens": 2048,
    "stage.pretrain.batch_tokens": 1024,
    "source.tasks.count": 400,
    "tokenizer.vocab_size": 400,
    "evaluate.per_family": 1,
    "evaluate.baselines": "false",
}
SMALL = [f"--set={key}={value}" for key, value in SMALLER.items()]


def test_the_demo_recipe_runs_when_made_small(tmp_path: Path) -> None:
    out = groundup(tmp_path, "run", str(RECIPES / "demo.toml"), "--set=source.library.parts=['topics']", *SMALL).stdout
    assert "groundup chat runs/demo/instruct" in out


def test_the_corpus_recipe_runs_when_made_small(tmp_path: Path) -> None:
    texts = [" ".join(random.Random(number).choices(WORDS, k=80)) for number in range(300)]
    (tmp_path / "books.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    (tmp_path / "novel.txt").write_text("\n".join(texts))
    places = [
        f"--set=source.{name}.path={tmp_path / file}"
        for name, file in (("novels", "novel.txt"), ("textbooks", "books.jsonl"))
    ]
    groundup(tmp_path, "run", str(RECIPES / "corpus.toml"), *places, *SMALL)
