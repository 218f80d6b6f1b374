"""Recorded episodes of a robot, in the layout of LeRobot data sets (version 3.0); `replay` reads them.

`data` holds sensor values and actions, one row for each frame; `videos` a video for each camera; `meta` the
description. The layout lets episodes share files; here each episode has its own. Files are written under temporary
names and renamed, `meta/info.json` last, so a crash loses only the episode in progress. `meta/limb.json` is an addition
to the layout: the robot's specification with units and limits.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import TypeAdapter

from groundup.apps.robotics.robot import Camera, Description, Field, Numbers, Observation, Pixels
from groundup.core.errors import InputError
from groundup.core.files import read_json, replacing, write_json, write_with

DATA = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
VIDEO = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
EPISODE = "meta/episodes/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
CHUNK = 1000  # files in a folder
CODEC = (
    "libvpx-vp9",
    {"crf": "20", "b": "0", "deadline": "realtime", "cpu-used": "6", "g": "10"},
)  # an open codec that plays in every browser
COUNTED = ("frame_index", "episode_index", "index", "task_index")
TASKS = {  # pandas metadata: LeRobot reads the file with pandas, and "task" must be the index
    "index_columns": ["task"],
    "column_indexes": [],
    "columns": [
        {"name": name, "field_name": name, "pandas_type": kind, "numpy_type": stored, "metadata": None}
        for name, kind, stored in (("task_index", "int64", "int64"), ("task", "unicode", "object"))
    ],
    "pandas_version": "2.0.0",
}
STATISTICS = ("min", "max", "mean", "std", "count")
Stats = dict[str, npt.NDArray[np.float64]]


def layout(robot: Description) -> dict[str, Any]:
    """The content of `meta/info.json` before the first episode. Raises InputError if a second is not a whole number of
    the robot's periods.
    """
    fps = round(1 / robot.period)
    if abs(fps * robot.period - 1) > 1e-6:
        raise InputError(f"{robot.name}: a period of {robot.period} s; episodes need a whole number of frames a second")
    if not robot.observes or not robot.acts:
        raise InputError(f"{robot.name}: episodes need at least one field that is observed and one that is done")
    features: dict[str, dict[str, Any]] = {}
    for key, fields in (("observation.state", robot.observes), ("action", robot.acts)):
        names = [f"{field.name}.{place}" for field in fields for place in range(len(field.low))]
        features[key] = {"dtype": "float32", "shape": [len(names)], "names": names}
    for camera in robot.cameras:
        film = {
            "height": camera.height,
            "width": camera.width,
            "codec": "vp9",
            "pix_fmt": "yuv420p",
            "fps": fps,
            "channels": 3,
        }
        info = {f"video.{name}": value for name, value in film.items()} | {"is_depth_map": False, "has_audio": False}
        names = ["height", "width", "channels"]
        features[film_key(camera)] = {
            "dtype": "video",
            "shape": [camera.height, camera.width, 3],
            "names": names,
            "info": info,
        }
    kinds = {"observation.time": "float64", "timestamp": "float32"} | dict.fromkeys(COUNTED, "int64")
    features |= {name: {"dtype": kind, "shape": [1], "names": None} for name, kind in kinds.items()}
    paths = {
        "data_path": DATA,
        "video_path": VIDEO,
        "chunks_size": CHUNK,
        "data_files_size_in_mb": 100,
        "video_files_size_in_mb": 200,
    }
    counts = {"total_episodes": 0, "total_frames": 0, "total_tasks": 0, "splits": {}}
    return {"codebase_version": "v3.0", "robot_type": robot.name, "fps": fps, "features": features} | paths | counts


class Episode:
    """An episode while it is recorded: videos are written during recording, numbers are kept in memory."""

    def __init__(self, robot: Description, films: Mapping[str, Any]):
        self._robot, self._films = robot, films
        self.rows: list[dict[str, Any]] = []
        self.samples: dict[str, list[Pixels]] = {
            key: [] for key in films
        }  # of each picture every eighth pixel of every eighth row

    def add(self, seen: Observation, action: Numbers) -> None:
        """Add one frame: an observation and the action that followed it, clipped to the limits as by a guard.

        Raises InputError for images or numbers other than the robot describes.
        """
        row = {
            "observation.state": _vector(self._robot, self._robot.observes, seen.numbers),
            "action": _vector(self._robot, self._robot.acts, self._robot.checked(action)),
            "observation.time": seen.time,
        }
        for camera in self._robot.cameras:
            image = seen.images.get(camera.name)
            if image is None or image.shape != (camera.height, camera.width, 3) or image.dtype != np.uint8:
                raise InputError(
                    f"{self._robot.name}: camera {camera.name} needs pictures of {camera.height} x {camera.width} x 3"
                    " bytes"
                )
        for camera in self._robot.cameras:
            self._films[film_key(camera)](seen.images[camera.name])
            self.samples[film_key(camera)].append(seen.images[camera.name][::8, ::8].reshape(-1, 3))
        self.rows.append(row)


class Recorder:
    """Adds episodes to a folder: a new one, or one that holds episodes of an equal robot (else InputError)."""

    def __init__(self, folder: Path, robot: Description):
        self._folder, self._robot, self._info = folder, robot, layout(robot)
        self._tasks: list[str] = []
        self._stats: dict[str, Stats] = {}
        if (folder / "meta/info.json").exists():
            if described(folder) != robot:
                raise InputError(
                    f"{folder}: holds episodes of another robot than this {robot.name}; choose another folder"
                )
            self._info = read_json(folder / "meta/info.json")
            self._tasks = pq.read_table(folder / "meta/tasks.parquet")["task"].to_pylist()
            for number in range(
                self._info["total_episodes"]
            ):  # not from stats.json: a crash may have left it one episode ahead
                row = pq.read_table(located(folder, EPISODE, number)).to_pylist()[0]
                found = {
                    key: {name: np.array(row[f"stats/{key}/{name}"]) for name in STATISTICS}
                    for key in self._info["features"]
                }
                self._stats = _merged(self._stats, found)

    @contextmanager
    def episode(self, task: str) -> Iterator[Episode]:
        """Record an episode of a task, described in words: `add` its frames. It is stored when the block ends, and
        discarded if the block raises.
        """
        with ExitStack() as stack:
            films = {}
            for camera in self._robot.cameras:
                film = self._path(VIDEO, film_key(camera))
                films[film_key(camera)] = stack.enter_context(_film(film, camera, self._info["fps"]))
            episode = Episode(self._robot, films)
            yield episode
            if not episode.rows:
                raise InputError(f"{self._folder}: an episode without a frame")
        self._keep(task, episode)

    def _path(self, template: str, key: str = "") -> Path:
        return located(self._folder, template, self._info["total_episodes"], key)

    def _keep(self, task: str, episode: Episode) -> None:
        number, first, length = self._info["total_episodes"], self._info["total_frames"], len(episode.rows)
        tasks = self._tasks if task in self._tasks else [*self._tasks, task]
        steps = np.arange(length)
        columns = {key: np.array([row[key] for row in episode.rows]) for key in episode.rows[0]}
        columns |= {
            "timestamp": steps / self._info["fps"],
            "frame_index": steps,
            "episode_index": np.full(length, number),
        }
        columns |= {"index": first + steps, "task_index": np.full(length, tasks.index(task))}
        stats = {key: _stats(values.reshape(length, -1), (-1,)) for key, values in columns.items()}
        stats |= {key: _stats(np.concatenate(samples) / 255, (3, 1, 1)) for key, samples in episode.samples.items()}
        totals = _merged(self._stats, stats)
        table = pa.table({key: _column(self._info["features"][key], values) for key, values in columns.items()})
        named = pa.table({"task_index": range(len(tasks)), "task": tasks}).replace_schema_metadata(
            {"pandas": json.dumps(TASKS)}
        )
        row = {
            "episode_index": number,
            "tasks": [task],
            "length": length,
            "dataset_from_index": first,
            "dataset_to_index": first + length,
        }
        film = {"from_timestamp": 0.0, "to_timestamp": length / self._info["fps"]}
        for part, more in {
            "data": {},
            "meta/episodes": {},
            **{f"videos/{key}": film for key in episode.samples},
        }.items():
            row |= {f"{part}/{name}": value for name, value in (_place(number) | more).items()}
        row |= {f"stats/{key}/{name}": value.tolist() for key, found in stats.items() for name, value in found.items()}
        counts = {
            "total_episodes": number + 1,
            "total_frames": first + length,
            "total_tasks": len(tasks),
            "splits": {"train": f"0:{number + 1}"},
        }
        write_json(self._folder / "meta/limb.json", asdict(self._robot))
        write_json(
            self._folder / "meta/stats.json",
            {key: {name: value.tolist() for name, value in found.items()} for key, found in totals.items()},
        )
        write_with(self._path(DATA), partial(pq.write_table, table))
        write_with(self._folder / "meta/tasks.parquet", partial(pq.write_table, named))
        write_with(self._path(EPISODE), partial(pq.write_table, pa.Table.from_pylist([row])))
        write_json(self._folder / "meta/info.json", self._info | counts)
        self._info, self._tasks, self._stats = self._info | counts, tasks, totals


def described(folder: Path) -> Description:
    """The specification of the robot whose episodes a folder holds. Raises InputError if it holds none."""
    about = folder / "meta/limb.json"
    if not (folder / "meta/info.json").exists() or not about.exists():
        raise InputError(
            f"{folder}: holds no episodes recorded here; give a folder with meta/info.json and meta/limb.json"
        )
    return TypeAdapter(Description).validate_python(read_json(about))


def film_key(camera: Camera) -> str:
    """The name of a camera's feature."""
    return f"observation.images.{camera.name}"


def _place(number: int) -> dict[str, Any]:
    return dict(zip(("chunk_index", "file_index"), divmod(number, CHUNK), strict=True))


def located(folder: Path, template: str, number: int, key: str = "") -> Path:
    """The path of an episode's file, from a path template."""
    return folder / template.format(video_key=key, **_place(number))


def _vector(robot: Description, fields: Sequence[Field], numbers: Numbers) -> npt.NDArray[np.float32]:
    """All numbers in the order of the fields."""
    parts = [np.asarray(numbers.get(field.name, ()), np.float32) for field in fields]
    for field, part in zip(fields, parts, strict=True):
        if part.shape != (len(field.low),):
            raise InputError(
                f"{robot.name}: {field.name} needs {len(field.low)} numbers, not an array of shape {part.shape}"
            )
    return np.concatenate(parts)


def _column(feature: dict[str, Any], values: npt.NDArray[Any]) -> pa.Array:
    """A column as `datasets` types it: a scalar where a feature has one number, else a list of fixed size."""
    flat = pa.array(values.reshape(-1).astype(feature["dtype"]))
    return flat if feature["shape"] == [1] else pa.FixedSizeListArray.from_arrays(flat, feature["shape"][0])


def _stats(values: npt.NDArray[Any], shape: tuple[int, ...]) -> Stats:
    """Statistics of each column of values [n, d], in a shape."""
    found = {
        "min": values.min(0),
        "max": values.max(0),
        "mean": values.mean(0, dtype=float),
        "std": values.std(0, dtype=float),
    }
    return {name: value.reshape(shape) for name, value in found.items()} | {"count": np.array([len(values)])}


def _merged(some: dict[str, Stats], more: dict[str, Stats]) -> dict[str, Stats]:
    """The statistics of both together, feature by feature (Chan, Golub and LeVeque, 1979)."""
    return {key: _both(some[key], found) if some else found for key, found in more.items()}


def _both(a: Stats, b: Stats) -> Stats:
    count, gap = a["count"] + b["count"], b["mean"] - a["mean"]
    weight = b["count"] / count
    variance = (1 - weight) * a["std"] ** 2 + weight * b["std"] ** 2 + weight * (1 - weight) * gap**2
    ends = {"min": np.minimum(a["min"], b["min"]), "max": np.maximum(a["max"], b["max"])}
    return {**ends, "mean": a["mean"] + weight * gap, "std": np.sqrt(variance), "count": count}


def av_library() -> Any:
    """The module av. Raises InputError if it is not installed."""
    try:
        import av
    except ImportError:
        raise InputError("films of episodes need the package av: pip install 'groundup[sorter]'") from None
    return av


@contextmanager
def _film(path: Path, camera: Camera, fps: int) -> Iterator[Any]:
    """Open a video; yields the function that adds an image."""
    av = av_library()
    with replacing(path) as temporary, av.open(str(temporary), "w", format="mp4") as container:
        stream = container.add_stream(CODEC[0], rate=fps, options=CODEC[1])
        stream.width, stream.height, stream.pix_fmt, stream.thread_count = camera.width, camera.height, "yuv420p", 1
        yield lambda image: container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
