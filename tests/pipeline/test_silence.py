"""No stage is silent for long: where it takes its time, it says that it is at work."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from groundup.config.load import load
from groundup.core import console
from groundup.pipeline import stages
from groundup.pipeline.run import Options, run
from tests.pipeline.test_run import fill

SLOW = ("documents", "tokenizer", "shards", "train", "measure", "report")  # functions of the stages


def slow(work: Callable[..., Any]) -> Callable[..., Any]:
    def slowed(*arguments: Any, **named: Any) -> Any:
        time.sleep(0.6)
        return work(*arguments, **named)

    return slowed


def test_each_stage_that_is_slow_says_that_it_is_at_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TORCHDYNAMO_DISABLE", "1")
    monkeypatch.setattr(console, "SILENCE", 0.2)
    for name in SLOW:
        monkeypatch.setattr(stages, name, slow(getattr(stages, name)))
    recipe = load(fill(tmp_path) / "tiny.toml", ["stage.pretrain.tokens=512", "stage.instruct.tokens=512"])
    manifests = run(recipe, tmp_path, tmp_path / "runs", Options(device="cpu"))
    said = capsys.readouterr().err
    for stage in manifests:
        of_stage = said.partition(f"{stage}: not run yet\n")[2]
        assert of_stage.startswith(f"  {stage}, "), stage
