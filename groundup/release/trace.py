"""Prints a lineage in the terminal: the chain as a tree, then its sources as tables."""

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from groundup.core import units
from groundup.core.ledger import Manifest
from groundup.data.results import DocumentsResult
from groundup.release.lineage import UNSTATED, Lineage

FILES_SHOWN = 40  # a corpus can have a million files; the JSON lists all of them


def render(found: Lineage) -> RenderableType:
    """A model's full lineage as a rich renderable."""
    parts: list[RenderableType] = [_tree(found), "", _sources(found)]
    if found.files:
        parts += ["", _files(found)]
    parts += ["", *map(_record, (found.model, *([found.report] if found.report else [])))]
    if found.base is not None:
        parts += [
            "",
            Text(f"{found.model.stage} began with the weights of {found.base.model.stage}, which has its own chain:"),
            render(found.base),
        ]
    if (weights := found.weights) is not None:
        told = (
            f"{found.trainings[0].stage} began with the weights in {weights.path}, of origin {weights.origin}, licence "
        )
        parts += ["", Text(told).append_text(_licence(weights.licence))]
    return Group(*parts, *(Text(f"broken: {sentence}", style="bold red") for sentence in found.breaks))


def _tree(found: Lineage) -> Tree:
    """The model at the root, its parents below; a stage is expanded once."""
    stages = {stage.stage: stage for stage in found.stages}
    shown: set[str] = set()

    def grow(tree: Tree, stage: Manifest) -> Tree:
        shown.add(stage.stage)
        for parent in sorted(stage.parents, key=lambda name: name in shown):
            if parent not in stages:
                tree.add(Text(f"{parent}  not known", style="bold red"))
            elif parent in shown:
                tree.add(Text(f"{parent}  (above)", style="dim"))
            else:
                grow(tree.add(_label(stages[parent])), stages[parent])
        return tree

    return grow(Tree(_label(found.model)), found.model)


def _label(stage: Manifest) -> Text:
    text = Text(stage.stage, style="bold")
    return text.append(f"  {stage.digest[:12]}", style="dim not bold").append(
        f"  {stage.finished}", style="dim not bold"
    )


def _record(stage: Manifest) -> Text:
    """The record of the chain up to a stage; a copy kept elsewhere reveals whether the chain was rewritten."""
    return Text(f"Record of {stage.stage}: {stage.record}", overflow="fold")


def _sources(found: Lineage) -> Table:
    table = Table(
        "source", "kind", "licence", title="Documents that went in", title_justify="left", box=None, pad_edge=False
    )
    for column in ("files", "documents", "held out"):
        table.add_column(column, justify="right")
    for stage in found.sources:
        documents = stage.result(DocumentsResult)
        figures = (len(stage.inputs), documents.documents, documents.heldout)
        table.add_row(
            stage.part["name"], stage.part["kind"], _licence(", ".join(stage.licences)), *map(units.number, figures)
        )
    return table


def _files(found: Lineage) -> Table:
    files = found.files
    title = f"Files that went in: {len(files):,}" + (
        f", the first {FILES_SHOWN} of them (--json lists all)" if len(files) > FILES_SHOWN else ""
    )
    table = Table("SHA-256", "licence", title=title, title_justify="left", box=None, pad_edge=False)
    table.add_column("file", overflow="fold")
    for file in files[:FILES_SHOWN]:
        table.add_row(Text(file.sha256[:12], style="dim"), _licence(file.licence), Text(file.path))
    return table


def _licence(name: str) -> Text:
    return Text(name, style="yellow" if UNSTATED in name else "")
