"""What the page shows of runs: their stages, the curves of those that train, figures and lineage, read from the runs' folders.

A run may be under way: files are there in part, the last line of a log may be torn. What cannot be read is left out, never an error.
"""

import fcntl
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fastapi import APIRouter
from starlette.responses import Response

from groundup import ledger
from groundup.errors import InputError
from groundup.files import read_json
from groundup.ledger import Manifest
from groundup.recipe import NAME, Recipe, schedules
from groundup.release import figures
from groundup.release.lineage import Lineage, lineage
from groundup.release.tables import Cell, Table
from groundup.serve.errors import ApiError

POINTS = 500  # of a curve
LOG_BYTES = 64 << 20  # of a log that are read
REPORT_HEADERS = {
    "Content-Security-Policy": "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; font-src data:; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}


def router(runs: Path) -> APIRouter:
    """The endpoints for the runs of a folder."""
    api = APIRouter(prefix="/api/runs")

    @api.get("")
    def all_runs() -> dict[str, Any]:
        return {"runs": [summary(root) for root in roots(runs)]}

    @api.get("/{name}")
    def one_run(name: str, since: str | None = None) -> dict[str, Any]:
        return details(_root(runs, name), *_since(since))

    @api.get("/{name}/report")
    def report(name: str) -> Response:
        path = _root(runs, name) / "report" / "report.html"
        if not path.is_file() or not path.resolve().is_relative_to(runs.resolve()):
            raise ApiError(404, f"the run {name} has no report yet")
        return Response(path.read_bytes(), media_type="text/html; charset=utf-8", headers=REPORT_HEADERS)

    return api


def roots(runs: Path) -> list[Path]:
    """The folders of runs, by name; links that lead elsewhere are left out."""
    if not runs.is_dir():
        return []
    inside = runs.resolve()
    found = (path for path in sorted(runs.iterdir()) if re.fullmatch(NAME, path.name) and (path / "recipe.json").is_file())
    return [path for path in found if path.resolve().is_relative_to(inside)]


def _root(runs: Path, name: str) -> Path:
    root = next((path for path in roots(runs) if path.name == name), None)
    if root is None:
        raise ApiError(404, f"there is no run {name!r}")
    return root


def _since(text: str | None) -> tuple[str | None, int]:
    if text is None:
        return None, -1
    stage, _, step = text.rpartition(":")
    if not re.fullmatch(NAME, stage) or not step.isascii() or not step.isdigit():
        raise ApiError(400, f"since is {text!r}; it must be STAGE:STEP", "since")
    return stage, int(step)


# --- stages --------------------------------------------------------------------------------------------------------


def summary(root: Path) -> dict[str, Any]:
    """A run in a line: its stages, and whether it is under way."""
    recipe, live = _recipe(root), is_live(root)
    trains = [stage.title for stage in recipe.stage] if recipe else []
    manifests = sorted(_manifests(root), key=lambda manifest: manifest.finished)
    stages = [_stage(manifest.stage, "done", manifest.stage in trains, manifest) for manifest in manifests]
    done = {manifest.stage for manifest in manifests}
    begun = [path.name for path in sorted(root.iterdir()) if path.is_dir() and path.name not in done and re.fullmatch(NAME, path.name)]
    stages += [_stage(name, "running" if live else "waiting", name in trains) for name in begun]
    stages += [_stage(name, "waiting", True) for name in trains if name not in done and name not in begun]
    return {"name": root.name, "live": live, "stages": stages}


def _stage(name: str, state: str, trains: bool, manifest: Manifest | None = None) -> dict[str, Any]:
    return {
        "name": name,
        "state": state,
        "trains": trains,
        "seconds": manifest.seconds if manifest else None,
        "finished": manifest.finished if manifest else None,
    }


def _manifests(root: Path) -> Iterator[Manifest]:
    for folder in sorted(root.iterdir()):
        try:
            manifest = ledger.read(folder) if folder.is_dir() else None
        except (InputError, OSError, TypeError, AttributeError):
            continue
        if manifest is not None:
            yield manifest


def _recipe(root: Path) -> Recipe | None:
    try:
        return Recipe.model_validate(read_json(root / "recipe.json")["recipe"])
    except (InputError, OSError, ValueError, KeyError, TypeError):
        return None


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
    """Everything of a run. With `stage` and `since`, of that stage's curve only what came after that step, and no curve of those before."""
    recipe, found = _recipe(root), _lineage(root)
    planned = recipe.stage if recipe else ()
    titles = [part.title for part in planned]
    wanted = titles[titles.index(stage) :] if stage in titles else titles
    training = [{"stage": title, "points": curve(root / title / "metrics.jsonl", since if title == stage else -1)} for title in wanted]
    steps = _steps(recipe)
    evaluation = found.evaluation.metrics if found and found.evaluation else {}
    return {
        **summary(root),
        "training": [{"steps": steps.get(str(entry["stage"])), **entry} for entry in training],
        "figures": [_table(table) for table in figures.tables(evaluation)] if evaluation else [],
        "lineage": _graph(found) if found else None,
        "licences": found.licences if found else {},
        "report": (root / "report" / "report.html").is_file(),
    }


def _lineage(root: Path) -> Lineage | None:
    recipe = _recipe(root)
    done = [part.title for part in recipe.stage if (root / part.title / "manifest.json").exists()] if recipe else []
    try:
        return lineage(root / done[-1]) if done else None
    except (InputError, OSError, TypeError, AttributeError):
        return None


def _steps(recipe: Recipe | None) -> dict[str, int]:
    """Steps of each stage, on one process."""
    if recipe is None:
        return {}
    context = recipe.model.context
    return {
        stage.title: max(1, -(-stage.tokens // (max(1, schedule.batch_tokens // context) * context)))
        for stage, (schedule, _) in zip(recipe.stage, schedules(recipe), strict=True)
    }


def curve(path: Path, since: int = -1) -> list[dict[str, Any]]:
    """The points of a training log after a step, no more than POINTS, the first and the last among them."""
    try:
        with path.open("rb") as file:
            lines = file.read(LOG_BYTES).splitlines()
    except OSError:
        return []
    points = [point for line in lines if (point := _point(line)) is not None and point["step"] > since]
    if len(points) <= POINTS:
        return points
    places = {round(place * (len(points) - 1) / (POINTS - 1)) for place in range(POINTS)}
    return [points[place] for place in sorted(places)]


def _point(line: bytes) -> dict[str, Any] | None:
    try:
        record = json.loads(line)
        point = {key: record[key] for key in ("step", "loss", "tokens_per_second")}
    except (ValueError, KeyError, TypeError):
        return None
    if not all(isinstance(value, int | float) for value in point.values()):
        return None
    return point | ({"heldout": record["heldout"]} if isinstance(record.get("heldout"), dict) else {})


def _table(table: Table) -> dict[str, Any]:
    rows = [*table.rows, *([table.foot] if table.foot else [])]
    return {
        "title": table.caption,
        "columns": [column.removeprefix(">") for column in table.columns],
        "rows": [[cell.text if isinstance(cell, Cell) else cell for cell in row] for row in rows],
    }


def _graph(found: Lineage) -> dict[str, Any]:
    """The stages as nodes and what was made from what as edges; a source's files come before its documents."""
    stages = [*found.stages, *([found.evaluation] if found.evaluation else [])]
    names = {stage.stage for stage in stages}
    trained = {stage.stage for stage in found.trainings}
    nodes = [
        {"id": stage.stage, "kind": "model" if stage.stage in trained else "stage", "title": stage.stage, "lines": [f"{stage.seconds:.0f} s"]}
        for stage in stages
    ]
    edges = [[parent, stage.stage] for stage in stages for parent in stage.parents if parent in names]
    for source in found.sources:
        name = f"source {source.part['name']}"
        nodes.append({"id": name, "kind": "source", "title": source.part["name"], "lines": [source.part["kind"], ", ".join(source.licences)]})
        edges.append([name, source.stage])
    return {"nodes": nodes, "edges": edges}
