"""Near duplicates: what the perceptual hash distinguishes, and that none lie on both sides of the split."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from groundup.codecs.image import decode
from groundup.core.errors import InputError
from groundup.data import near_duplicates as near
from groundup.data.document import Document, read
from groundup.data.filtered import Filtered
from groundup.data.near_duplicates import HashIndex, dhash, perceptual_hash
from groundup.data.prepare import write_documents
from groundup.data.results import DocumentsResult
from tests.data.data_helpers import encoded, ignore, images_source, save

Prepare = Callable[..., DocumentsResult]


def apart(left: int, right: int) -> int:
    return (left ^ right).bit_count()


def again(data: bytes, **options: Any) -> bytes:
    """The same picture, encoded once more as JPEG."""
    file = io.BytesIO()
    Image.open(io.BytesIO(data)).save(file, "JPEG", **options)
    return file.getvalue()


# --- the hash -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_another_size_format_and_compression_look_alike(seed: int) -> None:
    hash = dhash(decode(encoded(seed, (90, 80))))
    for data in (encoded(seed, (180, 160)), again(encoded(seed, (90, 80)), quality=60)):
        assert apart(hash, dhash(decode(data))) <= 3


def test_other_images_look_different() -> None:
    hashes = [dhash(decode(encoded(seed))) for seed in range(30)]
    assert min(apart(left, right) for place, left in enumerate(hashes) for right in hashes[:place]) > 8


def test_each_bit_says_whether_a_pixel_is_brighter_than_its_left_neighbour() -> None:
    pixels = np.zeros((8, 9, 3), np.uint8)
    pixels[0, 1] = pixels[7, 8] = 255
    assert dhash(pixels) == 1 << 63 | 1


def test_tiny_images_look_alike_only_where_they_are_equal() -> None:
    strokes = np.zeros((12, 8, 8, 3), np.uint8)
    for number, digit in enumerate(strokes):
        digit[1:7, 2 + number % 4] = digit[1 + number // 4, 2:6] = 255  # as alike as digits are
    hashes = [perceptual_hash(digit) for digit in strokes]
    assert min(apart(left, right) for place, left in enumerate(hashes) for right in hashes[:place]) > 8
    assert perceptual_hash(strokes[0].copy()) == hashes[0]
    assert perceptual_hash(decode(encoded(1, (90, 80)))) == dhash(decode(encoded(1, (90, 80))))


# --- looking up ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", [0, 3, 16])
def test_a_look_up_finds_what_a_plain_comparison_finds(bits: int) -> None:
    random = np.random.default_rng(0)
    hashes = [int(value) for value in random.integers(0, 2**64, 20, np.uint64)]
    # of each a few neighbours, from 0 to 19 bits away
    hashes = [
        hash ^ sum(1 << int(bit) for bit in random.choice(64, count, replace=False))
        for hash in hashes
        for count in range(20)
    ] * 6
    known, sides = HashIndex(bits), []
    for number, hash in enumerate(hashes):
        if number % 50 == 0:
            assert known.sides(hash).tolist() == [side for other, side in sides if apart(hash, other) <= bits]
        known.add(hash, number % 3 == 0)
        sides.append((hash, number % 3 == 0))


# --- the split ----------------------------------------------------------------------------------------------


def made(hash: int, heldout: bool = False, name: str = "") -> Document:
    return Document(
        "photos",
        name or f"{hash:x}",
        "CC0-1.0",
        text="",
        images=(name.encode() + hash.to_bytes(8, "big"),),
        heldout=heldout,
        perceptual_hash=hash,
    )


def split(
    documents: list[Document], known: HashIndex | None = None, **knobs: Any
) -> tuple[list[tuple[str, bool]], Filtered]:
    drops, source = Filtered(), images_source(".", **knobs)
    groups = iter([documents[start : start + 3] for start in range(0, len(documents), 3)])
    kept = [
        document
        for group in near.split(
            groups, bool(source.heldout_files), source.heldout_share, drops, known or HashIndex(source.near_duplicates)
        )
        for document in group
    ]
    return [(document.origin, document.heldout) for document in kept], drops


def test_by_hash_an_image_takes_the_side_of_an_earlier_one_near_it() -> None:
    hashes = [int(value) for value in np.random.default_rng(1).integers(0, 2**64, 60, np.uint64)]
    documents = [made(hash ^ change) for change in (0, 0b111) for hash in hashes]
    kept, drops = split(documents, heldout_share=0.4)
    sides = dict(kept)
    assert len(sides) == 120
    assert not drops.counts
    assert {sides[f"{hash:x}"] == sides[f"{hash ^ 0b111:x}"] for hash in hashes} == {True}
    assert 10 < sum(sides.values()) < 100


def test_by_hash_an_image_near_both_sides_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(near, "is_heldout", lambda digest, share: digest == made(0).digest)
    kept, drops = split([made(0), made(0b111111), made(0b111)])
    assert kept == [("0", True), ("3f", False)]
    assert drops.counts == {near.NEAR_HELDOUT: 1}


def test_no_distance_holds_only_equal_hashes_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(near, "is_heldout", lambda digest, share: digest == made(0).digest)
    kept, _ = split([made(0), made(1), made(0, name="b")], near_duplicates=0)
    assert kept == [("0", True), ("1", False), ("b", True)]


def test_a_list_drops_training_images_near_one_that_is_held_out() -> None:
    documents = [made(0, True), made(0b11, True), made(0b11100), made(0b11111000), made(0b11111001)]
    kept, drops = split(documents, heldout_files="x", heldout_share=0.5)
    assert kept == [("0", True), ("3", True), ("f8", False), ("f9", False)]
    assert drops.examples == ["1c: near duplicate of a held-out image"]


def test_from_files_to_documents_nothing_that_looks_alike_is_on_both_sides(tmp_path: Path, prepare: Prepare) -> None:
    for seed in range(8):
        save(tmp_path / "in" / "cats" / f"{seed}.png", encoded(seed, (90, 80)))
    save(
        tmp_path / "in" / "ants" / "copy.jpg", again(encoded(3, (90, 80)), quality=80)
    )  # before the one that is held out
    save(tmp_path / "in" / "dogs" / "same.png", encoded(4, (90, 80)))
    (tmp_path / "test.txt").write_text("3.png\n4.png\n")
    report = prepare(images_source("in", heldout_files="test.txt", heldout_share=0.5))
    assert report.dropped == {"near duplicate of a held-out image": 1, "same image, another class": 1}
    assert (report.documents, report.heldout) == (8, 2)
    assert [document.origin for document in read(tmp_path / "out" / "documents.parquet", heldout=True)] == [
        "in/cats/3.png",
        "in/cats/4.png",
    ]


@pytest.mark.parametrize("knobs", [{"heldout_share": 0.3}, {"heldout_files": "x"}])
def test_between_sources_too_nothing_that_looks_alike_is_on_both_sides(knobs: dict[str, Any]) -> None:
    random = np.random.default_rng(2)
    hashes = [int(value) for value in random.integers(0, 2**64, 40, np.uint64)]
    earlier = [(hash, bool(random.random() < 0.4)) for hash in hashes]
    known = HashIndex(3)
    for hash, heldout in earlier:
        known.add(hash, heldout)
    listed = "heldout_files" in knobs
    later = [made(hash ^ 1 << int(random.integers(64)), listed and place % 4 == 0) for place, hash in enumerate(hashes)]
    kept, drops = split(sorted(later, key=lambda document: not document.heldout), known, **knobs)
    assert len(kept) > 10
    assert not any(
        apart(int(name, 16), hash) <= 3 and side != heldout for name, side in kept for hash, heldout in earlier
    )
    assert set(drops.counts) == ({near.NEAR_HELDOUT, near.NEAR_TRAINED} if listed else set())


def test_from_documents_files_nothing_that_looks_alike_is_on_both_sides_of_two_sources(
    tmp_path: Path, prepare: Prepare
) -> None:
    for seed in range(12):
        save(tmp_path / "in" / "cats" / f"{seed}.png", encoded(seed, (90, 80)))
        save(tmp_path / "more" / f"{seed}.jpg", again(encoded(seed, (90, 80)), quality=80))
    (tmp_path / "test.txt").write_text("3.png\n4.png\n")
    prepare(images_source("in", heldout_files="test.txt"))
    write_documents(
        images_source("more", classes="none"),
        tmp_path,
        tmp_path / "later",
        ignore,
        [tmp_path / "out" / "documents.parquet"],
    )
    heldout = [document.origin for document in read(tmp_path / "later" / "documents.parquet", heldout=True)]
    assert heldout == ["more/3.jpg", "more/4.jpg"]


def test_a_list_of_all_images_is_refused(tmp_path: Path, prepare: Prepare) -> None:
    save(tmp_path / "in" / "cats" / "a.png", encoded(0))
    (tmp_path / "test.txt").write_text("a.png\n")
    with pytest.raises(InputError, match=r"all 1 images that are left are listed in test.txt; take some out"):
        prepare(images_source("in", heldout_files="test.txt"))
