"""Near duplicates: images that look alike, by a 64-bit hash, lie on one side of the split.

The difference hash (dHash): an image at 9 x 8 grey pixels, one bit for each pixel that is brighter than its left neighbour. Another size,
format or compression changes few of its bits, if any. It does not see colour, and flat images are all alike to it.
"""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import numpy.typing as npt
from PIL import Image

from groundup.codecs.image import Pixels
from groundup.data.clean import is_heldout
from groundup.data.document import Document
from groundup.data.drops import Drops
from groundup.recipe import PictureSource

DHASH = "dhash"  # the label under which a document carries its first image's hash: images are decoded once, where they are checked
NEAR_HELDOUT = "near duplicate of a held-out image"


def dhash(pixels: Pixels) -> int:
    """The difference hash of an image [H, W, 3]: 64 bits, row by row.

    >>> hex(dhash(np.tile(np.arange(0, 180, 20, dtype=np.uint8)[None, :, None], (8, 1, 3))))
    '0xffffffffffffffff'
    """
    small = np.asarray(Image.fromarray(pixels).convert("L").resize((9, 8), Image.Resampling.BOX))
    return int.from_bytes(np.packbits(small[:, 1:] > small[:, :-1]).tobytes(), "big")


class Known:
    """The hashes met so far and the side of each: 9 bytes an image, and as much again for a moment when they have outgrown their room.

    A look-up compares with all of them. For 100,000 images that takes seconds altogether, which decoding them takes many times over, and
    unlike an index by parts of the hash it needs no more memory and is as fast for any distance.
    """

    def __init__(self, bits: int):
        self.bits, self.count = bits, 0
        self.hashes, self.heldout = np.empty(1024, np.uint64), np.empty(1024, np.bool_)

    def sides(self, hash: int) -> npt.NDArray[np.bool_]:
        """For each image within `bits` of a hash, in the order in which they came, whether it is held out."""
        apart = np.bitwise_count(self.hashes[: self.count] ^ np.uint64(hash))
        near: npt.NDArray[np.bool_] = self.heldout[: self.count][apart <= self.bits]
        return near

    def add(self, hash: int, heldout: bool) -> None:
        """Remember an image."""
        if self.count == len(self.hashes):
            self.hashes, self.heldout = np.resize(self.hashes, 2 * self.count), np.resize(self.heldout, 2 * self.count)
        self.hashes[self.count], self.heldout[self.count] = hash, heldout
        self.count += 1


def split(groups: Iterator[list[Document]], source: PictureSource, drops: Drops) -> Iterator[list[Document]]:
    """Mark what is held out, so that images near each other lie on one side; documents carry their hash as a label.

    With `heldout_files`, which the source yields first: a training image near one of them is dropped, and counted. Without: by the
    content's hash, but an image near an earlier one takes its side, and one that is near both sides is dropped.
    """
    known = Known(source.near_duplicates)
    side = _listed if source.heldout_files else _hashed
    for group in groups:
        kept = []
        for document in group:
            heldout = side(document, known, source.heldout_share)
            if heldout is None:
                drops.note(NEAR_HELDOUT, document.origin)
            else:
                kept.append(document if heldout == document.heldout else replace(document, heldout=heldout))
        yield kept


def _listed(document: Document, known: Known, share: float) -> bool | None:
    """Whether a document is held out by a list; None: it is near one that is. Only held-out ones are remembered."""
    if document.heldout:
        known.add(document.labels[DHASH], True)
        return True
    return None if len(known.sides(document.labels[DHASH])) else False


def _hashed(document: Document, known: Known, share: float) -> bool | None:
    """Whether a document is held out by its content's hash or that of an earlier one near it; None: there are such on both sides."""
    hash = document.labels[DHASH]
    near = known.sides(hash)
    if len(near) and near.any() != near.all():
        return None
    heldout = bool(near[0]) if len(near) else is_heldout(document.digest, share)
    known.add(hash, heldout)
    return heldout
