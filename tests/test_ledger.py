"""The ledger: keys change with what a stage depends on, and with nothing else."""

import json
from pathlib import Path

import pytest

from groundup import ledger
from groundup.errors import InputError
from groundup.ledger import Manifest


def manifest(**changes: object) -> Manifest:
    values = {"stage": "s", "key": "k", "parents": {}, "part": {"a": 1}, "code": "c", "inputs": {}, "seed": 1}
    return Manifest(**(values | {"outputs": {"f": {"sha256": "x", "bytes": 1}}} | changes))  # type: ignore[arg-type]


BASE = {"stage": "s", "part": {"a": 1}, "code": "c", "seed": 1, "inputs": {"one": "h1"}, "parents": {"p": "d"}}


@pytest.mark.parametrize(
    "change", [{"part": {"a": 2}}, {"code": "d"}, {"seed": 2}, {"inputs": {"one": "h2"}}, {"parents": {"p": "e"}}, {"stage": "t"}]
)
def test_the_key_depends_on_each_part(change: dict[str, object]) -> None:
    assert ledger.key(**BASE) != ledger.key(**(BASE | change))  # type: ignore[arg-type]


def test_a_moved_file_is_the_same_file() -> None:
    assert ledger.key(**BASE) == ledger.key(**(BASE | {"inputs": {"elsewhere": "h1"}}))  # type: ignore[arg-type]


def test_the_digest_holds_results_but_not_the_time_they_took() -> None:
    assert manifest(seconds=1.0).digest == manifest(seconds=2.0).digest
    assert manifest().digest != manifest(outputs={"f": {"sha256": "y", "bytes": 1}}).digest


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
                waiting += ledger._imports(ledger._source(name))
        return seen

    assert "groundup.codecs.chat" in reached("groundup.data.shards")
    assert "groundup.model.trunk" in reached("groundup.train.loop")
    assert "groundup.train.loop" not in reached("groundup.data.prepare")


def test_a_changed_template_changes_the_version_of_the_code_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "chat.py").write_text("X = 1\n")
    (tmp_path / "chat.jinja").write_text("a")
    monkeypatch.setattr(ledger, "_source", lambda module: tmp_path / "chat.py")
    before = ledger.code_version("groundup.any")
    (tmp_path / "chat.jinja").write_text("b")
    assert ledger.code_version("groundup.any") != before


def test_hashes_are_remembered_until_the_file_changes(tmp_path: Path) -> None:
    source, memory = tmp_path / "a", tmp_path / "hashes.json"
    source.write_text("one")
    hashes = ledger.Hashes(memory)
    first = hashes.of(source)
    hashes.keep()
    again = ledger.Hashes(memory)
    assert again.of(source) == first
    assert not again.changed
    source.write_text("other")
    assert again.of(source) != first
