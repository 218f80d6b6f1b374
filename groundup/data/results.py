"""The typed results of the data stages, as their manifests store them."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any


@dataclass(frozen=True)
class DocumentsResult:
    """Documents of one source: counts of kept and filtered ones."""

    documents: int
    heldout: int
    characters: int
    dropped: dict[str, int]  # filtered documents by reason
    examples: list[str]  # of filtered documents, by name and reason
    licences: dict[str, int]  # documents by licence
    warnings: list[str]
    unread: list[str]  # keys and columns of the files that are not used
    images: int
    detection_classes: list[str]  # of the boxes in the images
    image_classes: list[str]  # of whole images
    test: int = 0  # documents of a test part, beside those counted above
    recognised: dict[str, int] = field(default_factory=dict)  # recognised formats and conversions, with counts


@dataclass(frozen=True)
class TokenizerResult:
    """Size of the vocabulary."""

    size: int


@dataclass(frozen=True)
class PackedRows:
    """Rows of one split of a source; of its conversations, `cut` were too long, `lost` kept no supervised token."""

    rows: int
    context: int
    tokens: int
    documents: int
    cut: int
    lost: int
    longest: int  # tokens of the longest document that was cut
    fill: float  # fraction of the positions that are not padding
    images: int

    @classmethod
    def of(cls, table: Mapping[str, Any]) -> "PackedRows":
        """The rows of a folder whose `shards.json` holds `table`."""
        images = table["images"]["count"] if "images" in table else 0
        return cls(**{each.name: table[each.name] for each in fields(cls) if each.name != "images"}, images=images)


@dataclass(frozen=True)
class ShardsResult:
    """Packed rows of one source, by split."""

    train: PackedRows
    heldout: PackedRows

    @property
    def cut(self) -> int:
        """Documents that do not fit the context."""
        return self.train.cut + self.heldout.cut

    @property
    def lost(self) -> int:
        """Documents of which no supervised token fits the context."""
        return self.train.lost + self.heldout.lost

    @property
    def longest(self) -> int:
        """Tokens of the longest document that does not fit the context."""
        return max(self.train.longest, self.heldout.longest)
