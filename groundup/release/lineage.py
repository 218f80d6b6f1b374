"""Where a model comes from: the chain of manifests from its weights back to every file and licence that went in.

The chain of a stage of a run is read from the manifests in the folders beside it. An exported model carries the same
manifests in its `lineage.json`, with the export as the last link, so it can be traced wherever it goes.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from groundup import ledger
from groundup.errors import InputError
from groundup.files import read_json
from groundup.ledger import Manifest

LINEAGE = "lineage.json"
FORMAT = "groundup-lineage-1"
EVALUATION, LINE = "evaluate", "line"  # the stages that hold a model's figures: of its suites, and at work on the sorting line
UNSTATED = "unstated"


@dataclass(frozen=True)
class File:
    """A file that went in: its path as it was read, the stage that read it, and the licence it was given under."""

    path: str
    stage: str
    sha256: str
    licence: str


@dataclass(frozen=True)
class Lineage:
    """A model's chain.

    `stages` holds each stage after those it was made from, the model's own last; `evaluation` the figures of this very model,
    if it was measured; `line` those of its work on the sorting line, which an exported model leaves behind; `base` the chain of
    the model whose weights it began with, if that one is on record; `breaks` one sentence for each place where the chain does
    not hold. Behind a break nothing is claimed.
    """

    stages: tuple[Manifest, ...]
    evaluation: Manifest | None = None
    base: "Lineage | None" = None
    breaks: tuple[str, ...] = ()
    line: Manifest | None = None

    @property
    def model(self) -> Manifest:
        """The model's own stage."""
        return self.stages[-1]

    @property
    def sources(self) -> list[Manifest]:
        """The stages that took in documents, in the order in which the first stage that was made from them names them."""
        named = [*(parent for stage in self.stages for parent in stage.parents), self.model.stage]
        return sorted((stage for stage in self.stages if stage.licences), key=lambda stage: named.index(stage.stage))

    @property
    def trainings(self) -> list[Manifest]:
        """The stages that trained, in order."""
        return [stage for stage in self.stages if stage.flops]

    @property
    def timed(self) -> list[Manifest]:
        """The stages that took time, those with figures among them, in the order in which they ran."""
        stages = (*self.stages, *(measured for measured in (self.evaluation, self.line) if measured is not None))
        return sorted((stage for stage in stages if stage.seconds), key=lambda stage: stage.finished)

    @property
    def files(self) -> list[File]:
        """Every file that went in. Files of no source, such as weights to begin with, have the licences of what they were made from."""
        before = ", ".join(self.base.licences) if self.base is not None else UNSTATED
        own = [File(path, stage.stage, sha256, ", ".join(stage.licences) or before) for stage in self.stages for path, sha256 in stage.inputs.items()]
        return own + (self.base.files if self.base is not None else [])

    @property
    def licences(self) -> dict[str, int]:
        """Documents by licence, the most frequent first."""
        counts = Counter(self.base.licences if self.base is not None else {})
        for stage in self.sources:
            counts.update(stage.licences)
        return dict(counts.most_common())

    def require(self) -> "Lineage":
        """The lineage itself; raises InputError that names the first break."""
        if self.breaks:
            raise InputError(self.breaks[0])
        return self

    def as_json(self) -> dict[str, Any]:
        """The lineage as JSON: what it answers, and the whole manifests as proof."""
        return {
            "format": FORMAT,
            "model": self.model.stage,
            "breaks": list(self.breaks),
            "licences": self.licences,
            "files": [asdict(file) for file in self.files],
            "stages": [_entry(stage) for stage in self.stages],
            "evaluation": None if self.evaluation is None else _entry(self.evaluation),
            "base": None if self.base is None else self.base.as_json(),
        }


def _entry(stage: Manifest) -> dict[str, Any]:
    return {"digest": stage.digest, **asdict(stage)}


# --- reading -----------------------------------------------------------------------------------------------


def quiet(amount: int) -> None:
    """Tell nobody of progress."""


def lineage(model: Path, verify: bool = False, advance: Callable[[int], None] = quiet) -> Lineage:
    """The lineage of a finished stage or of an exported model.

    Every manifest must have the digest that the next one names, and the key that follows from what it says went in. With
    `verify`, all files that the stages wrote and that are kept here are hashed again; `advance` is told of bytes as they
    are done. Raises InputError when the folder holds neither a manifest nor a lineage, or one that cannot be read.
    """
    if (model / LINEAGE).exists():
        found = _carried(read_json(model / LINEAGE), model / LINEAGE)
    elif (model / "manifest.json").exists():
        found = _traced(model)
    else:
        raise InputError(f"{model}: holds no manifest.json and no {LINEAGE}, so nothing is known of it; name a finished stage or an exported model")
    if not verify:
        return found
    damage = [sentence for folder, stage in kept(model, found) for sentence in _damage(folder, stage, advance)]
    return replace(found, breaks=(*found.breaks, *damage))


def kept(model: Path, found: Lineage) -> list[tuple[Path, Manifest]]:
    """The stages whose files are here, with their folders: all of a run's, and of an exported model its own."""
    if (model / LINEAGE).exists():
        return [(model, found.model)]
    folder = model.resolve()
    return [(folder if stage is found.model else folder.parent / stage.stage, stage) for stage in found.stages]


def _damage(folder: Path, stage: Manifest, advance: Callable[[int], None]) -> Iterator[str]:
    if (name := ledger.damaged(folder, stage)) is not None:
        state = "has other content than its stage wrote" if (folder / name).exists() else "is gone"
        yield f"{folder / name}: {state}; restore it, or make it again"
    advance(sum(output["bytes"] for output in stage.outputs.values()))


def _traced(model: Path) -> Lineage:
    """From the manifests of a run's folder."""
    model = model.resolve()
    root = model.parent
    chain = _Chain(lambda stage: ledger.read(root / stage), lambda stage: str(root / stage / "manifest.json"))
    found = chain.walk(model.name)
    evaluation, line = (chain.measured(name, found.model) for name in (EVALUATION, LINE))
    return replace(found, evaluation=evaluation, line=line, base=_base(found.trainings))


def _base(trainings: Iterable[Manifest]) -> Lineage | None:
    """The chain of the weights that training began with, where the folder they came from still holds both."""
    for stage in trainings:
        for path, sha256 in stage.inputs.items():
            folder, name = Path(path).parent, Path(path).name
            if (folder / LINEAGE).exists() or (folder / "manifest.json").exists():
                found = lineage(folder)
                if found.model.outputs.get(name, {}).get("sha256") == sha256:
                    return found
    return None


def _carried(table: Any, path: Path) -> Lineage:
    """From the manifests that an exported model carries."""
    if not isinstance(table, dict) or table.get("format") != FORMAT:
        raise InputError(f"{path}: not a lineage of this version ({FORMAT}); export the model again")
    try:
        entries = [*table["stages"], *([table["evaluation"]] if table["evaluation"] else [])]
        manifests = {entry["stage"]: _manifest(entry, path) for entry in entries}
        chain = _Chain(manifests.get, lambda stage: f"{path} ({stage})")
        found = chain.walk(table["model"])
        base = _carried(table["base"], path) if table["base"] else None
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: damaged ({type(error).__name__}: {error}); export the model again") from error
    return replace(found, evaluation=chain.measured(EVALUATION, *found.stages[-2:]), base=base)


def _manifest(entry: dict[str, Any], path: Path) -> Manifest:
    manifest = Manifest(**{key: value for key, value in entry.items() if key != "digest"})
    if manifest.digest != entry["digest"]:
        raise InputError(f"{path}: the entry of {manifest.stage} was changed since it was written; export the model again")
    return manifest


class _Chain:
    """Walks from a stage to everything before it, and notes where a link does not hold."""

    def __init__(self, read: Callable[[str], Manifest | None], name: Callable[[str], str]):
        self.read, self.name = read, name
        self.found: dict[str, Manifest] = {}  # parents first
        self.breaks: list[str] = []

    def walk(self, model: str) -> Lineage:
        """The chain that ends in a stage."""
        manifest = self.read(model)
        if manifest is None:
            raise InputError(f"{self.name(model)}: is gone; run the stage again")
        self._visit(manifest)
        return Lineage(tuple(self.found.values()), breaks=tuple(self.breaks))

    def measured(self, name: str, *holders: Manifest) -> Manifest | None:
        """The stage of figures of a name, if it measured the weights that one of these stages holds."""
        figures = self.read(name)
        matches = figures is not None and any(figures.parents.get(stage.stage) == stage.digest for stage in holders if stage.flops)
        return figures if matches else None

    def _visit(self, manifest: Manifest) -> None:
        if _edited(manifest):
            self.breaks.append(f"{self.name(manifest.stage)}: was edited, as its key does not follow from what it says went in; run it again")
        for parent, digest in manifest.parents.items():
            if parent not in self.found or self.found[parent].digest != digest:
                self._follow(manifest.stage, parent, digest)
        self.found[manifest.stage] = manifest

    def _follow(self, child: str, parent: str, digest: str) -> None:
        try:
            manifest = self.read(parent)
        except InputError as error:
            self.breaks.append(str(error))
            return
        if manifest is None:
            self.breaks.append(f"{self.name(parent)}: is gone, and {child} was made from it; run the recipe again to know what went in before it")
        elif manifest.digest != digest:
            self.breaks.append(
                f"{self.name(parent)}: has digest {manifest.digest[:12]}, but {child} was made from {digest[:12]}; "
                f"{parent} ran again since, so run {child} again too"
            )
        else:
            self._visit(manifest)


def _edited(manifest: Manifest) -> bool:
    """Whether the key is not the one of the inputs, or the licences are not those of the recipe's part, which the key covers."""
    key = ledger.key(manifest.stage, manifest.part, manifest.code, manifest.seed, manifest.inputs, manifest.parents)
    return key != manifest.key or bool(manifest.licences and set(manifest.licences) != {manifest.part["licence"]})
