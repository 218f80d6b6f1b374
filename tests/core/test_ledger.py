"""The ledger: keys change with what a stage depends on, and with nothing else."""

import json
import os
from pathlib import Path

import pytest

from groundup.core import hashes as hashes_module
from groundup.core import ledger, source_code
from groundup.core.errors import InputError
from groundup.core.files import sha256
from groundup.core.hashes import Hashes
from groundup.core.ledger import Manifest


def manifest(**changes: object) -> Manifest:
    values = {"stage": "s", "key": "k", "parents": {}, "part": {"a": 1}, "code": "c", "inputs": {}, "seed": 1}
    return Manifest(**(values | {"outputs": {"f": {"sha256": "x", "bytes": 1}}} | changes))  # type: ignore[arg-type]


BASE = {"stage": "s", "part": {"a": 1}, "versions": {"v": 1}, "seed": 1, "inputs": {"one": "h1"}, "parents": {"p": "d"}}


@pytest.mark.parametrize(
    "change",
    [
        {"part": {"a": 2}},
        {"versions": {"v": 2}},
        {"versions": {"v": 1, "w": 1}},
        {"seed": 2},
        {"inputs": {"one": "h2"}},
        {"parents": {"p": "e"}},
        {"stage": "t"},
    ],
)
def test_the_key_depends_on_each_part(change: dict[str, object]) -> None:
    assert ledger.key(**BASE) != ledger.key(**(BASE | change))  # type: ignore[arg-type]


def test_a_moved_file_is_the_same_file() -> None:
    assert ledger.key(**BASE) == ledger.key(**(BASE | {"inputs": {"elsewhere": "h1"}}))  # type: ignore[arg-type]


def test_a_folder_may_move_but_files_may_not_change_places_in_it() -> None:
    def key(**inputs: str) -> str:
        return ledger.key(**(BASE | {"inputs": {name.replace("__", "/"): sha256 for name, sha256 in inputs.items()}}))  # type: ignore[arg-type]

    first = key(home__glass__1="h1", home__paper__1="h2")
    assert key(moved__to__glass__1="h1", moved__to__paper__1="h2") == first
    assert key(home__glass__1="h2", home__paper__1="h1") != first
    assert key(home__glass__1="h1", home__glass__2="h2") != first
    assert key(home__metal__1="h1", home__paper__1="h2") != first


def test_the_digest_holds_results_but_not_the_time_they_took() -> None:
    assert manifest(seconds=1.0).digest == manifest(seconds=2.0).digest
    assert manifest().digest != manifest(outputs={"f": {"sha256": "y", "bytes": 1}}).digest


def test_the_digest_depends_on_the_outputs_alone_but_for_logs() -> None:
    assert manifest(key="other", code="d", part={}, seed=2, metrics={"a": 1}).digest == manifest().digest
    log = {"sha256": "l", "bytes": 1}
    outputs = {**manifest().outputs, "log": log}
    assert manifest(outputs=outputs, logs=["log"]).digest == manifest().digest
    assert manifest(outputs=outputs).digest != manifest().digest


def test_the_same_outputs_from_another_key_keep_the_digest_and_name_the_earlier_record(tmp_path: Path) -> None:
    first = manifest()
    for key in ("k", "other", "third"):
        ledger.set_aside(tmp_path)
        ledger.write(tmp_path, manifest(key=key))
    found = ledger.read(tmp_path)
    assert found is not None and found.digest == first.digest
    assert found.was(first.record) and len(found.earlier) == 2 and not found.was("another")
    ledger.set_aside(tmp_path)
    ledger.write(tmp_path, manifest(outputs={"f": {"sha256": "y", "bytes": 1}}))
    assert (found := ledger.read(tmp_path)) is not None and found.earlier == []


def test_a_stage_without_outputs_never_replaces_an_earlier_record(tmp_path: Path) -> None:
    ledger.write(tmp_path, manifest(outputs={}))
    ledger.set_aside(tmp_path)
    ledger.write(tmp_path, manifest(outputs={}, key="other", metrics={"figure": 2}))
    assert (found := ledger.read(tmp_path)) is not None and found.earlier == []


def test_a_manifest_survives_the_disk(tmp_path: Path) -> None:
    ledger.write(tmp_path, manifest())
    assert ledger.read(tmp_path) == manifest()


def test_an_edited_manifest_is_refused(tmp_path: Path) -> None:
    ledger.write(tmp_path, manifest())
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"key": "forged"}))
    with pytest.raises(InputError, match="changed since it was written"):
        ledger.read(tmp_path)


def test_a_lost_or_cut_output_is_found(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"12")
    entry = manifest(outputs=ledger.outputs(tmp_path, ["f"]))
    assert ledger.missing(tmp_path, entry) is None
    (tmp_path / "f").write_bytes(b"1")
    assert ledger.missing(tmp_path, entry) == "f"


def test_damage_of_equal_size_is_found_by_hash(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"12")
    entry = manifest(outputs=ledger.outputs(tmp_path, ["f"]))
    (tmp_path / "f").write_bytes(b"13")
    assert ledger.missing(tmp_path, entry) is None
    assert ledger.damaged(tmp_path, entry) == "f"


def test_the_code_version_follows_imports_and_files_of_the_same_name() -> None:
    def reached(module: str) -> set[str]:
        waiting, seen = [module], set()
        while waiting:
            name = waiting.pop()
            if name not in seen:
                seen.add(name)
                waiting += source_code._imports(source_code._source(name))
        return seen

    assert "groundup.codecs.chat" in reached("groundup.data.shards")
    assert "groundup.model.transformer" in reached("groundup.train.loop")
    assert "groundup.train.loop" not in reached("groundup.data.prepare")


def test_a_changed_template_changes_the_version_of_the_code_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "chat.py").write_text("X = 1\n")
    (tmp_path / "chat.jinja").write_text("a")
    monkeypatch.setattr(source_code, "_source", lambda module: tmp_path / "chat.py")
    before = source_code.code_version("groundup.any")
    (tmp_path / "chat.jinja").write_text("b")
    assert source_code.code_version("groundup.any") != before


def test_hashes_are_remembered_until_the_file_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hashes_module, "JUST_NOW", -(10**12))
    source, memory = tmp_path / "a", tmp_path / "hashes.json"
    source.write_text("one")
    hashes = Hashes(memory)
    first = hashes.of(source)
    hashes.keep()
    again = Hashes(memory)
    assert again.of(source) == first
    assert not again.changed
    source.write_text("other")
    assert again.of(source) != first


def test_a_file_that_changed_just_now_is_not_remembered(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("one")
    hashes = Hashes(tmp_path / "hashes.json")
    hashes.of(tmp_path / "a")
    hashes.keep()
    assert json.loads((tmp_path / "hashes.json").read_text()) == {}


def test_a_file_of_another_content_with_the_old_size_and_time_is_read_again(tmp_path: Path) -> None:
    source = tmp_path / "a"
    source.write_text("one")
    hashes = Hashes(tmp_path / "hashes.json")
    first, stat = hashes.of(source), source.stat()
    source.write_text("two")
    os.utime(source, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert hashes.of(source) != first


@pytest.mark.parametrize(
    "memory",
    [
        "-1",
        '"/etc/passwd"',
        "[]",
        '{"a": 3}',
        '{"PATH": [1]}',
        '{"PATH": []}',
        '{"PATH": {"a": 1}}',
        '{"PATH": [1, 2, 3, 4, 5]}',
    ],
)
def test_a_memory_of_another_shape_is_no_memory(tmp_path: Path, memory: str) -> None:
    source = tmp_path / "a"
    source.write_text("one")
    (tmp_path / "hashes.json").write_text(memory.replace("PATH", str(source)))
    assert Hashes(tmp_path / "hashes.json").of(source) == sha256(source)


# --- manifests that nobody wrote ---------------------------------------------------------------------------

HOSTILE: list[dict[str, object]] = [
    *({name: value} for name in BASE for value in (None, -1, [], {"a": {}}, "x", 1e308)),
    *({"outputs": {name: {"sha256": "x", "bytes": 1}}} for name in ("../f", "/etc/passwd", "", "a/../../f", "\0",
    "..")),
    *({"outputs": {"f": output}} for output in ({}, [], {"sha256": "x"}, {"sha256": 1, "bytes": 1}, {"sha256": "x",
    "bytes": True})),
    *({"parents": {name: "d"}} for name in ("../s", "/etc", "", ".", "..", "a/b")),
    *({name: value} for name in ("flops", "seconds", "joules") for value in ("1", 10**400, float("inf"), float("nan"),
    [], True)),
    *({name: value} for name in ("licences", "libraries", "device", "metrics", "records") for value in (None, [], "x",
    1)),
    {"finished": 1},
    {"licences": {"MIT": "many"}},
    {"part": "\ud800"},
]  # fmt: skip


@pytest.mark.parametrize("change", HOSTILE)
def test_a_manifest_of_other_types_is_refused_in_one_sentence(tmp_path: Path, change: dict[str, object]) -> None:
    table = manifest().entry() | change
    (tmp_path / "manifest.json").write_text(json.dumps(table))
    with pytest.raises(InputError) as raised:
        ledger.read(tmp_path)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "text", ["", "-1", "[]", '"x"', "[" * 100_000, '{"seed": ' + "9" * 5000 + "}", '{"digest": "x", "stage": {}}']
)
def test_what_is_no_manifest_is_refused_in_one_sentence(tmp_path: Path, text: str) -> None:
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(InputError, match=r"manifest\.json"):
        ledger.read(tmp_path)


def test_lists_in_lists_without_end_are_refused(tmp_path: Path) -> None:
    text = json.dumps(manifest().entry() | {"part": "PART"}).replace('"PART"', "[" * 900 + "]" * 900)
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(InputError, match=r"manifest\.json"):
        ledger.read(tmp_path)


def test_every_value_of_a_recipe_comes_back_with_the_same_record(tmp_path: Path) -> None:
    part = {
        "tuple": (1, 2),
        "nan": float("nan"),
        "numbers": {10: 1, 9: 2},
        "text": "机器人\u2028",
        "zero": -0.0,
        "big": 10**30,
        "flag": True,
    }
    ledger.write(tmp_path, manifest(part=part, flops=0, joules=3))
    assert ledger.read(tmp_path) is not None
