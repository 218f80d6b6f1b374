"""No changed byte of a manifest, a lineage or an output goes unnoticed; `flips.py` says how, and tries all of them."""

import shutil
from pathlib import Path

import pytest

from tests.release.flips import finished, noticed, of_fields, of_lineage, of_manifests, of_outputs


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A finished run and an export of its model; whoever changes a byte puts it back."""
    root, out = finished(tmp_path_factory.mktemp("sound"))
    assert not noticed(root / "instruct") and not noticed(out)
    return root, out


def test_every_changed_byte_of_a_manifest_is_noticed(sound):
    found = of_manifests(sound[0], 7, (0,)) + of_manifests(sound[0], 997, tuple(range(8)))
    assert len(found) > 3000 and all(found)


def test_every_changed_byte_of_an_exports_lineage_is_noticed(sound):
    found = of_lineage(sound[1], 97, (0, 5))
    assert len(found) > 500 and all(found)


def test_every_changed_byte_of_an_output_is_noticed(sound):
    found = of_outputs(*sound, tries=1)
    assert len(found) > 20 and all(found)


def test_every_field_that_is_edited_is_noticed_although_the_identities_of_its_manifest_are_written_anew(sound):
    found = of_fields(sound[0])
    assert len(found) > 150 and [name for name, seen in found.items() if not seen] == []


def test_white_space_and_another_order_are_changes(sound, tmp_path):
    root = Path(shutil.copytree(sound[0], tmp_path / "small"))
    path = root / "tokenizer" / "manifest.json"
    text = path.read_bytes()
    for changed in (
        text + b" ",
        text.replace(b"\n", b"\r\n"),
        text.replace(b'": ', b'":  ', 1),
        b"\xef\xbb\xbf" + text,
        text[:-1],
    ):
        path.write_bytes(changed)
        assert noticed(root / "instruct")
    path.write_bytes(text)
    assert not noticed(root / "instruct")
