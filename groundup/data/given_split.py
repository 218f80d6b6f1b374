"""The given split of a data set: folders, tables or annotations called train, val and test.

Val is held out while training, and test measures the finished model; one of them alone does both. The names are those
of folders above the class folders, in upper or lower case, and with or without a year, as COCO's train2017.
"""

import os
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from groundup.config.source import ImageFilesConfig
from groundup.core.errors import InputError
from groundup.data.filtered import Filtered

TRAIN, VAL, TEST = "train", "val", "test"
_PARTS = {
    **dict.fromkeys(("train", "training"), TRAIN),
    **dict.fromkeys(("val", "valid", "validation", "dev"), VAL),
    **dict.fromkeys(("test", "testing", "t10k"), TEST),
}
_WORD = re.compile(r"([a-z]+|t10k)(?:[12][0-9]{3})?")


def part_of(names: Iterable[str]) -> str:
    """The part of the split that the first of some names means; empty for none.

    >>> part_of(["photos", "Validation"]), part_of(["train2017"]), part_of(["cats"])
    ('val', 'train', '')
    """
    matches = (_WORD.fullmatch(name.lower()) for name in names)
    return next((_PARTS[match[1]] for match in matches if match and match[1] in _PARTS), "")


def words(stem: str) -> list[str]:
    """The words of a file's name, one of which may be a part: `instances_val2017`, `t10k-images`, `train-0-of-2`."""
    return re.findall(r"[A-Za-z0-9]+", stem)


def parts_of_files(paths: Sequence[Path]) -> dict[Path, str]:
    """The part of each file, by the names of its folders below the common folder of all files."""
    folders = {path.parent for path in paths}
    shared = Path(os.path.commonpath(folders))
    parts = {folder: part_of(folder.relative_to(shared).parts) for folder in folders}
    return {path: parts[path.parent] for path in paths}


@dataclass(frozen=True)
class GivenSplit:
    """Which part is held out, and which is for the last measurement; empty: by the content's hash, and none."""

    heldout: str = ""
    test: str = ""

    @staticmethod
    def of(source: ImageFilesConfig, parts: Iterable[str]) -> "GivenSplit":
        """The split of a source whose images have these parts; a list of held-out files overrides it.

        Raises InputError if the part to hold out is not among them.
        """
        found = set(parts) - {""}
        if source.heldout_files:
            return GivenSplit()
        if source.heldout_part and not {TRAIN, source.heldout_part} <= found:
            raise InputError(
                f"source {source.name!r}: heldout_part = {source.heldout_part!r}, but its files are of"
                f" {' and '.join(sorted(found)) or 'no part'}; call their folders train and {source.heldout_part}, or"
                " leave the key out"
            )
        if source.heldout_part:
            return GivenSplit(source.heldout_part)
        return GivenSplit.among(found)

    @staticmethod
    def among(found: Collection[str]) -> "GivenSplit":
        """The split that some parts are."""
        heldout = next((part for part in (VAL, TEST) if part in found), "")
        return GivenSplit(heldout, TEST if {VAL, TEST} <= {*found} else "") if TRAIN in found else GivenSplit()

    def holds_out(self, part: str) -> bool | None:
        """Whether a part is held out; None: it is left out."""
        if not self.heldout or part == TRAIN:
            return False
        return True if part and part in (self.heldout, self.test) else None

    def tell(self, part: str, drops: Filtered) -> None:
        """Count an image by the use of its part."""
        if not self.heldout:
            return
        drops.recognise(f"images of {part or 'no part of the split'}: {self._use(part)}")

    def _use(self, part: str) -> str:
        if part and part == self.test:
            return "for the last measurement alone"
        uses = {None: "left out: neither trained on nor held out", True: "held out", False: "trained on"}
        return uses[self.holds_out(part)]


NO_SPLIT = GivenSplit()
