"""Settings and accidents that must not change the numbers do not."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from groundup.core.errors import InputError, Interrupted
from groundup.device import Device, pick
from tests.train.train_helpers import CONTEXT, Record, logged, make_job, train, weights


class Cut(Exception):
    """The end of a run that is cut short."""


def cut_at(last: int) -> Record:
    def cut(step: int) -> None:
        if step == last:
            raise Cut

    return Record(after_step=cut)


@pytest.mark.parametrize("micro_rows", [1, 2, 3, 4])
def test_accumulation_changes_only_rounding(data: Path, tmp_path: Path, micro_rows: int) -> None:
    whole, _ = train(make_job(data, tmp_path / "whole"))
    pieces, _ = train(make_job(data, tmp_path / "pieces", micro_tokens=micro_rows * CONTEXT))
    # The first loss and norm see equal weights: only the order of sums differs.
    assert pieces.records[0]["loss"] == pytest.approx(whole.records[0]["loss"], rel=1e-6)
    assert pieces.records[0]["norm"] == pytest.approx(whole.records[0]["norm"], rel=1e-5)
    # Muon orthogonalises in bf16, where one flipped bit is 0.4 %; over six steps the losses were seen to differ by 3e-4
    # of themselves.
    assert pieces.losses == pytest.approx(whole.losses, rel=2e-3)


def test_recomputing_activations_changes_nothing(data: Path, tmp_path: Path) -> None:
    train(make_job(data, tmp_path / "kept"))
    train(make_job(data, tmp_path / "again", recompute=True))
    assert weights(tmp_path / "again") == weights(tmp_path / "kept")


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("source", ["texts", "talks"])
def test_a_resumed_run_ends_in_the_same_bits(data: Path, tmp_path: Path, precision: torch.dtype, source: str) -> None:
    changes = {"precision": precision, "source": source}
    train(make_job(data, tmp_path / "whole", **changes))
    with pytest.raises(Cut):
        train(make_job(data, tmp_path / "cut", **changes), cut_at(5))
    resumed, outcome = train(make_job(data, tmp_path / "cut", **changes))
    assert resumed.done == 2  # the one of step 4 was still being written
    assert weights(tmp_path / "cut") == weights(tmp_path / "whole")
    assert logged(tmp_path / "cut") == logged(tmp_path / "whole")
    assert outcome.loss == logged(tmp_path / "whole")[-1]["loss"]


@pytest.mark.slow
@pytest.mark.skipif(not pick("cpu").compiles, reason="needs a C++ compiler")
@pytest.mark.filterwarnings(
    "ignore:.torch.jit.script_method. is deprecated:DeprecationWarning"
)  # all inside the compiler
@pytest.mark.filterwarnings(
    "ignore:.*should not be instantiated. Methods on autograd functions are all static:DeprecationWarning"
)
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")
def test_a_resumed_compiled_run_ends_in_the_same_bits(data: Path, tmp_path: Path) -> None:
    changes: dict[str, Any] = {"precision": torch.bfloat16, "depth": 1, "steps": 3}
    train(make_job(data, tmp_path / "whole", **changes), device=Device("cpu"))
    with pytest.raises(Cut):
        train(make_job(data, tmp_path / "cut", **changes), cut_at(3), Device("cpu"))
    train(make_job(data, tmp_path / "cut", **changes), device=Device("cpu"))
    assert weights(tmp_path / "cut") == weights(tmp_path / "whole")


@pytest.mark.parametrize("last", [3, 6])
def test_an_interrupted_run_saves_and_goes_on(data: Path, tmp_path: Path, last: int) -> None:
    train(make_job(data, tmp_path / "whole"))
    asked = Record(after_step=lambda step: os.kill(os.getpid(), signal.SIGINT) if step == last else None)
    with pytest.raises(Interrupted, match=f"stopped after step {last}; the same command resumes from there"):
        train(make_job(data, tmp_path / "cut"), asked)
    resumed, outcome = train(make_job(data, tmp_path / "cut"))
    assert resumed.done == last
    assert weights(tmp_path / "cut") == weights(tmp_path / "whole")
    assert logged(tmp_path / "cut") == logged(tmp_path / "whole")
    assert outcome.loss == logged(tmp_path / "whole")[-1]["loss"]


def test_a_second_interrupt_does_not_wait(data: Path, tmp_path: Path) -> None:
    def impatient(step: int) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        train(make_job(data, tmp_path), Record(after_step=impatient))


def test_handlers_of_signals_are_put_back(data: Path, tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    train(make_job(data, tmp_path, steps=1))
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_a_loss_that_is_no_number_stops_with_what_to_do(data: Path, tmp_path: Path) -> None:
    advice = (
        r"the loss is nan .* at step 2; lower muon_lr or adamw_lr \(now 1e\+30 and 0.004\) or raise warmup;"
        r" checkpoints before it are kept"
    )
    with pytest.raises(InputError, match=advice):
        train(make_job(data, tmp_path, muon_lr=1e30, warmup=0.0, checkpoint_steps=1))
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-00000001"]
    assert not (tmp_path / "model.safetensors").exists()


def test_a_run_starts_from_the_weights_it_is_given(data: Path, tmp_path: Path) -> None:
    train(make_job(data, tmp_path / "first"))
    _, outcome = train(
        make_job(
            data, tmp_path / "second", start=tmp_path / "first", steps=1, validate_steps=1, muon_lr=0.0, adamw_lr=0.0
        )
    )
    assert weights(tmp_path / "second") == weights(tmp_path / "first")
    assert outcome.heldout == pytest.approx(logged(tmp_path / "first")[-1]["heldout"])
