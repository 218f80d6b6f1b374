"""What a run verifies: the inputs of its stages, and that the files they read did not change. Training is made up:
only files count.
"""

import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from groundup.config.load import KEPT
from groundup.config.recipe import Recipe
from groundup.core import ledger
from groundup.core.errors import InputError
from groundup.core.files import sha256
from groundup.data.shards import Shards
from groundup.pipeline import stages
from groundup.pipeline.finished import recall
from groundup.pipeline.run import Options
from groundup.pipeline.run import run as run_stages
from groundup.pipeline.stages import Result, StageContext
from groundup.release.lineage import lineage

WORDS = ["river", "stone", "cloud", "lamp", "paper", "glass", "winter", "garden", "letter", "bridge"]
TRAINED = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "metrics.jsonl")
TABLE: dict[str, Any] = {
    "name": "tiny",
    "source": [{"name": "notes", "kind": "text", "path": "notes/*.txt", "licence": "CC0-1.0", "heldout_share": 0.2}],
    "tokenizer": {"vocab_size": 300},
    "model": {"depth": 1, "width": 32, "context": 32},
    "stage": [
        {"do": "pretrain", "tokens": 4096, "mix": {"notes": 1.0}},
        {"do": "instruct", "tokens": 4096, "mix": {"notes": 1.0}},
    ],
    "evaluate": {"suites": ["choice"], "choice": ["choice.jsonl"]},
}


def make(context: StageContext, title: str) -> Result:
    """A training stage that takes no time."""
    context.loaded()
    for name in TRAINED:
        (context.folder(title) / name).write_text(f"{name} of {title}")
    return Result(list(TRAINED), {"parameters": 1}, 1.0)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A recipe's folder; training, evaluation and report are made up."""
    (tmp_path / "notes").mkdir()
    for number in range(12):
        words = random.Random(number).choices(WORDS, k=60)
        (tmp_path / "notes" / f"{number:02}.txt").write_text(" ".join(words))
    (tmp_path / "choice.jsonl").write_text("{}")
    monkeypatch.setattr(stages, "train", lambda context, stage, *_: make(context, stage.title))
    monkeypatch.setattr(stages, "measure", lambda *_: Result([], {"figure": 0.5}))
    monkeypatch.setattr(stages, "report", made_up_report)
    return tmp_path


def made_up_report(context: StageContext) -> Result:
    (context.folder("report") / "report.html").write_text("a page")
    return Result(["report.html"], {})


def run(home: Path, until: str | None = None, retrain: bool = False, **changes: Any) -> Path:
    """Run the recipe; returns the run's folder."""
    run_stages(Recipe.of(TABLE | changes), home, home / "run", Options(until, retrain, device="cpu"))
    return home / "run"


def manifests(root: Path) -> dict[str, bytes]:
    return {path.parent.name: path.read_bytes() for path in root.glob("*/manifest.json")}


def flip(path: Path, place: int = 0) -> None:
    """Flip one bit as a disk does: the file's times stay."""
    stat, data = path.stat(), bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def broken(root: Path, model: str = "instruct") -> tuple[str, ...]:
    return lineage(root / model, verify=True).breaks


# --- keys and early cutoff ---------------------------------------------------------------------------------


def made_again(before: dict[str, bytes], root: Path) -> set[str]:
    """The stages whose manifests are new."""
    return {stage for stage, text in manifests(root).items() if before.get(stage) != text}


def test_another_program_with_the_same_versions_leaves_everything_fresh(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = run(home)
    before = manifests(root)
    monkeypatch.setattr("groundup.pipeline.run.code_version", lambda module: "another")
    run(home)
    assert manifests(root) == before


def test_a_knob_at_its_default_is_not_in_the_key(home: Path) -> None:
    root = run(home)
    before = manifests(root)
    run(home, source=[TABLE["source"][0] | {"min_chars": 1, "bad_share": 0.01}], model={**TABLE["model"], "tied": True})
    assert manifests(root) == before


@pytest.mark.parametrize("change", ["version", "recipe", "file"])
def test_a_stage_with_the_same_outputs_leaves_what_follows_fresh(
    home: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    root = run(home)
    before, changes = manifests(root), {}
    if change == "version":
        monkeypatch.setattr("groundup.data.prepare.VERSION", 2)
    elif change == "recipe":
        changes = {"source": [TABLE["source"][0] | {"bad_share": 0.02}]}
    else:
        shutil.copy(home / "notes" / "05.txt", home / "notes" / "99.txt")  # a duplicate, filtered
    with pytest.raises(InputError, match=r"pretrain: finished, but shards-notes and tokenizer changed since"):
        run(home, **changes)
    assert manifests(root) == before  # refused, as its documents could have come out otherwise
    run(home, retrain=True, **changes)
    asked_anew = {"evaluate"} if change == "recipe" else set()  # its part names the sources
    assert made_again(before, root) == {"documents-notes", "report"} | asked_anew
    assert broken(root) == ()
    after = manifests(root)
    run(home, **changes)
    assert manifests(root) == after


def test_other_outputs_train_again(home: Path) -> None:
    root = run(home)
    before = manifests(root)
    (home / "notes" / "05.txt").write_text("another text that is long enough to count")
    run(home, retrain=True)
    assert made_again(before, root) == set(before)
    assert broken(root) == ()


def test_new_figures_are_shown_by_a_new_report(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = run(home)
    before = manifests(root)
    monkeypatch.setattr("groundup.evaluate.runner.VERSION", 2)
    run(home)
    assert made_again(before, root) == {"evaluate", "report"}


# --- what a stage starts from ------------------------------------------------------------------------------


def test_a_finished_run_has_one_chain_up_to_its_report(home: Path) -> None:
    root = run(home)
    found = lineage(root / "instruct", verify=True)
    assert found.breaks == ()
    assert found.report is not None
    assert set(found.report.records) == set(manifests(root)) - {"report"}


@pytest.mark.parametrize(
    "name",
    [
        "documents-notes/documents.parquet",
        "tokenizer/tokenizer.json",
        "shards-notes/train/tokens.bin",
        "shards-notes/train/flags.bin",
    ],
)
def test_a_flipped_bit_in_what_a_stage_starts_from_is_mended_before_it_starts(home: Path, name: str) -> None:
    root = run(home, "shards-notes")
    before, content = manifests(root), sha256(root / name)
    flip(root / name, 20)
    run(home, "shards-notes")
    assert sha256(root / name) != content  # nothing starts from it: nothing is read
    run(home)
    assert sha256(root / name) == content
    assert {
        stage: text for stage, text in manifests(root).items() if stage in before
    } == before  # the same result: the same record
    assert broken(root) == ()


def test_what_a_spoilt_stage_starts_from_is_looked_at_as_well(home: Path) -> None:
    root = run(home, "shards-notes")
    names = [root / "shards-notes/train/tokens.bin", root / "documents-notes/documents.parquet"]
    before = [sha256(name) for name in names]
    for name in names:
        flip(name, 20)
    run(home)
    assert [sha256(name) for name in names] == before


@pytest.mark.parametrize("name", TRAINED[:4])
def test_a_flipped_bit_in_a_finished_model_stops_what_would_start_from_it(home: Path, name: str) -> None:
    root = run(home, "pretrain")
    flip(root / "pretrain" / name)
    before = manifests(root)
    with pytest.raises(InputError, match=f"pretrain: finished, but its {name} was changed or damaged since"):
        run(home)
    assert manifests(root) == before


def test_the_report_reads_only_logs_again(home: Path) -> None:
    root = run(home)
    shutil.rmtree(root / "report")
    flip(root / "documents-notes/documents.parquet", 20)
    run(home)
    shutil.rmtree(root / "report")
    flip(root / "pretrain/metrics.jsonl")
    with pytest.raises(InputError, match=r"its metrics\.jsonl was changed or damaged"):
        run(home)


def test_a_stage_made_again_with_the_same_result_keeps_its_record_though_it_was_killed_on_the_way(home: Path) -> None:
    root = run(home)
    before = manifests(root)
    ledger.set_aside(root / "tokenizer")
    (root / "tokenizer" / "tokenizer.json").unlink()  # killed here
    run(home)
    assert manifests(root) == before
    (root / "tokenizer" / "tokenizer.json").unlink()
    run(home)
    assert manifests(root) == before
    assert list(root.rglob(ledger.ASIDE)) == []
    assert broken(root) == ()


def test_a_record_that_was_lost_and_made_again_is_told(home: Path) -> None:
    root = run(home)
    (root / "tokenizer" / "manifest.json").unlink()
    run(home)
    assert any(
        "tokenizer/manifest.json: has record" in sentence and "made again with the same result" in sentence
        for sentence in broken(root)
    )


@pytest.mark.parametrize("text", ["-1", "[]", '{"recipe": 1}', '{"recipe": {}, "home": "."}', '{"home": "."}', "null"])
def test_a_recipe_of_another_shape_is_refused_in_one_sentence(tmp_path: Path, text: str) -> None:
    (tmp_path / "recipe.json").write_text(text)
    with pytest.raises(InputError, match=r"recipe\.json: not a recipe as runs keep it") as raised:
        recall(tmp_path)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [(name, value) for name in ("rows", "context", "dtype", "sha256", "asked") for value in (1e308, "x", [], -1)],
)
def test_shards_of_another_shape_are_refused_in_one_sentence(home: Path, name: str, value: object) -> None:
    """Whatever the table says, the files beside it are of one size."""
    path = home / "shards.json"
    table: dict[str, Any] = {
        "rows": 1,
        "context": 8,
        "dtype": "uint16",
        "sha256": {},
        "tokens": 1,
        "documents": 1,
        "asked": 1,
    }
    for file, size in (("tokens.bin", 16), ("flags.bin", 8)):
        (home / file).write_bytes(bytes(size))
    path.write_text(json.dumps(table))
    Shards.open(home)
    path.write_text(json.dumps({key: each for key, each in table.items() if key != name}))
    with pytest.raises(InputError, match=r"shards\.json: damaged"):
        Shards.open(home)
    if name in ("rows", "context", "dtype"):
        path.write_text(json.dumps(table | {name: value}))
        with pytest.raises(InputError):
            Shards.open(home)


@pytest.mark.parametrize("text", ["[", "[]", '{"/a": [1]}', '{"/a": [[], {}, 1, 1, "x"]}', "\0\0", ""])
def test_what_is_remembered_of_hashes_and_cannot_be_understood_is_made_anew(home: Path, text: str) -> None:
    root = run(home, "documents-notes")
    (root / "hashes.json").write_text(text)
    (root / "documents-notes" / "manifest.json").unlink()
    run(home, "documents-notes")
    json.loads((root / "hashes.json").read_text())


@pytest.mark.parametrize("name", ["hashes.json", "recipe.json", ".lock", "report/manifest.json"])
def test_a_folder_where_a_file_belongs_is_told_in_a_sentence(home: Path, name: str) -> None:
    root = run(home)
    (root / name).unlink()
    (root / name).mkdir()
    with pytest.raises(InputError, match=r"cannot be (read|written) \(Is a directory\)"):
        run(home, evaluate={"suites": ["choice"], "choice": ["choice.jsonl"], "prompts": ["another"]})


@pytest.mark.parametrize("name", ["run", "run/report", "run/shards-notes/train"])
def test_a_file_where_a_folder_belongs_is_told_in_a_sentence(home: Path, name: str) -> None:
    if name != "run":
        run(home, "tokenizer")
        (home / name).parent.mkdir(exist_ok=True)
    (home / name).write_text("x")
    with pytest.raises(InputError, match=r"cannot be written \((File exists|Not a directory)\)"):
        run(home)


# --- files that change while they are read -----------------------------------------------------------------


def appended(path: Path) -> None:
    path.write_text(path.read_text() + " more")


def same_size(path: Path) -> None:
    path.write_text(path.read_text().swapcase())


def disguised(path: Path) -> None:
    stat = path.stat()
    same_size(path)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def replaced(path: Path) -> None:
    other = path.with_name("other")
    other.write_text(path.read_text().upper())
    other.replace(path)


def removed(path: Path) -> None:
    path.unlink()


def joined(path: Path) -> None:
    path.with_name(f"new{path.suffix}").write_text(" ".join(WORDS * 6))


def and_back(path: Path) -> None:
    """Another content only for a while, as far as size, content and time of writing tell."""
    stat, before = path.stat(), path.read_bytes()
    same_size(path)
    path.write_bytes(before)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def swapped(path: Path) -> None:
    """Two files change places."""
    first, second = path, path.with_name("06.txt")
    text = first.read_text()
    first.write_text(second.read_text())
    second.write_text(text)


def test_files_that_change_places_are_other_sources(home: Path) -> None:
    root = run(home, "documents-notes")
    before = manifests(root)
    swapped(home / "notes" / "05.txt")
    run(home, "documents-notes")
    assert manifests(root) != before


WAYS = (appended, same_size, disguised, replaced, removed, joined, and_back)


def meddle(monkeypatch: pytest.MonkeyPatch, work: str, when: str, change: Callable[[], None]) -> None:
    """Let something happen to files just before or after a stage reads them."""
    real = getattr(stages, work)

    def meddled(*arguments: Any, **named: Any) -> Result:
        if when == "before":
            change()
        result = real(*arguments, **named)
        if when == "after":
            change()
        return result

    monkeypatch.setattr(stages, work, meddled)


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("way", WAYS)
def test_a_source_that_changes_while_it_is_read_ends_the_run(
    home: Path, monkeypatch: pytest.MonkeyPatch, way: Callable[[Path], None], when: str
) -> None:
    with monkeypatch.context() as patch:
        meddle(patch, "documents", when, lambda: way(home / "notes" / "05.txt"))
        with pytest.raises(
            InputError, match=r"notes/(05|new)\.txt: (changed|came or went) while documents-notes read"
        ) as raised:
            run(home)
    assert "\n" not in str(raised.value)
    assert manifests(home / "run") == {}
    assert broken(run(home)) == ()  # the next run begins that stage anew


@pytest.mark.parametrize("way", [appended, same_size, disguised, replaced, and_back])
def test_questions_that_change_while_they_are_read_end_the_run(
    home: Path, monkeypatch: pytest.MonkeyPatch, way: Callable[[Path], None]
) -> None:
    with monkeypatch.context() as patch:
        meddle(patch, "measure", "before", lambda: way(home / "choice.jsonl"))
        with pytest.raises(InputError, match=r"choice\.jsonl: changed while evaluate read it"):
            run(home)
    assert "evaluate" not in manifests(home / "run")
    assert broken(run(home)) == ()


@pytest.fixture
def begun(home: Path) -> dict[str, Any]:
    """A recipe that begins with the weights of a finished run."""
    shutil.copytree(run(home) / "instruct", home / "start")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(home / "run/tokenizer" / name, home / "start" / name)
    (home / "start/config.json").write_text("{}")
    shutil.rmtree(home / "run")
    kept = {key: TABLE["model"][key] for key in KEPT & TABLE["model"].keys()}
    return {"model": {"start": "start", **kept}, "tokenizer": {}}


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
@pytest.mark.parametrize("way", [appended, same_size, disguised, replaced, and_back])
def test_weights_that_change_while_they_are_loaded_end_the_run(
    home: Path, begun: dict[str, Any], monkeypatch: pytest.MonkeyPatch, way: Callable[[Path], None], name: str
) -> None:
    with monkeypatch.context() as patch:
        meddle(patch, "train", "before", lambda: way(home / "start" / name))
        with pytest.raises(InputError, match=rf"{name}: changed while pretrain read it"):
            run(home, **begun)
    assert "pretrain" not in manifests(home / "run")


def test_weights_may_go_once_they_are_loaded(
    home: Path, begun: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def train(context: StageContext, stage: Any, *_: Any) -> Result:
        result = make(context, stage.title)
        (home / "start" / "model.safetensors").unlink(missing_ok=True)
        return result

    monkeypatch.setattr(stages, "train", train)
    assert "pretrain" in manifests(run(home, until="pretrain", **begun))


def test_the_tokenizer_given_may_not_change_while_it_is_read(
    home: Path, begun: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = home / "start" / "tokenizer.json"
    meddle(monkeypatch, "tokenizer", "after", lambda: file.write_text(json.dumps(json.loads(file.read_text()))))
    with pytest.raises(InputError, match=r"tokenizer\.json: changed while tokenizer read it"):
        run(home, **begun)
