"""What the page shows of runs: their stages, the curves of those that train, figures and lineage, read from the runs'
folders.

A run may be under way: files are there in part, the last line of a log may be torn. What cannot be read is left out,
never an error.
"""

import fcntl
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from fastapi import APIRouter
from starlette.responses import Response

from groundup.config.base import NAME
from groundup.config.derived import schedules
from groundup.config.recipe import Recipe
from groundup.core import ledger
from groundup.core.errors import InputError
from groundup.core.files import read_json
from groundup.core.ledger import Manifest
from groundup.evaluate.display import Cell, Table
from groundup.release.lineage import Lineage, lineage
from groundup.release.part import display
from groundup.serve.errors import ApiError

T = TypeVar("T")
U = TypeVar("U")
DAMAGED = (
    InputError,
    OSError,
    LookupError,
    TypeError,
    ValueError,
    AttributeError,
    RecursionError,
)  # what reading a file of any content may come to
POINTS = 500  # of a curve
LOG_BYTES = 64 << 20  # of a log that are read
REPORT_HEADERS = {
    "Content-Security-Policy": (
        "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; font-src data:; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}


def router(runs: Path) -> APIRouter:
    """The endpoints for the runs of a folder."""
    api = APIRouter(prefix="/api/runs")

    @api.get("")
    def all_runs() -> dict[str, Any]:
        return {"runs": [summary(root, _recipe(root)) for root in roots(runs)]}

    @api.get("/{name}")
    def one_run(name: str, since: str | None = None) -> dict[str, Any]:
        return details(_root(runs, name), *_since(since))

    @api.get("/{name}/report")
    def report(name: str) -> Response:
        root = _root(runs, name)
        page = whole(lambda: _file(root, "report", "report.html").read_bytes(), None)
        if page is None:
            raise ApiError(404, f"the run {name} has no report yet")
        return Response(page, media_type="text/html; charset=utf-8", headers=REPORT_HEADERS)

    return api


def whole(read: Callable[[], T], otherwise: U) -> T | U:
    """What was read, or something else where it is damaged, gone, or not there yet."""
    try:
        return read()
    except DAMAGED:
        return otherwise


def roots(runs: Path) -> list[Path]:
    """The folders of runs, by name; links that lead elsewhere are left out."""
    inside = runs.resolve()
    found = [path for path in _folders(runs) if (path / "recipe.json").is_file()]
    return [path for path in found if path.resolve().is_relative_to(inside)]


def _folders(parent: Path) -> list[Path]:
    """The folders in one that may be a run's or a stage's, by name."""
    return whole(
        lambda: [path for path in sorted(parent.iterdir()) if re.fullmatch(NAME, path.name) and path.is_dir()], []
    )


def _file(root: Path, *parts: str) -> Path:
    """A plain file of a run. Raises InputError for what is none, or is reached by a link that leads out of the run's
    folder.
    """
    path = root.joinpath(*parts)
    if not path.is_file() or not path.resolve().is_relative_to(root.resolve()):
        raise InputError(f"{path}: not a file of this run")
    return path


def _root(runs: Path, name: str) -> Path:
    root = next((path for path in roots(runs) if path.name == name), None)
    if root is None:
        raise ApiError(404, f"there is no run {name!r}")
    return root


def _since(text: str | None) -> tuple[str | None, int]:
    if text is None:
        return None, -1
    stage, _, step = text.rpartition(":")
    if not re.fullmatch(NAME, stage) or not re.fullmatch("[0-9]{1,18}", step):
        raise ApiError(400, f"since is {text!r}; it must be STAGE:STEP", "since")
    return stage, int(step)


# --- stages --------------------------------------------------------------------------------------------------------


def summary(root: Path, recipe: Recipe | None) -> dict[str, Any]:
    """A run in a line: its stages, and whether it is under way."""
    live, trains = is_live(root), _titles(recipe)
    manifests = sorted(_manifests(root), key=lambda manifest: manifest.finished)
    stages = [_stage(manifest.stage, "done", manifest.stage in trains, manifest) for manifest in manifests]
    done = {manifest.stage for manifest in manifests}
    begun = [folder.name for folder in _folders(root) if folder.name not in done]
    stages += [_stage(name, "running" if live else "waiting", name in trains) for name in begun]
    stages += [_stage(name, "waiting", True) for name in trains if name not in done and name not in begun]
    return {"name": root.name, "live": live, "stages": stages}


def _stage(name: str, state: str, trains: bool, manifest: Manifest | None = None) -> dict[str, Any]:
    return {
        "name": name,
        "state": state,
        "trains": trains,
        "seconds": manifest.seconds if manifest and _is_number(manifest.seconds) else None,
        "finished": manifest.finished if manifest else None,
    }


def _manifests(root: Path) -> Iterator[Manifest]:
    for folder in _folders(root):
        manifest = _manifest(root, folder.name)
        if manifest is not None and manifest.stage == folder.name and isinstance(manifest.finished, str):
            yield manifest


def _manifest(root: Path, stage: str) -> Manifest | None:
    return whole(lambda: ledger.read(_file(root, stage, "manifest.json").parent), None)


def _recipe(root: Path) -> Recipe | None:
    return whole(lambda: Recipe.of(read_json(_file(root, "recipe.json"))["recipe"]), None)


def _titles(recipe: Recipe | None) -> list[str]:
    """The stages that train."""
    return [stage.title for stage in recipe.stage] if recipe else []


def is_live(root: Path) -> bool:
    """Whether a run holds its folder's lock; where the system lists locks, nothing is touched to find out."""
    try:
        lock = (root / ".lock").stat()
        table = Path("/proc/locks")
        if table.exists():
            return any(f":{lock.st_ino} " in line for line in table.read_text().splitlines())
        with (root / ".lock").open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


# --- one run -------------------------------------------------------------------------------------------------------


def details(root: Path, stage: str | None = None, since: int = -1) -> dict[str, Any]:
    """Everything of a run. With `stage` and `since`, of that stage's curve only what came after that step, and no curve
    of those before.
    """
    recipe = _recipe(root)
    titles = _titles(recipe)
    found = _lineage(root, titles)
    wanted = titles[titles.index(stage) :] if stage in titles else titles
    steps = whole(lambda: _steps(recipe), {})
    training = [
        {"stage": title, "steps": steps.get(title), "points": _curve(root, title, since if title == stage else -1)}
        for title in wanted
    ]
    return {
        **summary(root, recipe),
        "training": training,
        "figures": whole(lambda: _figures(found), []),
        "lineage": whole(lambda: _graph(found), None),
        "licences": whole(lambda: _licences(found), {}),
        "report": whole(lambda: _file(root, "report", "report.html").is_file(), False),
    }


def _lineage(root: Path, titles: list[str]) -> Lineage | None:
    done = [title for title in titles if _manifest(root, title) is not None]
    return whole(lambda: lineage(root / done[-1]), None) if done else None


def _figures(found: Lineage | None) -> list[dict[str, Any]]:
    return [_table(table) for table in display(found.evaluation).tables] if found else []


def _licences(found: Lineage | None) -> dict[str, int]:
    return {str(name): int(count) for name, count in found.licences.items()} if found else {}


def _steps(recipe: Recipe | None) -> dict[str, int]:
    """Steps of each stage."""
    if recipe is None:
        return {}
    planned = zip(recipe.stage, schedules(recipe), strict=True)
    return {stage.title: schedule.steps(stage.tokens, recipe.model.context) for stage, (schedule, _) in planned}


def _curve(root: Path, stage: str, since: int) -> list[dict[str, Any]]:
    return whole(lambda: curve(_file(root, stage, "metrics.jsonl"), since), [])


def curve(path: Path, since: int = -1) -> list[dict[str, Any]]:
    """The points of a training log after a step, no more than POINTS, the first and the last among them."""
    with path.open("rb") as file:
        lines = file.read(LOG_BYTES).splitlines()
    points = [point for line in lines if (point := _point(line)) is not None and point["step"] > since]
    if len(points) <= POINTS:
        return points
    places = {round(place * (len(points) - 1) / (POINTS - 1)) for place in range(POINTS)}
    return [points[place] for place in sorted(places)]


def _point(line: bytes) -> dict[str, Any] | None:
    """A line of the log; a number that is none, as of a training that went wrong, is null."""
    record = whole(lambda: json.loads(line), None)
    if not isinstance(record, dict) or not all(
        _is_number(record.get(key)) for key in ("step", "loss", "tokens_per_second")
    ):
        return None
    point = {key: record[key] for key in ("step", "loss", "tokens_per_second")}
    heldout = record.get("heldout")
    return point | (
        {"heldout": heldout} if isinstance(heldout, dict) and all(map(_is_number, heldout.values())) else {}
    )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _table(table: Table) -> dict[str, Any]:
    rows = [*table.rows, *([table.foot] if table.foot else [])]
    return {
        "title": table.caption,
        "columns": [column.removeprefix(">") for column in table.columns],
        "rows": [[cell.text if isinstance(cell, Cell) else cell for cell in row] for row in rows],
    }


def _graph(found: Lineage | None) -> dict[str, Any] | None:
    """The stages as nodes and what was made from what as edges; a source's files come before its documents."""
    if found is None:
        return None
    stages = [*found.stages, *([found.evaluation] if found.evaluation else [])]
    names = {stage.stage for stage in stages}
    trained = {stage.stage for stage in found.trainings}
    nodes = [
        {
            "id": stage.stage,
            "kind": "model" if stage.stage in trained else "stage",
            "title": stage.stage,
            "lines": [f"{stage.seconds:.0f} s"],
        }
        for stage in stages
    ]
    edges = [[parent, stage.stage] for stage in stages for parent in stage.parents if parent in names]
    for source in found.sources:
        name = f"source {source.part['name']}"
        nodes.append(
            {
                "id": name,
                "kind": "source",
                "title": source.part["name"],
                "lines": [source.part["kind"], ", ".join(source.licences)],
            }
        )
        edges.append([name, source.stage])
    return {"nodes": nodes, "edges": edges}
