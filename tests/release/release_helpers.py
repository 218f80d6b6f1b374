"""A run's folder made by hand: a small model with random weights, and the manifests, logs and files around it."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

from groundup.codecs.text import Tokenizer
from groundup.config.recipe import Recipe
from groundup.core import ledger
from groundup.core.files import sha256, write_json
from groundup.core.ledger import Manifest
from groundup.evaluate.figure import Figure, mean, proportion
from groundup.model import cost, weights
from groundup.model.config import ModelConfig
from groundup.release.lineage import begun_with
from tests.random_models import random_model

ATTACK = "<script>alert(1)</script>"
TEXT = "the cat sat on the mat and the dog sat by the door, then there were three of them; 机器人把纸和玻璃分开。\n"

RECIPE = Recipe.of(
    {
        "name": "small",
        "source": [
            {"name": "handbook", "kind": "text", "path": "handbook/*.md"},
            {"name": "library", "kind": "python-library"},
            {"name": "tasks", "kind": "tasks", "count": 90_000, "families": {"copying": 1, "arithmetic": 2}},
        ],
        "tokenizer": {"vocab_size": 300},
        "model": {"depth": 2, "width": 32, "head_dim": 8, "context": 64},
        "stage": [
            {"do": "pretrain", "tokens": 1_500_000, "mix": {"handbook": 0.2, "library": 0.8}},
            {"do": "instruct", "tokens": 4_500_000, "mix": {"tasks": 1.0}},
        ],
        "evaluate": {
            "suites": ["bits-per-byte", "tasks", "choice"],
            "prompts": ["What is 3 + 4?", "哪个数更大：8 还是 5？"],
        },
    }
)


def evaluation() -> dict[str, Any]:
    """An evaluation as JSON."""
    families = [("arithmetic", 2), ("copying", 1), ("dates", 1), ("lookup", 3), ("sorting", 1)]
    rows = [
        {
            "family": family,
            "language": language,
            "level": level,
            "exact_match": proportion(40 - 3 * place - 2 * (language == "zh"), 40).as_dict(),
            "mistakes": [
                {
                    "question": "比较 8 和 5。" if language == "zh" else "What is 13 + 8?",
                    "expected": "21",
                    "answer": f"{ATTACK}12",
                }
            ]
            * 2,
        }
        for place, (family, level) in enumerate(families)
        for language in ("en", "zh")
    ]
    text = {"model": Figure(2.412, 2.366, 2.458, 370).as_dict(), "bytes": 1_000_000, "training_bytes": 4_000_000}
    text["baselines"] = {
        name: Figure(value, None, None, 370).as_dict()
        for name, value in (("gzip", 3.02), ("xz", 2.877), ("n-gram", 2.693))
    }
    choice = {"raw": proportion(52, 100).as_dict(), "per_byte": proportion(55, 100).as_dict(), "chance": 0.25, "cut": 2}
    answers = ("7", f"八比五大。{ATTACK}")
    return {
        "bits_per_byte": {"library": text},
        "tasks": {"tasks": {"average": mean([Figure(**row["exact_match"]) for row in rows]).as_dict(), "rows": rows}},
        "choice": {"questions/science.jsonl": {"": choice, "physics": choice}},
        "prompts": [
            {"prompt": prompt, "answer": answer}
            for prompt, answer in zip(RECIPE.evaluate.prompts, answers, strict=True)
        ],
        "notes": ["source 'handbook' has no held-out text, so no bits per byte"],
    }


class Run:
    """Writes stages into a folder, each with a manifest whose key and digest hold."""

    def __init__(self, root: Path):
        self.root = root
        self.stages = 0

    def folder(self, stage: str) -> Path:
        return self.root / stage

    def record(
        self, stage: str, part: Any, parents: tuple[str, ...], inputs: tuple[Path, ...] = (), **fields: Any
    ) -> Manifest:
        """Write the manifest of a stage whose files are in its folder."""
        folder = self.folder(stage)
        folder.mkdir(parents=True, exist_ok=True)
        files = {str(path): sha256(path) for path in inputs}
        before = {parent: ledger.read(self.folder(parent)) for parent in parents}
        digests = {parent: manifest.digest for parent, manifest in before.items()}
        code = "c0de" * 16
        self.stages += 1
        manifest = Manifest(
            stage=stage,
            key=ledger.key(stage, part, {stage: 1}, 17, files, digests),
            parents=digests,
            part=part,
            code=code,
            versions={stage: 1},
            inputs=files,
            seed=17,
            outputs=ledger.outputs(folder, [path.name for path in folder.iterdir() if path.name != "manifest.json"]),
            libraries={"python": "3.11.2", "torch": "2.13.0"},
            device={"kind": "cpu", "name": "Two Cores at 2.4 GHz", "processes": 1},
            finished=f"2025-01-02T03:{self.stages:02}:05Z",
            records={parent: manifest.record for parent, manifest in before.items()} | begun_with(inputs),
            **fields,
        )
        ledger.write(folder, manifest)
        return manifest


def make_run(home: Path, measured: dict[str, Any] | None = None) -> Path:
    """A finished run of RECIPE in `home/runs/small`; returns its folder."""
    run = Run(home / "runs" / "small")
    sources = {source.name: source for source in RECIPE.source}
    for name, inputs, counts in (
        ("handbook", _handbook(home), (3, 1)),
        ("library", (), (12_345, 370)),
        ("tasks", (), (90_300, 300)),
    ):
        _documents(run, sources[name], inputs, *counts)
    tokenizer = Tokenizer.learn([TEXT] * 50, RECIPE.tokenizer.vocab_size)
    tokenizer.save(run.folder("tokenizer"))
    run.record(
        "tokenizer",
        RECIPE.tokenizer.model_dump(),
        tuple(f"documents-{name}" for name in sources),
        metrics={"size": tokenizer.size},
        seconds=2.5,
    )
    for name in sources:
        _shards(run, name)
    _training(run, tokenizer, 0, ("shards-handbook", "shards-library", "tokenizer"))
    _training(run, tokenizer, 1, ("shards-tasks", "tokenizer", "pretrain"))
    if measured is not None:
        parents = ("instruct", *(f"documents-{name}" for name in sources))
        run.record("evaluate", RECIPE.evaluate.model_dump(mode="json"), parents, metrics=measured, seconds=41.0)
    return run.root


def _handbook(home: Path) -> tuple[Path, ...]:
    folder = home / "handbook"
    folder.mkdir(parents=True)
    for number in range(4):
        (folder / f"page-{number}.md").write_text(f"page {number}: {TEXT}", encoding="utf-8")
    return tuple(sorted(folder.iterdir()))


def _documents(run: Run, source: Any, inputs: tuple[Path, ...], documents: int, heldout: int) -> None:
    stage = f"documents-{source.name}"
    run.folder(stage).mkdir(parents=True)
    (run.folder(stage) / "documents.parquet").write_text(source.name)
    unstated = source.licence == "unstated"
    metrics = {
        "documents": documents,
        "heldout": heldout,
        "characters": documents * 800,
        "dropped": {"exact duplicate": 41, "too short": 7} if inputs else {},
        "examples": [f"handbook/{ATTACK}.md: too short", "handbook/page-2.md: exact duplicate"] if inputs else [],
        "licences": {source.licence: documents},
        "warnings": [f"source {source.name!r}: licence unstated; add licence = an SPDX id to the source"]
        if unstated
        else [],
        "unread": [],
        "images": 0,
        "detection_classes": [],
        "image_classes": [],
    }
    part = source.model_dump(mode="json") | ({"python": "3.11.2"} if source.kind == "python-library" else {})
    run.record(stage, part, (), inputs, metrics=metrics, licences={source.licence: documents}, seconds=12.3)


def _shards(run: Run, name: str) -> None:
    stage = f"shards-{name}"
    run.folder(stage).mkdir()
    (run.folder(stage) / "shards.json").write_text(name)
    part = {
        "rows": 9000,
        "context": 64,
        "dtype": "uint16",
        "tokens": 560_000,
        "documents": 12_000,
        "cut": 0,
        "lost": 0,
        "longest": 0,
        "images": 0,
        "fill": 0.97,
    }
    run.record(
        stage,
        {"context": 64},
        (f"documents-{name}", "tokenizer"),
        metrics={"train": part, "heldout": part},
        seconds=3.0,
    )


def _training(run: Run, tokenizer: Tokenizer, place: int, parents: tuple[str, ...]) -> None:
    stage = RECIPE.stage[place]
    folder = run.folder(stage.title)
    config = ModelConfig.of(RECIPE.model, tokenizer.size)
    weights.save(random_model(place, **config.as_dict()), folder, tokenizer.im_end)
    tokenizer.save(folder)
    write_log(folder / "metrics.jsonl", list(stage.mix), stage.tokens // 4096)
    schedule = {"batch_tokens": 4096, "micro_tokens": 4096, "muon_lr": 0.02, "adamw_lr": 0.008, "weight_decay": 0.01}
    part = {"stage": stage.model_dump(mode="json"), "schedule": schedule, "model": RECIPE.model.model_dump(mode="json")}
    metrics = {
        "parameters": cost.parameters(config),
        "steps": stage.tokens // 4096,
        "tokens": stage.tokens,
        "flops": 3.1e13,
        "loss": 2.345,
        "heldout": dict.fromkeys(stage.mix, 2.5),
        "seconds": 200.0,
        "tokens_per_second": 21_000.0,
        "share_of_peak": 0.41,
        "predicted_memory": 120 * 2**20,
        "peak_memory": 131 * 2**20,
    }
    run.record(stage.title, part, parents, metrics=metrics, flops=3.1e13, seconds=205.0)


def write_log(path: Path, sources: list[str], steps: int) -> None:
    """A log in the form of training's, with a held-out loss and a hostile sample every hundred steps."""
    with path.open("w", encoding="utf-8") as file:
        for step in range(1, steps + 1):
            loss = 2.2 + 5.5 * math.exp(-step / 60) + 0.15 * math.sin(1.7 * step) ** 3
            speed = 21_000 + 700 * math.cos(step)
            record: dict[str, Any] = {"step": step, "tokens": 4096 * step, "loss": loss, "norm": 0.7, "rate": 0.02}
            record |= {"tokens_per_second": speed, "share_of_peak": speed / 51_000}
            if step % 100 == 0:
                record["heldout"] = {source: loss + 0.2 + 0.3 * place for place, source in enumerate(sources)}
                record["samples"] = [
                    {"prompt": "What is 3 + 4?", "text": f"{ATTACK} seven"},
                    {"prompt": "哪个数更大：8 还是 5？", "text": "八比五大。"},
                ]
            file.write(json.dumps(record, ensure_ascii=False) + "\n")


def forge(folder: Path, **fields: Any) -> None:
    """The same, and write the manifest's identities anew, as one does who knows how they are made."""
    ledger.write(folder, replace(ledger.read(folder), **fields))


def edit(folder: Path, **fields: Any) -> None:
    """Change fields of a stage's manifest behind the ledger's back."""
    path = folder / "manifest.json"
    write_json(path, json.loads(path.read_text(encoding="utf-8")) | fields)
