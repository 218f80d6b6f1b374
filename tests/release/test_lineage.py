"""A lineage names every file and licence that went in, and says where a chain does not hold."""

import io
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from groundup.core import ledger
from groundup.core.errors import InputError
from groundup.core.files import sha256, write_json
from groundup.core.ledger import Manifest
from groundup.release.export.hf import export
from groundup.release.lineage import FORMAT, kept, lineage
from groundup.release.trace import render
from tests.release.release_helpers import edit, forge


def shown(model: Path, **options: bool) -> str:
    text = io.StringIO()
    Console(width=200, file=text).print(render(lineage(model, **options)))
    return text.getvalue()


def test_stages_come_after_those_they_were_made_from(original):
    stages = lineage(original / "instruct").stages
    seen: set[str] = set()
    for stage in stages:
        assert set(stage.parents) <= seen
        seen.add(stage.stage)
    assert stages[-1].stage == "instruct" and len(stages) == 9


def test_every_file_is_named_with_its_hash_and_licence(original):
    files = lineage(original / "instruct").files
    assert len(files) == 4
    for file in files:
        assert file.sha256 == sha256(Path(file.path))
        assert (file.stage, file.licence) == ("documents-handbook", "unstated")


def test_licences_are_counted_over_all_sources(original):
    assert lineage(original / "instruct").licences == {"CC0-1.0": 90_300, "PSF-2.0": 12_345, "unstated": 3}


def test_an_earlier_stage_has_only_its_own_sources(original):
    found = lineage(original / "pretrain")
    assert {stage.stage for stage in found.stages} == {
        *("documents-handbook", "documents-library", "documents-tasks"),  # the tokenizer learned from all three
        *("tokenizer", "shards-handbook", "shards-library", "pretrain"),
    }


def test_figures_belong_to_the_weights_that_were_measured(original):
    assert lineage(original / "instruct").evaluation.stage == "evaluate"
    assert lineage(original / "pretrain").evaluation is None


def test_a_sound_chain_has_no_breaks(original):
    assert lineage(original / "instruct", verify=True).breaks == ()


# --- broken chains -----------------------------------------------------------------------------------------


def test_a_stage_that_ran_again_is_named(run):
    before = ledger.read(run / "shards-tasks")
    ledger.write(run / "shards-tasks", replace(before, outputs={}))
    (sentence,) = lineage(run / "instruct").breaks
    assert (
        f"{run / 'shards-tasks' / 'manifest.json'}: has digest" in sentence
        and f"instruct was made from {before.digest[:12]}" in sentence
    )


def test_a_missing_stage_is_named_and_nothing_behind_it_is_claimed(run):
    shutil.rmtree(run / "tokenizer")
    found = lineage(run / "instruct")
    assert {sentence.split(": ")[0] for sentence in found.breaks} == {str(run / "tokenizer" / "manifest.json")}
    assert "tokenizer" not in {stage.stage for stage in found.stages}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("inputs", {"other.md": "0" * 64}),
        ("licences", {"MIT": 3}),
        ("seed", 18),
        ("parents", {"shards-library": "0" * 64}),
    ],
)
def test_an_edited_manifest_whose_identities_were_written_anew_is_named(run, field, value):
    forge(run / "documents-handbook", **{field: value})
    (sentence, *_) = lineage(run / "instruct").breaks
    assert sentence.startswith(f"{run / 'documents-handbook' / 'manifest.json'}: ")
    assert "has record" in sentence or "has digest" in sentence


def test_a_manifest_whose_outputs_were_edited_is_named(run):
    edit(run / "shards-tasks", outputs={"shards.json": {"sha256": "0" * 64, "bytes": 5}})
    sentence = lineage(run / "instruct").breaks[0]
    assert str(run / "shards-tasks" / "manifest.json") in sentence and "changed since it was written" in sentence


def test_verifying_finds_a_changed_file(run):
    (run / "shards-tasks" / "shards.json").write_text("tusks")
    assert lineage(run / "instruct").breaks == ()
    (sentence,) = lineage(run / "instruct", verify=True).breaks
    assert sentence.startswith(f"{run / 'shards-tasks' / 'shards.json'}: has other content")


def test_verifying_finds_a_missing_file(run):
    (run / "pretrain" / "metrics.jsonl").unlink()
    (sentence,) = lineage(run / "instruct", verify=True).breaks
    assert sentence.startswith(f"{run / 'pretrain' / 'metrics.jsonl'}: is gone")


def test_verifying_tells_of_all_bytes(original):
    done: list[int] = []
    found = lineage(original / "instruct", verify=True, advance=done.append)
    assert sum(done) == sum(
        path.stat().st_size
        for folder, stage in kept(original / "instruct", found)
        for path in map(folder.joinpath, stage.outputs)
    )


def test_a_model_is_found_from_inside_its_folder(original, monkeypatch):
    monkeypatch.chdir(original / "instruct")
    assert lineage(Path(), verify=True) == lineage(original / "instruct")


def test_a_folder_without_a_record_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"manifest\.json.*lineage\.json"):
        lineage(tmp_path)


# --- exported models ---------------------------------------------------------------------------------------


@pytest.fixture
def exported(original, tmp_path):
    export(original / "instruct", tmp_path / "model")
    return tmp_path / "model"


def test_an_export_carries_the_whole_chain(original, exported):
    here, there = lineage(original / "instruct"), lineage(exported)
    assert there.stages[:-1] == here.stages and there.evaluation == here.evaluation
    assert (there.files, there.licences, there.breaks) == (here.files, here.licences, ())


def test_an_exported_file_that_changed_is_found(exported):
    (exported / "generation_config.json").write_text("{}")
    (sentence,) = lineage(exported, verify=True).breaks
    assert sentence.startswith(f"{exported / 'generation_config.json'}: has other content")


def test_figures_or_a_base_that_an_export_lost_are_missed(original, begun, tmp_path):
    export(original / "instruct", tmp_path / "model")
    path = tmp_path / "model" / "lineage.json"
    write_json(path, json.loads(path.read_text()) | {"evaluation": None})
    assert "its evaluate is not the one that was exported" in lineage(tmp_path / "model").breaks[0]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda table: table["stages"][0]["outputs"].clear(), "changed since it was written"),
        (lambda table: table["stages"][0].pop("key"), "not a manifest of this version"),
        (lambda table: table.pop("stages"), "damaged"),
        (lambda table: table.update(format="other"), "not a lineage of this version"),
    ],
)
def test_a_carried_lineage_that_was_edited_is_refused(exported, change, words):
    table = json.loads((exported / "lineage.json").read_text())
    change(table)
    (exported / "lineage.json").write_text(json.dumps(table))
    with pytest.raises(InputError, match=rf"lineage\.json.*{words}"):
        lineage(exported)


def test_a_carried_lineage_without_a_stage_is_broken_there(exported):
    table = json.loads((exported / "lineage.json").read_text())
    table["stages"] = [stage for stage in table["stages"] if stage["stage"] != "shards-tasks"]
    (exported / "lineage.json").write_text(json.dumps(table))
    (sentence,) = lineage(exported).breaks
    assert "lineage.json (shards-tasks): is gone, and instruct was made from it" in sentence


# --- lineages that nobody exported -------------------------------------------------------------------------


def entries(*links: tuple[str, str], **changes: object) -> list[dict[str, object]]:
    """Manifests of which each names its parent, with keys as somebody likes and identities that hold."""
    digests = {stage: Manifest(stage, f"k{stage}", {}, {}, "", {}, 1, {}).digest for stage, _ in links}
    part = {"licence": "MIT", "name": "a", "kind": "text"}
    made = [
        Manifest(stage, f"k{stage}", {parent: digests[parent]}, part, "", {}, 1, {}, **changes)
        for stage, parent in links
    ]
    return [manifest.entry() for manifest in made]


def carried(stages: object, model: object = "a", **others: object) -> dict[str, object]:
    return {
        "format": FORMAT,
        "model": model,
        "breaks": [],
        "licences": {},
        "files": [],
        "stages": stages,
        "evaluation": None,
        "base": None,
    } | others


def nested(depth: int) -> dict[str, object]:
    table = carried(entries(("a", "a")))
    for _ in range(depth):
        table = carried(entries(("a", "a")), base=table)
    return table


HOSTILE = {
    "a circle of two": carried(entries(("a", "b"), ("b", "a"))),
    "a circle of one": carried(entries(("a", "a"))),
    "figures in a circle": carried(
        entries(("a", "b"), ("b", "a")), evaluation=entries(("evaluate", "evaluate"), flops=1.0)[0]
    ),
    "bases in bases": nested(30),
    "a base that is itself": carried(entries(("a", "a")), base=carried(entries(("a", "a")))),
    "no such model": carried(entries(("a", "a")), model="c"),
    **{f"stages are {stages!r}": carried(stages) for stages in (None, -1, {}, [], "a", [None], [[]], [{}], 1e308)},
    **{f"the model is {model!r}": carried(entries(("a", "a")), model=model) for model in (None, -1, {}, [], 1e308)},
    **{
        f"{name} is {value!r}": carried(entries(("a", "a")), **{name: value})
        for name in ("base", "evaluation")
        for value in (-1, [1], "x", {"a": 1})
    },
}


@pytest.mark.parametrize("table", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("verify", [False, True])
def test_a_lineage_that_nobody_exported_is_refused_or_broken(tmp_path, table, verify):
    write_json(tmp_path / "lineage.json", table)
    try:
        assert lineage(tmp_path, verify).breaks
    except InputError as error:
        assert "\n" not in str(error)


def test_weights_that_name_their_own_folder_as_their_beginning_are_refused(run):
    manifest = ledger.read(run / "pretrain")
    weights = str(run / "pretrain" / "model.safetensors")
    forge(run / "pretrain", inputs={weights: manifest.outputs["model.safetensors"]["sha256"]})
    with pytest.raises(InputError):
        lineage(run / "pretrain")


def test_the_base_whose_record_was_edited_is_named(run, begun_from):
    model = begun_from(run / "instruct")
    assert lineage(model).breaks == ()
    forge(run / "instruct", seconds=1.0)
    assert lineage(model).breaks[0].startswith(f"{run / 'instruct'}: its record is not the one with which tuned began")


def test_the_base_whose_chain_is_broken_breaks_what_began_with_it(run, begun_from):
    model = begun_from(run / "instruct")
    forge(run / "tokenizer", metrics={"size": 1})
    assert any(str(run / "tokenizer") in sentence for sentence in lineage(model).breaks)


# --- weights to begin with ---------------------------------------------------------------------------------


def test_weights_of_a_model_on_record_bring_its_files_and_licences(original, begun):
    found = lineage(begun)
    assert found.base == lineage(original / "instruct")
    assert [file for file in found.files if file.licence == "unstated"][-4:] == found.base.files
    assert found.files[0].licence == "CC0-1.0, PSF-2.0, unstated"


def test_the_chain_of_those_weights_is_carried_along(begun, tmp_path):
    found = lineage(begun)
    write_json(tmp_path / "lineage.json", found.as_json())
    assert lineage(tmp_path) == found


def test_weights_of_a_model_that_changed_bring_nothing(run, begun_from):
    model = begun_from(run / "instruct")
    (run / "instruct" / "manifest.json").unlink()
    found = lineage(model)
    assert found.base is None and [file.licence for file in found.files] == ["unstated"]


# --- on the terminal ---------------------------------------------------------------------------------------


def test_the_terminal_shows_stages_sources_files_and_the_record(original):
    text = shown(original / "instruct")
    assert f"Record of instruct: {ledger.read(original / 'instruct').record}" in text
    for words in (
        "instruct",
        "pretrain",
        "shards-tasks",
        "python-library",
        "PSF-2.0",
        "12,345",
        "page-3.md",
        "Files that went in: 4",
    ):
        assert words in text


def test_the_terminal_shows_a_break(run):
    shutil.rmtree(run / "shards-tasks")
    text = shown(run / "instruct")
    assert "shards-tasks  not known" in text and "broken:" in text
