"""Batches: pure in (seed, step), the same for any number of processes, exact in the mix, and right token by token."""

from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from groundup.codecs.text import Tokenizer
from groundup.core.errors import InputError
from groundup.data.batches import Batch, Batches
from groundup.data.document import Document
from groundup.data.shards import LOSS, PADDING, START, Shards, write_shards
from tests.data.data_helpers import ignore, write_parquet

CONTEXT = 32


def make(
    folder: Path, tokenizer: Tokenizer, name: str, length: int, talks: bool = False, context: int = CONTEXT
) -> Shards:
    documents = []
    for number in range(80):
        content = f"{name} {number} " + "word " * (number % length)
        messages = (
            [{"role": "user", "content": f"{number}?"}, {"role": "assistant", "content": content}] if talks else None
        )
        documents.append(Document(name, "a", "CC0-1.0", text=None if talks else content, messages=messages))
    (folder / name).mkdir()
    write_shards(write_parquet(folder / f"{name}.parquet", documents), tokenizer, context, folder / name, ignore)
    return Shards.open(folder / name / "train")


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory, tokenizer: Tokenizer) -> dict[str, Shards]:
    folder = tmp_path_factory.mktemp("shards")
    return {"notes": make(folder, tokenizer, "notes", 9), "talks": make(folder, tokenizer, "talks", 3, talks=True)}


ARRAYS = [field.name for field in fields(Batch) if field.name not in ("images", "selected", "pairs")]


def batches(shards: dict[str, Shards], rows: int = 8, seed: int = 1, assistant_only: bool = False) -> Batches:
    return Batches(shards, {"notes": 0.75, "talks": 0.25}, rows, seed, assistant_only)


def same(one: Batch, other: Batch) -> bool:
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in ARRAYS)


def joined(parts: list[Batch]) -> Batch:
    return Batch(*(np.concatenate([getattr(part, name) for part in parts]) for name in ARRAYS))


def test_a_batch_depends_on_nothing_asked_before(shards: dict[str, Shards]) -> None:
    stepped = batches(shards)
    for step in range(7):
        stepped[step]
    assert same(stepped[7], batches(shards)[7])


def test_steps_of_other_sizes_walk_the_same_rows(shards: dict[str, Shards]) -> None:
    assert same(
        joined([batches(shards, rows=4)[step] for step in range(6)]),
        joined([batches(shards, rows=8)[step] for step in range(3)]),
    )


@pytest.mark.parametrize("world", [1, 2, 3, 4, 8])
def test_the_parts_of_all_processes_are_the_batch(shards: dict[str, Shards], world: int) -> None:
    batch = batches(shards)[3]
    assert same(joined([batch.part(rank, world) for rank in range(world)]), batch)


@pytest.mark.parametrize("rows", [1, 3, 8, 100])
def test_the_micro_batches_are_the_batch(shards: dict[str, Shards], rows: int) -> None:
    batch = batches(shards)[3]
    assert same(joined(batch.micro(rows)), batch)
    assert max(len(part.ids) for part in batch.micro(rows)) <= rows


def filled(rows: int, tokens_a_row: int) -> Shards:
    """Shards in memory whose rows all hold as many tokens, and padding behind."""
    flags = np.full((rows, CONTEXT), PADDING, np.uint8)
    flags[:, :tokens_a_row] = LOSS
    flags[:, 0] |= START
    return Shards(
        rows,
        CONTEXT,
        rows * tokens_a_row,
        rows,
        CONTEXT,
        f"{rows}/{tokens_a_row}",
        np.full((rows, CONTEXT), tokens_a_row, np.uint16),
        flags,
    )


def test_the_mix_is_by_tokens_at_every_row_whatever_the_fill() -> None:
    fills = {"full": 32, "half": 16, "quarter": 8}
    mix = {"full": 0.5, "half": 0.3, "quarter": 0.2}
    stream = Batches({name: filled(50, fill) for name, fill in fills.items()}, mix, 400, 1, False)
    each = stream[0].ids[:, 0]  # the fill of the source that gave the row
    rows_a_token = sum(mix[name] / fills[name] for name in fills)
    for name, fill in fills.items():
        tokens = np.cumsum(np.where(each == fill, fill, 0))
        ideal = np.arange(1, 401) * mix[name] / rows_a_token
        assert np.abs(tokens - ideal).max() < 2 * fill


def test_an_epoch_of_one_source_has_every_row_once(shards: dict[str, Shards]) -> None:
    notes = shards["notes"]
    one = Batches({"notes": notes}, {"notes": 1.0}, notes.rows, 3, False)
    everything = notes.take(np.arange(notes.rows))[0]
    assert sorted(one[0].ids.tolist()) == sorted(everything.tolist()) == sorted(one[1].ids.tolist())
    assert one[0].ids.tolist() != one[1].ids.tolist()


@pytest.mark.parametrize("assistant_only", [False, True])
def test_every_token_has_its_target_weight_document_and_position(
    shards: dict[str, Shards], assistant_only: bool
) -> None:
    stream = batches(shards, assistant_only=assistant_only)
    ids, flags, _ = stream._take(np.arange(16, 24))
    batch = stream[2]
    for row in range(8):
        segment, position = -1, 0
        for place in range(CONTEXT):
            mark, before = flags[row, place], flags[row, place - 1] if place else 0
            begins = bool(mark & START) or bool(mark & PADDING and not before & PADDING)
            segment, position = (segment + 1, 0) if begins else (segment, position + 1)
            ahead = flags[row, place + 1] if place + 1 < CONTEXT else PADDING
            counts = not ahead & (START | PADDING) and (bool(ahead & LOSS) or not assistant_only)
            assert batch.ids[row, place] == ids[row, place]
            assert batch.targets[row, place] == ids[row, place + 1] if place + 1 < CONTEXT else True
            assert (batch.segments[row, place], batch.positions[row, place], batch.weights[row, place]) == (
                segment,
                position,
                counts,
            )


def test_arrays_have_the_stated_types(shards: dict[str, Shards]) -> None:
    batch = batches(shards)[0]
    found = [getattr(batch, name).dtype for name in ARRAYS]
    assert found == [np.int64, np.int64, np.float32, np.int32, np.int64, np.int32]


def test_the_fingerprint_names_everything_that_shapes_a_batch(shards: dict[str, Shards]) -> None:
    changed = [
        batches(shards),
        batches(shards, rows=4),
        batches(shards, seed=2),
        batches(shards, assistant_only=True),
        Batches(shards, {"notes": 0.5, "talks": 0.5}, 8, 1, False),
        Batches(shards, {"notes": 1.0}, 8, 1, False),
        Batches({**shards, "notes": shards["talks"]}, {"notes": 0.75, "talks": 0.25}, 8, 1, False),
    ]
    assert len({stream.fingerprint for stream in changed}) == len(changed)
    assert batches(shards).fingerprint == batches(shards).fingerprint


def test_the_order_of_the_mix_in_the_recipe_changes_nothing(shards: dict[str, Shards]) -> None:
    one, other = (
        Batches(shards, mix, 8, 1, False) for mix in ({"notes": 0.75, "talks": 0.25}, {"talks": 0.25, "notes": 0.75})
    )
    assert same(one[5], other[5])
    assert one.fingerprint == other.fingerprint


def test_a_source_without_rows_is_refused_naming_it(tmp_path: Path, tokenizer: Tokenizer) -> None:
    make(tmp_path, tokenizer, "notes", 5)
    empty = Shards.open(tmp_path / "notes" / "heldout")
    with pytest.raises(InputError, match="source 'notes' has no rows"):
        Batches({"notes": empty}, {"notes": 1.0}, 8, 1, False)


def test_shards_of_different_contexts_are_refused(tmp_path: Path, tokenizer: Tokenizer) -> None:
    mixed = {"a": make(tmp_path, tokenizer, "a", 5), "b": make(tmp_path, tokenizer, "b", 5, context=64)}
    with pytest.raises(InputError, match="rows of 64 tokens, 'a' in rows of 32"):
        Batches(mixed, {"a": 1.0, "b": 1.0}, 8, 1, False)


def test_a_negative_step_is_no_step(shards: dict[str, Shards]) -> None:
    with pytest.raises(IndexError):
        batches(shards)[-1]
