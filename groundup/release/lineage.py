"""A model's lineage: the chain of manifests from its weights back to every source file and licence.

A stage's chain is read from the manifests in the folders beside it; an exported model carries the same manifests in
`lineage.json`, with the export as the last link. Each manifest names the result and record of those before it, so any
change is detected, unless all later manifests are rewritten. The last record is displayed, to be kept elsewhere.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from groundup.core import ledger
from groundup.core.errors import InputError
from groundup.core.files import digest, json_text, read_json
from groundup.core.ledger import Manifest
from groundup.core.tables import REPORTS

LINEAGE = "lineage.json"
FORMAT = "groundup-lineage-3"
EVALUATION = "evaluate"  # the stage that evaluates a model with its recipe's suites
REPORT = "report"  # the stage that reports all results, the last of a run
UNSTATED = "unstated"


@dataclass(frozen=True)
class File:
    """A source file: its path, the stage that read it, and its licence."""

    path: str
    stage: str
    sha256: str
    licence: str


@dataclass(frozen=True)
class Weights:
    """Initial weights from elsewhere, as the recipe or they themselves state: licence, origin, and their path."""

    licence: str
    origin: str
    path: str


@dataclass(frozen=True)
class Lineage:
    """A model's chain.

    `stages` come after their parents, the model's own last; `measured` are the stages that measured this model (an
    export keeps the evaluation); `report` is the page of its run (not exported); `base` is the chain of its initial
    weights, if recorded; `breaks` has a sentence for each break of the chain, before which nothing is claimed.
    """

    stages: tuple[Manifest, ...]
    measured: tuple[Manifest, ...] = ()
    base: "Lineage | None" = None
    breaks: tuple[str, ...] = ()
    report: Manifest | None = None

    @property
    def model(self) -> Manifest:
        """The model's own stage."""
        return self.stages[-1]

    @property
    def evaluation(self) -> Manifest | None:
        """The stage that evaluated the model with its recipe's suites."""
        return next((stage for stage in self.measured if stage.stage == EVALUATION), None)

    @property
    def sources(self) -> list[Manifest]:
        """The stages that read documents, in the order in which the first later stage names them."""
        named = [*(parent for stage in self.stages for parent in stage.parents), self.model.stage]
        return sorted((stage for stage in self.stages if stage.licences), key=lambda stage: named.index(stage.stage))

    @property
    def trainings(self) -> list[Manifest]:
        """The stages that trained, in order."""
        return [stage for stage in self.stages if stage.flops]

    @property
    def timed(self) -> list[Manifest]:
        """All stages with a duration, also those that measured the model, in the order in which they ran."""
        stages = (stage for stage in (*self.stages, *self.measured) if stage.seconds)
        return sorted(stages, key=lambda stage: stage.finished)

    @property
    def files(self) -> list[File]:
        """Every source file. Files of no source, such as initial weights, have the licences of their own sources."""
        begun = UNSTATED if self.weights is None else self.weights.licence
        before = ", ".join(self.base.licences) if self.base is not None else begun
        own = [
            File(path, stage.stage, sha256, ", ".join(stage.licences) or before)
            for stage in self.stages
            for path, sha256 in stage.inputs.items()
        ]
        return own + (self.base.files if self.base is not None else [])

    @property
    def weights(self) -> Weights | None:
        """The initial weights, where the recipe names some that no run of this machine made."""
        stated = self.trainings[0].part.get("model", {}) if self.trainings else {}
        if self.base is not None or not stated.get("start"):
            return None
        return Weights(stated.get("licence", UNSTATED), stated.get("origin", UNSTATED), stated["start"])

    @property
    def licences(self) -> dict[str, int]:
        """Documents by licence, the most frequent first."""
        counts = Counter(self.base.licences if self.base is not None else {})
        for stage in self.sources:
            counts.update(stage.licences)
        return dict(counts.most_common())

    def require(self) -> "Lineage":
        """The lineage itself if it has no break. Raises InputError that names the first break."""
        if self.breaks:
            raise InputError(self.breaks[0])
        return self

    def as_json(self) -> dict[str, Any]:
        """The lineage as JSON: its summary, and the full manifests as proof."""
        return {
            "format": FORMAT,
            "model": self.model.stage,
            "breaks": list(self.breaks),
            "licences": self.licences,
            "files": [asdict(file) for file in self.files],
            "stages": [stage.entry() for stage in self.stages],
            "evaluation": None if self.evaluation is None else self.evaluation.entry(),
            "base": None if self.base is None else self.base.as_json(),
        }


# --- reading -----------------------------------------------------------------------------------------------


def quiet(amount: int) -> None:
    """Report no progress."""


def lineage(model: Path, verify: bool = False, advance: Callable[[int], None] = quiet) -> Lineage:
    """The lineage of a finished stage or of an exported model.

    Each manifest must have the digest and record that the next one names, and the key of its inputs. `verify` checks
    the report too and rehashes all stored outputs; `advance` takes numbers of bytes hashed. Raises InputError when the
    folder holds neither a manifest nor a lineage, or one that cannot be read.
    """
    try:
        if (model / LINEAGE).exists():
            found = _exported(model / LINEAGE)
        elif (model / ledger.MANIFEST).exists():
            found = _traced(model, verify)
        else:
            raise InputError(
                f"{model}: holds no manifest.json and no {LINEAGE}, so nothing is known of it; name a finished stage or"
                " an exported model"
            )
    except RecursionError:
        raise InputError(f"{model}: its record is nested without end, so damaged; restore it from a copy") from None
    if not verify:
        return found
    damage = [sentence for folder, stage in kept(model, found) for sentence in _damage(folder, stage, advance)]
    return replace(found, breaks=(*found.breaks, *damage))


def kept(model: Path, found: Lineage) -> list[tuple[Path, Manifest]]:
    """The stages whose files are stored here, with their folders: all stages of a run, or the export of a model."""
    if (model / LINEAGE).exists():
        return [(model, found.model)]
    folder = model.resolve()
    ending = [*found.measured, *([found.report] if found.report else [])]
    return [
        (folder if stage is found.model else folder.parent / stage.stage, stage) for stage in (*found.stages, *ending)
    ]


def _damage(folder: Path, stage: Manifest, advance: Callable[[int], None]) -> Iterator[str]:
    if (name := ledger.damaged(folder, stage)) is not None:
        state = "has other content than its stage wrote" if (folder / name).exists() else "is gone"
        yield f"{folder / name}: {state}; restore it, or make it again"
    advance(sum(output["bytes"] for output in stage.outputs.values()))


def _traced(model: Path, report: bool) -> Lineage:
    """The lineage from the manifests of a run's folder; with the `report`, which must show this very model."""
    model = model.resolve()
    root = model.parent
    chain = _Chain(lambda stage: ledger.read(root / stage), lambda stage: str(root / stage / ledger.MANIFEST))
    stages = chain.walk(model.name)
    measured = tuple(stage for name in REPORTS if (stage := chain.ending(name, stages[-1])) is not None)
    shown = chain.showing(REPORT, stages[-1]) if report else None
    base = _base(stages)
    return Lineage(stages, measured, base, (*chain.breaks, *_unlinked(stages, base)), shown)


def _base(stages: Iterable[Manifest]) -> Lineage | None:
    """The chain of the initial weights, if their folder still holds manifest and weights."""
    for stage in stages:
        for path in stage.inputs if stage.flops else ():
            folder = Path(path).parent
            if _on_record(folder) and _begun(stage, found := lineage(folder)):
                return found
    return None


def begun_with(files: Iterable[Path]) -> dict[str, str]:
    """The records, by folder, of the models from whose files training starts."""
    folders = dict.fromkeys(path.parent for path in files)
    return {str(folder): lineage(folder).model.record for folder in folders if _on_record(folder)}


def _on_record(folder: Path) -> bool:
    return (folder / LINEAGE).exists() or (folder / ledger.MANIFEST).exists()


def _begun(stage: Manifest, base: Lineage) -> str | None:
    """The folder of a stage's initial weights, or None."""
    hashes = {(name, output["sha256"]) for name, output in base.model.outputs.items()}
    return next(
        (str(Path(path).parent) for path, sha256 in stage.inputs.items() if (Path(path).name, sha256) in hashes), None
    )


def _unlinked(stages: Iterable[Manifest], base: Lineage | None) -> Iterator[str]:
    """Breaks between a model and its base model, or in the base model's chain."""
    if base is None:
        return
    for stage in stages:
        if (
            stage.flops
            and (folder := _begun(stage, base)) is not None
            and not base.model.was(stage.records.get(folder, base.model.record))
        ):
            yield (
                f"{folder}: its record is not the one with which {stage.stage} began: it was edited, or written again;"
                " restore it from a copy"
            )
    yield from base.breaks


def _exported(path: Path) -> Lineage:
    """Read the lineage of an exported model; it must equal the canonical serialisation of its manifests."""
    found = _carried(read_json(path), path)
    if not found.breaks and json_text(found.as_json()).encode() != path.read_bytes():
        return replace(
            found,
            breaks=(f"{path}: changed since it was written, as its manifests say otherwise; export the model again",),
        )
    return found


def _carried(table: Any, path: Path) -> Lineage:
    """The lineage from the manifests that an exported model contains."""
    if not isinstance(table, dict) or table.get("format") != FORMAT:
        raise InputError(f"{path}: not a lineage of this version ({FORMAT}); export the model again")
    try:
        entries = [*table["stages"], *([table["evaluation"]] if table["evaluation"] else [])]
        manifests = [ledger.parse(entry, f"{path}: an entry of it", "export the model again") for entry in entries]
        chain = _Chain({manifest.stage: manifest for manifest in manifests}.get, lambda stage: f"{path} ({stage})")
        stages = chain.walk(table["model"])
        base = _carried(table["base"], path) if table["base"] else None
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: damaged ({type(error).__name__}: {error}); export the model again") from error
    evaluation = chain.ending(EVALUATION, *stages[-2:])
    found = Lineage(stages, () if evaluation is None else (evaluation,), base)
    return replace(found, breaks=(*chain.breaks, *_unlinked(stages, base), *_uncarried(found, path)))


def company(found: Lineage) -> dict[str, str]:
    """What an export records beside the model's chain: records of its evaluation and of the base model's chain."""
    figures = {} if found.evaluation is None else {EVALUATION: found.evaluation.record}
    return figures if found.base is None else {**figures, "base": digest(found.base.as_json())}


def _uncarried(found: Lineage, path: Path) -> Iterator[str]:
    """Breaks where an export has lost or changed its evaluation or its base model's chain."""
    there = company(found)
    for name in (EVALUATION, "base"):
        if not found.model.flops and found.model.records.get(name) != there.get(name):
            yield f"{path}: its {name} is not the one that was exported; export the model again"


class _Chain:
    """Follows the chain from a stage to all stages before it, and notes broken links."""

    def __init__(self, read: Callable[[str], Manifest | None], name: Callable[[str], str]):
        self.read, self.name = read, name
        self.found: dict[str, Manifest] = {}  # parents first
        self.unreadable: set[str] = set()
        self.breaks: dict[str, None] = {}  # each once, in order

    def walk(self, model: str) -> tuple[Manifest, ...]:
        """The stages of the chain that ends in one, parents first."""
        manifest = self.read(model)
        if manifest is None:
            raise InputError(f"{self.name(model)}: is gone; run the stage again")
        self._visit(manifest)
        return tuple(self.found.values())

    def ending(self, name: str, *models: Manifest) -> Manifest | None:
        """The stage of a name that was made from these weights; its links are checked."""
        manifest = self._known(name)
        if manifest is None or not any(
            manifest.parents.get(model.stage) == model.digest for model in models if model.flops
        ):
            return None
        self._visit(manifest)
        return manifest

    def showing(self, name: str, model: Manifest) -> Manifest | None:
        """The stage of a name that was made from a model, or from one that it replaced; its links are checked."""
        manifest = self._known(name)
        if manifest is None or model.stage not in manifest.parents:
            return None
        self._visit(manifest)
        return manifest

    def _known(self, stage: str) -> Manifest | None:
        """The manifest of a stage; if it cannot be read, None and a break."""
        if stage not in self.found and stage not in self.unreadable:
            try:
                return self.read(stage)
            except InputError as error:
                self.unreadable.add(stage)
                self._broken(str(error))
        return self.found.get(stage)

    def _broken(self, sentence: str) -> None:
        self.breaks[sentence] = None

    def _visit(self, manifest: Manifest) -> None:
        if _edited(manifest):  # its parents cannot be trusted and may even include itself
            self._broken(
                f"{self.name(manifest.stage)}: was edited, as its key does not follow from what it says went in; run it"
                " again"
            )
        else:
            for parent in manifest.parents:
                self._follow(manifest, parent)
        self.found[manifest.stage] = manifest

    def _follow(self, child: Manifest, parent: str) -> None:
        before = self._known(parent)
        digest, record = child.parents[parent], child.records.get(parent, "")
        if before is None:
            if parent not in self.unreadable:
                self._broken(
                    f"{self.name(parent)}: is gone, and {child.stage} was made from it; run the recipe again to know"
                    " what went in before it"
                )
            return
        if before.digest != digest:
            self._broken(
                f"{self.name(parent)}: has digest {before.digest[:12]}, but {child.stage} was made from {digest[:12]}; "
                f"{parent} ran again since, so run {child.stage} again too"
            )
            return
        if not before.was(record):
            self._broken(
                f"{self.name(parent)}: has record {before.record[:12]}, but {child.stage} was made under"
                f" {record[:12] or 'none'}; it was edited, or lost and made again with the same result: restore it from"
                " a copy"
            )
        if parent not in self.found:
            self._visit(before)


def _edited(manifest: Manifest) -> bool:
    """Whether the key does not match the inputs, or the licences do not match the recipe."""
    key = ledger.key(manifest.stage, manifest.part, manifest.versions, manifest.seed, manifest.inputs, manifest.parents)
    return key != manifest.key or bool(manifest.licences and not _licensed(manifest.part, manifest.licences))


def _licensed(part: Any, licences: dict[str, int]) -> bool:
    return isinstance(part, dict) and {"name", "kind", "licence"} <= set(part) and set(licences) == {part["licence"]}
