"""Near duplicates: images with similar 64-bit perceptual hashes are kept on one side of the split.

The difference hash (dHash): an image at 9 x 8 grey pixels, one bit for each pixel that is brighter than its left
neighbour. Another size, format or compression changes few bits. It ignores colour, and flat images all hash alike.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
from PIL import Image

from groundup.codecs.patches import Pixels
from groundup.data.clean import is_heldout
from groundup.data.document import Document
from groundup.data.filtered import Filtered

MIN_SIDE = 32  # pixels of the longer side: in smaller images, such as digits of 8 x 8, different ones hash alike
NEAR_HELDOUT = "near duplicate of a held-out image"
NEAR_TRAINED = "held out, but near duplicate of a training image of another source"


def perceptual_hash(pixels: Pixels) -> int:
    """64-bit hash of an image [H, W, 3]: the difference hash, or for a tiny image an exact hash of its pixels."""
    if max(pixels.shape[:2]) < MIN_SIDE:
        return int.from_bytes(sha256(repr(pixels.shape).encode() + pixels.tobytes()).digest()[:8], "big")
    return dhash(pixels)


def dhash(pixels: Pixels) -> int:
    """The difference hash of an image [H, W, 3]: 64 bits, row by row.

    >>> hex(dhash(np.tile(np.arange(0, 180, 20, dtype=np.uint8)[None, :, None], (8, 1, 3))))
    '0xffffffffffffffff'
    """
    small = np.asarray(Image.fromarray(pixels).convert("L").resize((9, 8), Image.Resampling.BOX))
    return int.from_bytes(np.packbits(small[:, 1:] > small[:, :-1]).tobytes(), "big")


class HashIndex:
    """Hashes of images with the side of the split of each: 9 bytes an image, twice that while the arrays grow.

    A look-up compares with all hashes: seconds in total for 100,000 images, far less than decoding them. Its speed does
    not depend on the distance, and it needs less memory than an index by parts of the hash.
    """

    def __init__(self, bits: int):
        self.bits, self.count = bits, 0
        self.hashes, self.heldout = np.empty(1024, np.uint64), np.empty(1024, np.bool_)

    @staticmethod
    def of(tables: Iterable[Path], bits: int) -> "HashIndex":
        """The images of finished documents files."""
        index = HashIndex(bits)
        for table in tables:
            for row in pq.read_table(table, columns=["look", "heldout"]).to_pylist():
                index.add(row["look"], row["heldout"])
        return index

    def sides(self, hash: int) -> npt.NDArray[np.bool_]:
        """Whether each image within Hamming distance `bits` of a hash is held out, in the order they were added."""
        apart = np.bitwise_count(self.hashes[: self.count] ^ np.uint64(hash))
        near: npt.NDArray[np.bool_] = self.heldout[: self.count][apart <= self.bits]
        return near

    def add(self, hash: int, heldout: bool) -> None:
        """Add an image."""
        if self.count == len(self.hashes):
            self.hashes, self.heldout = np.resize(self.hashes, 2 * self.count), np.resize(self.heldout, 2 * self.count)
        self.hashes[self.count], self.heldout[self.count] = hash, heldout
        self.count += 1


def split(
    groups: Iterator[list[Document]], given: bool, fraction: float, filtered: Filtered, index: HashIndex
) -> Iterator[list[Document]]:
    """Mark what is held out, near images on one side; `index` holds those of sources before this one.

    With a `given` split, whose held-out part comes first: a training image near a held-out one is filtered and counted,
    and so is a held-out image that another source trains on. Without: the `fraction` is held out by the content's
    hash, but an image near an earlier one takes its side, and an image near both sides is filtered.
    """
    side = _listed if given else _hashed
    for group in groups:
        kept = []
        for document in group:
            heldout = side(document, index, fraction)
            if heldout is None:
                filtered.note(NEAR_TRAINED if document.heldout else NEAR_HELDOUT, document.origin)
            else:
                kept.append(document if heldout == document.heldout else replace(document, heldout=heldout))
        yield kept


def _listed(document: Document, index: HashIndex, fraction: float) -> bool | None:
    """Whether a list holds a document out; None: a near image is on the other side. Only held-out ones are indexed."""
    near = index.sides(_hash(document))
    if (near != document.heldout).any():
        return None
    if document.heldout:
        index.add(_hash(document), True)
    return document.heldout


def _hashed(document: Document, index: HashIndex, fraction: float) -> bool | None:
    """Whether a document is held out by its hash, or by an earlier near image; None: images of both sides are near."""
    near = index.sides(_hash(document))
    if len(near) and near.any() != near.all():
        return None
    heldout = bool(near[0]) if len(near) else is_heldout(document.digest, fraction)
    index.add(_hash(document), heldout)
    return heldout


def _hash(document: Document) -> int:
    assert document.perceptual_hash is not None, "sources of images hash them"
    return document.perceptual_hash
