"""IDX files: MNIST's images and labels, whole and damaged."""

import gzip
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from groundup.codecs.image import decode
from groundup.core.errors import InputError
from groundup.data import idx
from groundup.data.filtered import Filtered
from groundup.data.prepare import write_documents
from tests.data.data_helpers import ignore, images_source, save

SIDE = 6


def packed(array: np.ndarray, kind: int = 8) -> bytes:
    return struct.pack(f">HBB{array.ndim}I", 0, kind, array.ndim, *array.shape) + array.tobytes()


def pixels(count: int, seed: int = 0, shape: tuple[int, ...] = (SIDE, SIDE)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), np.uint8)


def mnist(folder: Path, form: Callable[[bytes], bytes] = bytes, end: str = "", dot: str = "-") -> None:
    for seed, (part, count) in enumerate((("train", 5), ("t10k", 3))):
        save(folder / f"{part}-images{dot}idx3-ubyte{end}", form(packed(pixels(count, seed))))
        save(folder / f"{part}-labels{dot}idx1-ubyte{end}", form(packed(np.arange(count, dtype=np.uint8))))


@pytest.mark.parametrize(("form", "end"), [(bytes, ""), (gzip.compress, ".gz"), (gzip.compress, "")])
@pytest.mark.parametrize("dot", ["-", "."])
def test_mnist_is_read_with_its_split(tmp_path: Path, form: Callable[[bytes], bytes], end: str, dot: str) -> None:
    mnist(tmp_path / "in", form, end, dot)
    source, drops = images_source("in"), Filtered()
    documents = list(source.read(tmp_path, drops))
    assert [each.heldout for each in documents] == [True] * 3 + [False] * 5
    assert [each.messages[-1]["content"] for each in documents if each.messages] == [*"012", *"01234"]
    assert documents[3].origin == f"in/train-images{dot}idx3-ubyte{end}:1"
    for document, expected in zip(documents[3:], pixels(5, 0), strict=True):
        assert np.array_equal(decode(document.images[0]), np.repeat(expected[:, :, None], 3, 2))
    assert drops.recognised == {"images of train: trained on": 5, "images of test: held out": 3}
    assert len(source.files(tmp_path)) == 4
    assert write_documents(source, tmp_path, tmp_path / "out", ignore).heldout == 3


def test_colours_and_names_of_classes(tmp_path: Path) -> None:
    save(tmp_path / "x-images-idx4-ubyte", packed(pixels(2, shape=(SIDE, 5, 3))))
    save(tmp_path / "x-labels-idx1-ubyte", packed(np.array([1, 0], np.uint8)))
    save(tmp_path / "classes.txt", b"shirt\nshoe\n")
    source = images_source("x-images-idx4-ubyte")
    documents = list(source.read(tmp_path, Filtered()))
    assert [each.messages[-1]["content"] for each in documents if each.messages] == ["shoe", "shirt"]
    assert np.array_equal(decode(documents[0].images[0]), pixels(2, shape=(SIDE, 5, 3))[0])
    assert {path.name for path in source.files(tmp_path)} == {
        "x-images-idx4-ubyte",
        "x-labels-idx1-ubyte",
        "classes.txt",
    }


def test_images_alone_need_no_labels(tmp_path: Path) -> None:
    save(tmp_path / "a.idx3", packed(pixels(2)))
    assert len(list(images_source("a.idx3", classes="none").read(tmp_path, Filtered()))) == 2
    with pytest.raises(InputError, match="no labels beside it, in a file such as"):
        list(images_source("a.idx3").read(tmp_path, Filtered()))


GOOD = packed(pixels(3))
DAMAGED = {
    "empty": (b"", "is empty; expected IDX images"),
    "floats": (packed(pixels(3).astype(">f4"), 0x0D), "begins with the bytes 00 00 0d 03; expected IDX images"),
    "labels": (packed(np.zeros(3, np.uint8)), "00 00 08 01; expected IDX images of unsigned bytes"),
    "short": (GOOD[:-1], "shorter than its header says"),
    "long": (GOOD + b"\0", "longer than its header says"),
    "header": (GOOD[:7], "shorter than its header says"),
    "huge": (struct.pack(">HBBIII", 0, 8, 3, 2**32 - 1, 28, 28), "which is damaged"),
    "vast": (struct.pack(">HBBIII", 0, 8, 3, 3, 2**31, 2**31), "which is damaged"),
    "flat": (struct.pack(">HBBIII", 0, 8, 3, 3, 0, 28), "images of 0 x 28 x 1"),
    "gzip": (gzip.compress(GOOD)[:-9], "cannot be read"),
    "packed": (b"\x1f\x8b\x08" + bytes(40), "cannot be read|is empty|shorter"),
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_a_damaged_file_is_refused_in_one_sentence(tmp_path: Path, kind: str) -> None:
    content, message = DAMAGED[kind]
    save(tmp_path / "x-images-idx3-ubyte", content)
    with pytest.raises(InputError, match=message):
        list(idx.images(tmp_path / "x-images-idx3-ubyte"))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (packed(np.zeros(2, np.uint8)), "has more images than its 2 labels"),
        (packed(np.zeros(3, ">i4"), 0x0C), "expected IDX labels"),
        (packed(np.array([0, 1, 7], np.uint8)), "label 7, but classes.txt beside it has 2 names"),
    ],
)
def test_labels_that_do_not_fit_are_refused(tmp_path: Path, labels: bytes, message: str) -> None:
    save(tmp_path / "x-images-idx3-ubyte", GOOD)
    save(tmp_path / "x-labels-idx1-ubyte", labels)
    save(tmp_path / "classes.txt", b"a\nb")
    with pytest.raises(InputError, match=message):
        list(images_source("x-images-idx3-ubyte").read(tmp_path, Filtered()))
