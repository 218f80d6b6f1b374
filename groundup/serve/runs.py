"""The API of the page's run view: stages, training curves, evaluation tables and lineage, read from the runs' folders.

A run may be in progress, so unreadable files are left out. Reading has its own threads, separate from those of models.
"""

import asyncio
import fcntl
import json
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from fastapi import APIRouter
from pydantic_core import to_json
from starlette.responses import Response

from groundup.config.base import NAME
from groundup.config.derived import schedules
from groundup.config.load import RECIPE, stored
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
)  # exceptions of reading a damaged file
POINTS = 500  # most points of a curve
THREADS = 2  # threads that read runs
LOG_BYTES = 64 << 20  # bytes of a log that are read
REPORT_HEADERS = {
    "Content-Security-Policy": (
        "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; font-src data:; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}


def routes(runs: Path) -> APIRouter:
    """The endpoints for the runs in a folder."""
    api, threads = APIRouter(prefix="/api/runs"), ThreadPoolExecutor(THREADS, "runs")

    async def respond(read: Callable[[], Response]) -> Response:
        return await asyncio.get_running_loop().run_in_executor(threads, read)

    @api.get("")
    async def all_runs() -> Response:
        return await respond(lambda: _json({"runs": [summary(root, _recipe(root)) for root in run_folders(runs)]}))

    @api.get("/{name}")
    async def one_run(name: str, since: str | None = None) -> Response:
        return await respond(lambda: _json(details(_run_folder(runs, name), *_since(since))))

    @api.get("/{name}/report")
    async def report(name: str) -> Response:
        return await respond(lambda: _report(_run_folder(runs, name)))

    return api


def _json(content: dict[str, Any]) -> Response:
    return Response(to_json(content, inf_nan_mode="null"), media_type="application/json")


def _report(root: Path) -> Response:
    page = read_or(lambda: _file(root, "report", "report.html").read_bytes(), None)
    if page is None:
        raise ApiError(404, f"the run {root.name} has no report yet")
    return Response(page, media_type="text/html; charset=utf-8", headers=REPORT_HEADERS)


def read_or(read: Callable[[], T], default: U) -> T | U:
    """The result of `read`, or the default where a file is damaged or missing."""
    try:
        return read()
    except DAMAGED:
        return default


def run_folders(runs: Path) -> list[Path]:
    """The folders of runs, by name; links out of the folder are left out."""
    inside = runs.resolve()
    found = [path for path in _folders(runs) if (path / RECIPE).is_file()]
    return [path for path in found if path.resolve().is_relative_to(inside)]


def _folders(parent: Path) -> list[Path]:
    """Subfolders with the name of a run or stage, sorted."""
    return read_or(
        lambda: [path for path in sorted(parent.iterdir()) if re.fullmatch(NAME, path.name) and path.is_dir()], []
    )


def _file(root: Path, *parts: str) -> Path:
    """A regular file of a run. Raises InputError for any other, and for a link out of the run's folder."""
    path = root.joinpath(*parts)
    if not path.is_file() or not path.resolve().is_relative_to(root.resolve()):
        raise InputError(f"{path}: not a file of this run")
    return path


def _run_folder(runs: Path, name: str) -> Path:
    root = next((path for path in run_folders(runs) if path.name == name), None)
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
    """A run's name, stages, and whether it is in progress."""
    live, trains = is_live(root), _training_titles(recipe)
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
    return read_or(lambda: ledger.read(_file(root, stage, "manifest.json").parent), None)


def _recipe(root: Path) -> Recipe | None:
    return read_or(lambda: stored(read_json(_file(root, RECIPE))["recipe"]), None)


def _training_titles(recipe: Recipe | None) -> list[str]:
    """Titles of the training stages."""
    return [stage.title for stage in recipe.stage] if recipe else []


def is_live(root: Path) -> bool:
    """Whether a process holds the run's lock; read from the system's list of locks, where there is one."""
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
    """All data of a run. With `stage` and `since`, only the points after that step."""
    recipe = _recipe(root)
    titles = _training_titles(recipe)
    found = _lineage(root, titles)
    wanted = titles[titles.index(stage) :] if stage in titles else titles
    steps = read_or(lambda: _steps(recipe), {})
    training = [
        {"stage": title, "steps": steps.get(title), "points": _curve(root, title, since if title == stage else -1)}
        for title in wanted
    ]
    return {
        **summary(root, recipe),
        "training": training,
        "figures": read_or(lambda: _figures(found), []),
        "lineage": read_or(lambda: _graph(found), None),
        "licences": read_or(lambda: _licences(found), {}),
        "report": read_or(lambda: _file(root, "report", "report.html").is_file(), False),
    }


def _lineage(root: Path, titles: list[str]) -> Lineage | None:
    done = [title for title in titles if _manifest(root, title) is not None]
    return read_or(lambda: lineage(root / done[-1]), None) if done else None


def _figures(found: Lineage | None) -> list[dict[str, Any]]:
    return [_table(table) for table in display(found.evaluation).tables] if found else []


def _licences(found: Lineage | None) -> dict[str, int]:
    return {str(name): int(count) for name, count in found.licences.items()} if found else {}


def _steps(recipe: Recipe | None) -> dict[str, int]:
    """Planned steps of each training stage."""
    if recipe is None:
        return {}
    planned = zip(recipe.stage, schedules(recipe), strict=True)
    return {stage.title: schedule.steps(stage.tokens, recipe.model.context) for stage, (schedule, _) in planned}


def _curve(root: Path, stage: str, since: int) -> list[dict[str, Any]]:
    return read_or(lambda: curve(_file(root, stage, "metrics.jsonl"), since), [])


def curve(path: Path, since: int = -1) -> list[dict[str, Any]]:
    """Points of a training log after a step: at most POINTS, with the first and the last."""
    with path.open("rb") as file:
        lines = file.read(LOG_BYTES).splitlines()
    points = [point for line in lines if (point := _point(line)) is not None and point["step"] > since]
    if len(points) <= POINTS:
        return points
    places = {round(place * (len(points) - 1) / (POINTS - 1)) for place in range(POINTS)}
    return [points[place] for place in sorted(places)]


def _point(line: bytes) -> dict[str, Any] | None:
    """A point from a line of the log; NaN and infinity become null."""
    record = read_or(lambda: json.loads(line), None)
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
    """The lineage as a graph: sources and stages as nodes, dependencies as edges."""
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
