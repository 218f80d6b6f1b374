"""The training log: any character in it, any damage to it, and what is reckoned from it."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest

from groundup.core.errors import InputError
from groundup.core.files import lines
from groundup.train.log import Log
from tests.train.train_helpers import Record, logged, make_job, train, weights

NUMBERS = {"tokens": 8, "loss": 1.5, "tokens_per_second": 10.0, "share_of_peak": 0.1, "flops": 7.0}
ENDS = "\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029\r"  # where str.splitlines ends a line


def record(step: int, **more: Any) -> dict[str, Any]:
    return {"step": step, **NUMBERS, **more}


def written(path: Path, *steps: int) -> Log:
    log = Log(path)
    for step in steps:
        log.add(record(step))
    return log


def test_every_character_comes_back_on_one_line(tmp_path: Path) -> None:
    log = Log(tmp_path / "metrics.jsonl")
    texts = [
        "".join(map(chr, range(start, start + 0x1000)))
        for start in range(0, 0x110000, 0x1000)
        if not 0xD000 <= start < 0xE000
    ]
    for step, text in enumerate([*texts, f"a{ENDS}b"], 1):
        log.add(record(step, samples=[{"prompt": text, "text": ENDS}]))
    log.repair(len(texts) + 1, pytest.fail)
    assert [each["samples"][0]["prompt"] for each in log.records()] == [*texts, f"a{ENDS}b"]
    assert (
        len(log.path.read_text(encoding="utf-8").splitlines()) == len(texts) + 1
    )  # whoever splits at all of them finds the same lines


def test_a_log_of_raw_line_ends_is_read(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text(
        json.dumps(record(1, samples=[{"prompt": "a\u2028b\x85", "text": ""}]), ensure_ascii=False) + "\n",
        encoding="utf-8",
    )
    assert Log(path).records()[0]["samples"][0]["prompt"] == "a\u2028b\x85"


@pytest.mark.parametrize(
    ("steps", "kept", "said"),
    [
        ([1, 2, 3, 4], [1, 2, 3], 0),
        ([1, 2], [1, 2], 1),
        ([], [], 0),
        ([2, 1, 3], [1, 2, 3], 0),
        ([1, 2, 2, 3, 3, 4], [1, 2, 3], 1),
        ([1, 3, 4], [1, 3], 1),
        ([0, 1, 2, 3], [1, 2, 3], 1),
    ],
)
def test_one_record_a_step_is_kept_in_order(tmp_path: Path, steps: list[int], kept: list[int], said: int) -> None:
    notes: list[str] = []
    log = written(tmp_path / "metrics.jsonl", *steps)
    log.path.touch()
    log.repair(3, notes.append)
    assert [each["step"] for each in log.records()] == kept
    assert len(notes) == (said if steps else 1)


@pytest.mark.parametrize(
    "line", [b"{", b"[]", b"1", b"\0" * 40, b"\xff\xfe", b'{"step": true}', b'{"step": 2}', b"[" * 100_000, b""]
)
def test_what_is_no_record_is_dropped(tmp_path: Path, line: bytes) -> None:
    log = written(tmp_path / "metrics.jsonl", 1, 2)
    log.path.write_bytes(lines(log.path)[0] + b"\n" + line + b"\n" + lines(log.path)[1] + b"\n" + line)
    notes: list[str] = []
    log.repair(2, notes.append)
    assert [each["step"] for each in log.records()] == [1, 2]
    assert "dropped" in notes[0]


@pytest.mark.parametrize(
    "change",
    [
        *({name: value} for name in NUMBERS for value in (math.nan, math.inf, 10**400, "1", True)),
        {"tokens": None},
        {"tokens_per_second": 0},
        {"heldout": [1.0]},
        {"heldout": {"notes": "low"}},
        {"samples": 5},
        {"samples": [{"prompt": 3, "text": ""}]},
        {"samples": [{"prompt": "a"}]},
    ],
)
def test_a_record_of_which_no_figure_can_be_made_is_dropped(tmp_path: Path, change: dict[str, Any]) -> None:
    log = written(tmp_path / "metrics.jsonl", 1)
    log.path.write_bytes(log.path.read_bytes() + json.dumps(record(2) | change).encode())
    assert [each["step"] for each in log.records()] == [1]


def test_half_a_character_is_dropped_and_a_heldout_loss_that_is_no_number_is_not(tmp_path: Path) -> None:
    log = written(tmp_path / "metrics.jsonl", 1)
    log.add(record(2, heldout={"notes": math.nan}))
    log.path.write_bytes(
        log.path.read_bytes() + json.dumps(record(3, samples=[{"prompt": "\ud800", "text": ""}])).encode()
    )
    log.repair(3, list[str]().append)
    assert [each["step"] for each in log.records()] == [1, 2]


def test_a_folder_in_its_place_is_told_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").mkdir()
    with pytest.raises(InputError, match=r"metrics\.jsonl: cannot be written"):
        Log(tmp_path / "metrics.jsonl").repair(1, print)


def test_no_damage_to_its_bytes_stops_the_repair(tmp_path: Path) -> None:
    chance, log = Random(3), written(tmp_path / "metrics.jsonl", *range(1, 9))
    whole = log.path.read_bytes()
    for _ in range(400):
        damaged = bytearray(whole)
        start = chance.randrange(len(damaged))
        size = chance.choice((1, 3, 50, 400))
        damaged[start : start + size] = chance.choice((b"", b"\0" * size, chance.randbytes(size), b"\n"))
        log.path.write_bytes(damaged)
        log.repair(8, lambda said: None)
        steps = [each["step"] for each in log.records()]
        assert steps == sorted(set(steps))
        assert len(steps) >= 8 - 2 - size // 100


# --- training goes on --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def whole(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing happened to."""
    folder = tmp_path_factory.mktemp("whole")
    train(make_job(data, folder))
    return folder


def torn(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-30])


def zeros(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:-30] + b"\0" * 30)


def first_line(path: Path) -> None:
    path.write_bytes(b"\0" * 10 + path.read_bytes()[10:])


def emptied(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize(("harm", "lost"), [(torn, 0), (zeros, 0), (first_line, 1), (emptied, 4), (Path.unlink, 4)])
def test_training_ends_right_with_a_damaged_log(
    data: Path, whole: Path, tmp_path: Path, harm: Callable[[Path], None], lost: int
) -> None:
    train(make_job(data, tmp_path))
    (tmp_path / "checkpoints" / "end.json").unlink()  # as if killed before it
    harm(tmp_path / "metrics.jsonl")
    watch, outcome = train(make_job(data, tmp_path))
    assert watch.done == 4
    assert weights(tmp_path) == weights(whole)
    assert logged(tmp_path) == logged(whole)[lost:] if lost < 4 else logged(tmp_path) == logged(whole)[4:]
    assert any("lost" in note for note in watch.notes) == bool(lost)
    assert outcome.flops == pytest.approx(sum(each["flops"] for each in logged(whole)))
    assert outcome.loss == logged(whole)[-1]["loss"]


def test_a_run_that_came_to_its_end_trains_no_step_again(data: Path, whole: Path, tmp_path: Path) -> None:
    _, first = train(make_job(data, tmp_path))
    torn(tmp_path / "metrics.jsonl")
    watch, second = train(make_job(data, tmp_path))
    assert watch.done == 6
    assert watch.records == []
    assert weights(tmp_path) == weights(whole)
    assert logged(tmp_path) == logged(whole)
    assert (second.loss, second.heldout, second.flops, second.tokens) == (
        first.loss,
        first.heldout,
        first.flops,
        first.tokens,
    )
    emptied(tmp_path / "metrics.jsonl")
    assert train(make_job(data, tmp_path))[1].loss == first.loss


def test_an_end_whose_weights_are_damaged_does_not_count(data: Path, whole: Path, tmp_path: Path) -> None:
    train(make_job(data, tmp_path))
    torn(tmp_path / "model.safetensors")
    watch, _ = train(make_job(data, tmp_path))
    assert watch.done == 4
    assert weights(tmp_path) == weights(whole)


def test_a_run_stopped_at_its_last_step_whose_log_is_lost_ends(data: Path, whole: Path, tmp_path: Path) -> None:
    import os
    import signal

    from groundup.core.errors import Interrupted

    stop = Record(after_step=lambda step: os.kill(os.getpid(), signal.SIGINT) if step == 6 else None)
    with pytest.raises(Interrupted):
        train(make_job(data, tmp_path), stop)
    emptied(tmp_path / "metrics.jsonl")
    _, outcome = train(make_job(data, tmp_path))
    assert outcome.loss is None
    assert weights(tmp_path) == weights(whole)
