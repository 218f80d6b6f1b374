"""What parses files of others, each with files that it takes: `TARGETS`. Every parser of the package has a row here."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from groundup.apps.sorter import model_client
from groundup.codecs import chat
from groundup.codecs.image import BadImage, decode
from groundup.codecs.text import Tokenizer
from groundup.config.load import load
from groundup.core.errors import InputError
from groundup.core.tables import SOURCES
from groundup.data.filtered import Filtered
from groundup.data.shards import Shards
from groundup.evaluate.suites import choice, programs, questions
from groundup.model import weights
from groundup.pipeline.finished import model_folder
from groundup.release.about import about
from groundup.release.export.gguf import write as write_gguf
from groundup.release.lineage import lineage
from groundup.release.trace import render
from groundup.serve import client, runs
from tests.codecs import foreign_samples, image_samples
from tests.codecs.chat_templates import TEMPLATES
from tests.data import table_samples
from tests.fuzz import samples, served
from tests.random_models import FAMILIES, random_model

REFUSED = (InputError, BadImage)  # what a parser may raise: each a sentence
MOST = 5_000  # documents of a source that claims to have more


@dataclass(frozen=True)
class Target:
    """A parser: `files` puts what it takes into a folder, `parse` reads the folder. `changed` are changed."""

    name: str
    files: Callable[[Path], None]
    parse: Callable[[Path], object]
    changed: tuple[str, ...] = ("*",)

    def paths(self, folder: Path) -> list[Path]:
        """The files that are changed, in order."""
        return sorted(path for pattern in self.changed for path in folder.rglob(pattern) if path.is_file())


def attempt(target: Target, folder: Path) -> str:
    """What comes of a folder: "read", or "refused" in one sentence. Anything else is an error, and is raised."""
    try:
        target.parse(folder)
    except REFUSED as error:
        said = str(error).strip()
        assert said and "\n" not in said, f"no single sentence: {said!r}"
        return "refused"
    return "read"


# --- sources -------------------------------------------------------------------------------------------------------


def _source(kind: str, path: str, **more: Any) -> Callable[[Path], object]:
    def read(folder: Path) -> None:
        table = {"name": "s", "kind": kind, "path": path, "licence": "CC0-1.0", "bad_share": 1.0} | more
        source: Any = SOURCES[kind].model_validate(table)
        for number, _ in enumerate(source.read(folder, Filtered())):
            if number > MOST:
                raise AssertionError("it never ends")

    return read


def _written(files: dict[str, bytes]) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        for name, data in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)

    return write


# --- models, records and servers -----------------------------------------------------------------------------------


def _model(folder: Path) -> None:
    tokenizer = samples.tokenizer()
    weights.save(random_model(depth=1, width=16, ffn=16, vocab=tokenizer.size), folder, tokenizer.im_end)
    tokenizer.save(folder)


def _family(kind: str) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        weights.save(random_model(**{"ffn": 16} | FAMILIES[kind]), folder, 5)

    return write


def _shards(folder: Path) -> None:
    """A model whose index names two files."""
    _model(folder)
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(tensors)
    placed = {name: f"model-0000{1 + index % 2}-of-00002.safetensors" for index, name in enumerate(names)}
    for file in {*placed.values()}:
        save_file({name: tensors[name] for name in names if placed[name] == file}, folder / file)
    (folder / "model.safetensors.index.json").write_bytes(samples.json_bytes({"metadata": {}, "weight_map": placed}))


def _load(folder: Path) -> None:
    weights.load(folder, torch.device("cpu"))


def _gguf(folder: Path) -> None:
    _model(folder)
    write_gguf(folder, folder / "a.gguf", "Q8_0")
    for path in set(folder.iterdir()) - {folder / "a.gguf"}:
        path.unlink()


def _load_gguf(folder: Path) -> None:
    _refusable(lambda: Tokenizer.load(folder / "a.gguf").encode("the cat 猫 sat"))
    weights.load(folder / "a.gguf", torch.device("cpu"))


def _tokenize(folder: Path) -> None:
    Tokenizer.load(folder).encode("the cat 猫 sat")


def _foreign(folder: Path) -> None:
    form, template = TEMPLATES["Qwen3"]
    foreign_samples.write(folder, form, template, eos_token_id=[1, 2])


def _converse(folder: Path) -> None:
    tokenizer = Tokenizer.load(folder)
    tokenizer.encode_start("the cat 猫 sat")
    messages = [{"role": "user", "content": "a <think>"}, {"role": "assistant", "content": "b"}]
    tokenizer.decode(chat.encode(tokenizer, messages)[0])
    assert all(tokenizer.token_bytes(id) for id in tokenizer.ends)


def _run(folder: Path) -> None:
    shutil.copytree(samples.finished_run(), folder, dirs_exist_ok=True)


def _export(folder: Path) -> None:
    shutil.copytree(samples.exported(), folder, dirs_exist_ok=True)


def _carried(folder: Path) -> None:
    """All that reads what an export carries."""
    _refusable(lambda: about(folder))
    found = lineage(folder, verify=True)
    render(found)
    found.require()


def _records(folder: Path) -> None:
    """All that reads the records of a run; the page of a server shows what there is, and refuses nothing."""
    runs.details(folder, "pretrain")
    runs.summary(folder, runs._recipe(folder))
    for path in folder.glob("shards-*/*"):
        if path.is_dir():
            _refusable(lambda path=path: Shards.open(path))
    found = lineage(model_folder(folder), verify=True)
    render(found)
    found.require()


def _refusable(work: Callable[[], object]) -> None:
    try:
        work()
    except REFUSED:
        return


class _Wire:
    """A connection to a server that answers so."""

    status = 200

    def __init__(self, answer: bytes):
        self._answer = answer

    def request(self, *arguments: Any) -> None:
        """Send nothing."""

    def getresponse(self) -> "_Wire":
        """The answer's head."""
        return self

    def read(self, most: int) -> bytes:
        """The answer's body."""
        return self._answer[:most]

    def close(self) -> None:
        """Nothing to close."""


def _refusing(post: Callable[[], None]) -> None:
    try:
        post()
    except ValueError as error:
        raise InputError(str(error)) from None


def _answer(kind: type[Any]) -> Callable[[Path], object]:
    def parse(folder: Path) -> None:
        connection = client.Connection("http://127.0.0.1:1", None, 1.0)
        connection._http = _Wire((folder / "answer.json").read_bytes())  # type: ignore[assignment]
        connection.post("/v1", {}, kind)

    return parse


TARGETS = [
    Target("recipe", _written(samples.recipes()), lambda folder: load(next(folder.glob("*.toml")))),
    Target("text", _written({"a.txt": b"one\ntwo\n" * 20, "b.md": "drei ä 四".encode()}), _source("text", ".")),
    Target("preferences", _written({"a.jsonl": samples.preferences()}), _source("preferences", "a.jsonl")),
    Target("messages", _written({"a.jsonl": samples.conversations()}), _source("messages", "a.jsonl")),
    Target("JSON lines", _written({"a.jsonl": samples.text_lines()}), _source("table", "a.jsonl", column="text")),
    Target("CSV", _written({"a.csv": samples.csv()}), _source("table", "a.csv", column="text")),
    *(
        Target(name, _written({name: data}), _source("table", name, column="text"))
        for name, data in table_samples.samples().items()
    ),
    Target("images by class", _written(samples.classes()), _source("images", ".")),
    *(
        Target(f"image {name}", _written({"image": data}), lambda folder: decode((folder / "image").read_bytes()))
        for name, data in image_samples.samples().items()
    ),
    *(
        Target(f"labels {name}", _written(files), _source("boxes", path), changed)
        for name, (files, path, changed) in samples.labels().items()
    ),
    Target("tokenizer", _model, _tokenize, ("tokenizer.json",)),
    Target("foreign tokenizer", _foreign, _converse),
    Target("config", _model, _load, ("config.json",)),
    *(Target(f"config {kind}", _family(kind), _load, ("config.json",)) for kind in FAMILIES),
    Target("shards of weights", _shards, _load, ("*.index.json",)),
    Target("safetensors", _model, _load, ("*.safetensors",)),
    Target("GGUF", _gguf, _load_gguf),
    Target("records", _run, _records, ("manifest.json", "recipe.json", "shards.json", "metrics.jsonl", "hashes.json")),
    Target("lineage", _export, _carried, ("lineage.json", "about.json")),
    Target("multiple choice", _written({"q.jsonl": samples.choices()}), lambda folder: choice.read(folder / "q.jsonl")),
    Target("questions", _written({"q.jsonl": samples.questions()}), lambda folder: questions.read(folder / "q.jsonl")),
    Target(
        "programming tasks", _written({"q.jsonl": samples.programs()}), lambda folder: programs.read(folder / "q.jsonl")
    ),
    Target("detections", _written({"answer.json": samples.detections()}), _answer(model_client._Detections)),
    *(
        Target(
            f"request {name}",
            _written({"body": body}),
            lambda folder, name=name: _refusing(lambda: served.post(name, (folder / "body").read_bytes())),
        )
        for name, body in samples.requests().items()
    ),
    Target("completion", _written({"answer.json": samples.completion()}), _answer(model_client._Completion)),
]
