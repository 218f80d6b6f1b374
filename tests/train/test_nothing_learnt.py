"""A stage in which nothing is learnt from is refused, and a step without a target has no loss rather than one of 0."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from groundup.core.errors import InputError
from groundup.data.batches import Batch, Batches
from groundup.data.document import SCHEMA, Document
from groundup.data.shards import Shards, write_shards
from groundup.release import plots
from tests.train.train_helpers import CONTEXT, bytes_only, logged, make_job, train

Talk = Callable[[int], list[dict[str, Any]]]


def said(question: str, *answers: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": question}, *({"role": "assistant", "content": answer} for answer in answers)]


def shards(folder: Path, documents: list[Document]) -> Shards:
    pq.write_table(
        pa.Table.from_pylist([document.row() for document in documents], schema=SCHEMA), folder / "made.parquet"
    )
    write_shards(folder / "made.parquet", bytes_only(), CONTEXT, folder / "made", lambda done: None)
    return Shards.open(folder / "made" / "train")


NOTHING: dict[str, Talk] = {
    "no answer": lambda number: said(f"what is {number}?"),
    "empty answers": lambda number: said(f"what is {number}?", ""),
    "answers of blanks": lambda number: said(f"what is {number}?", " \n"),
}


@pytest.mark.parametrize("talk", NOTHING)
@pytest.mark.parametrize("beside", [False, True], ids=["alone", "beside another source"])
def test_a_source_from_which_nothing_is_learnt_is_refused(data: Path, tmp_path: Path, talk: str, beside: bool) -> None:
    made = {
        "made": shards(tmp_path, [Document("made", str(n), "CC0-1.0", messages=NOTHING[talk](n)) for n in range(150)])
    }
    if beside:
        made["talks"] = Shards.open(data / "talks" / "train")
    batches = Batches(made, dict.fromkeys(made, 1.0), 8, 3, True)
    with pytest.raises(
        InputError,
        match=r"source 'made': nothing can be learnt from any of its .* rows of 64 tokens: no answer .*; raise it, ",
    ):
        train(make_job(data, tmp_path / "run", source="talks", batches=batches))
    assert not (tmp_path / "run").exists()


def test_a_source_whose_answers_are_all_cut_off_has_no_rows(tmp_path: Path) -> None:
    talks = [
        Document("made", str(n), "CC0-1.0", messages=said(f"{n} " + "x" * CONTEXT, "an answer")) for n in range(150)
    ]
    with pytest.raises(InputError, match="source 'made' has no rows to train on"):
        Batches({"made": shards(tmp_path, talks)}, {"made": 1.0}, 8, 3, True)


def test_texts_of_one_token_teach_nothing(data: Path, tmp_path: Path) -> None:
    empty = shards(tmp_path, [Document("made", str(n), "CC0-1.0", text="") for n in range(150)])
    with pytest.raises(
        InputError,
        match=r"source 'made': nothing can be learnt from .* they hold no text in which a token follows another",
    ):
        Batches({"made": empty}, {"made": 1.0}, 8, 3, False).require_lessons()


@pytest.mark.parametrize("place", [0, 75, 149])
def test_one_answer_with_a_word_is_enough(tmp_path: Path, place: int) -> None:
    documents = [
        Document("made", str(n), "CC0-1.0", messages=said(f"what is {n}?", "four" if n == place else ""))
        for n in range(150)
    ]
    Batches({"made": shards(tmp_path, documents)}, {"made": 1.0}, 8, 3, True).require_lessons()


class Gaps(Batches):
    """Batches of which some have no target."""

    empty: tuple[int, ...] = ()

    def __getitem__(self, step: int) -> Batch:
        batch = super().__getitem__(step)
        return replace(batch, weights=np.zeros_like(batch.weights)) if step in self.empty else batch


def gaps(data: Path, *empty: int) -> Gaps:
    made = Gaps({"texts": Shards.open(data / "texts" / "train")}, {"texts": 1.0}, 8, 3, False)
    made.empty = empty
    return made


def test_a_step_without_a_target_has_no_loss(data: Path, tmp_path: Path) -> None:
    watch, outcome = train(make_job(data, tmp_path, batches=gaps(data, 2, 5)))
    losses = [record["loss"] for record in logged(tmp_path)]
    assert [loss is None for loss in losses] == [False, False, True, False, False, True]
    assert outcome.loss == losses[4]
    assert any("2 of 6 steps had no supervised token, so they have no loss" in note for note in watch.notes)
    records = [record | {"tokens_per_second": 1.0, "share_of_peak": 0.1} for record in logged(tmp_path)]
    assert "None" not in plots.loss("pretrain", records).label


def test_training_without_any_target_ends_with_a_sentence_and_no_weights(data: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="none of its 6 steps had a supervised token"):
        train(make_job(data, tmp_path, batches=gaps(data, *range(6))))
    assert not (tmp_path / "model.safetensors").exists()


def test_a_held_out_part_without_a_target_has_no_loss(data: Path, tmp_path: Path) -> None:
    held = make_job(data, tmp_path).heldout
    blank = [replace(batch, weights=np.zeros_like(batch.weights)) for batch in held["texts"]]
    watch, outcome = train(make_job(data, tmp_path, heldout=held | {"blank": blank}))
    assert set(outcome.heldout) == {"texts"}
    assert any("source 'blank' has no supervised token in its held-out part" in note for note in watch.notes)
