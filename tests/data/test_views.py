"""Images in shards and batches: nothing is lost on the way to a batch, batches stay pure, and augmentation moves boxes
with pixels.
"""

import io
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from groundup.codecs import chat, image
from groundup.codecs.boxes import Detection
from groundup.codecs.patches import PatchGrid, to_patches
from groundup.codecs.text import SEEING, Tokenizer
from groundup.core.errors import InputError
from groundup.data.augment import MIXED, augment, mixed
from groundup.data.batches import HELDOUT_ROWS, Batch, Batches, heldout
from groundup.data.document import Document
from groundup.data.image_shards import THING, Eyesight
from groundup.data.shards import Shards, write_shards
from groundup.data.views import ImageObjective, Views
from tests.data.data_helpers import ignore, write_parquet

SIDE, BUDGET, CONTEXT = 4, 24, 96
EYES = Eyesight(SIDE, BUDGET)
KINDS = ("cup", "pen")
LESSON = ImageObjective("none", 0.0, KINDS)


def tokenizer() -> Tokenizer:
    return Tokenizer.learn([""], 256 + len(SEEING), SEEING)


def picture(seed: int, width: int = 20, height: int = 16) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


def shown(
    number: int, things: tuple[Detection, ...] | None = (Detection("pen", (0.1, 0.2, 0.6, 0.9)),), images: int = 1
) -> Document:
    """A conversation about images of which the first says what lies in it."""
    content = [{"type": "image"}] * images + [{"type": "text", "text": "what?"}]
    messages = [{"role": "user", "content": content}, {"role": "assistant", "content": "a pen"}]
    pictures = tuple(picture(10 * number + place, 20 + 4 * (number % 2)) for place in range(images))
    return Document(
        "shown",
        str(number),
        "CC0-1.0",
        messages=messages,
        images=pictures,
        things=None if things is None else (things,) * images,
    )


def text(number: int) -> Document:
    return Document("shown", f"t{number}", "CC0-1.0", text=f"only words {number} " * 3)


def shards_of(folder: Path, documents: list[Document], context: int = CONTEXT) -> Shards:
    write_shards(write_parquet(folder / "d.parquet", documents), tokenizer(), context, folder / "s", ignore, EYES)
    return Shards.open(folder / "s" / "train")


@pytest.fixture
def shards(tmp_path: Path) -> Shards:
    return shards_of(
        tmp_path,
        [shown(number) if number % 3 else text(number) for number in range(12)]
        + [shown(50, images=2), shown(51, None)],
    )


def batches(shards: Shards, lesson: ImageObjective = LESSON, rows: int = 4, seed: int = 1) -> Batches:
    return Batches({"shown": shards}, {"shown": 1.0}, rows, seed, lesson.predict == "none", lesson)


def views_of(batch: Batch) -> Views:
    assert batch.views is not None
    return batch.views


def same(one: Views, other: Views) -> bool:
    return all(np.array_equal(getattr(one, field.name), getattr(other, field.name)) for field in fields(Views))


def test_every_image_comes_back_pixel_by_pixel_where_its_pads_are(shards: Shards, tmp_path: Path) -> None:
    pad = tokenizer().special("<|image_pad|>")
    wanted = {to_patches(EYES.look(data)[1], SIDE).tobytes() for n in range(60) for data in shown(n).images} | {
        to_patches(EYES.look(data)[1], SIDE).tobytes() for data in shown(50, images=2).images
    }
    batch = batches(shards, rows=shards.rows)[0]
    views = views_of(batch)
    assert np.array_equal(np.flatnonzero(batch.ids.ravel() == pad), views.places)
    starts = np.flatnonzero((views.grid == 0).all(1))
    found = [part.tobytes() for part in np.split(views.patches, starts[1:])]
    assert len(found) == 8 + 2 + 1
    assert set(found) <= wanted


def test_patches_are_no_targets_and_look_at_each_other(shards: Shards) -> None:
    batch = batches(shards, rows=shards.rows)[0]
    pads = np.zeros(batch.ids.size, bool)
    pads[views_of(batch).places] = True
    pads = pads.reshape(batch.ids.shape)
    assert not batch.weights[:, :-1][pads[:, 1:]].any()
    assert ((batch.blocks > 0) == pads).all()
    for row in range(len(batch.ids)):
        for block in set(batch.blocks[row]) - {0}:
            inside = np.flatnonzero(batch.blocks[row] == block)
            assert np.array_equal(inside, np.arange(inside[0], inside[-1] + 1))
            assert len(set(batch.segments[row, inside])) == 1


@pytest.mark.parametrize(
    "lesson",
    [
        LESSON,
        ImageObjective("next", 0.7, KINDS),
        ImageObjective("masked", 0.0, KINDS),
        ImageObjective("none", 1.0, KINDS),
    ],
)
def test_a_batch_with_images_is_a_pure_function_of_seed_and_step(shards: Shards, lesson: ImageObjective) -> None:
    stepped = batches(shards, lesson)
    stepped[0], stepped[1]
    assert same(views_of(stepped[2]), views_of(batches(shards, lesson)[2]))
    assert not same(views_of(batches(shards, lesson)[2]), views_of(batches(shards, lesson, seed=2)[2]))


def test_the_next_epoch_shows_an_image_in_another_way(shards: Shards) -> None:
    lesson = ImageObjective("none", 0.8, KINDS)
    first, second = (views_of(batches(shards, lesson, rows=shards.rows)[step]) for step in (0, 1))
    assert not set(map(bytes, first.patches)) & set(map(bytes, second.patches))


def test_the_held_out_loss_is_that_of_images_as_they_are(tmp_path: Path) -> None:
    shards = shards_of(tmp_path, [shown(number) for number in range(70)])
    pieces = heldout("shown", shards, True, ImageObjective("none", 1.0, KINDS))
    patches = {bytes(patch) for piece in pieces for patch in views_of(piece).patches}
    assert sum(len(piece.ids) for piece in pieces) == min(HELDOUT_ROWS, shards.rows)
    assert patches <= {bytes(patch) for patch in views_of(batches(shards, rows=shards.rows)[0]).patches}


def test_parts_and_pieces_join_to_the_batch(shards: Shards) -> None:
    batch = batches(shards, ImageObjective("next", 0.5, KINDS), rows=6)[0]
    whole = views_of(batch)
    for parts in (batch.micro(1), batch.micro(4), [batch.part(rank, 3) for rank in range(3)]):
        patches = [part.views.patches for part in parts if part.views is not None]
        assert np.array_equal(np.concatenate(patches), whole.patches)
        assert sum(part.count for part in parts) == batch.count
        for part in parts:
            assert part.views is not None
            assert (part.ids.ravel()[part.views.places] == tokenizer().special("<|image_pad|>")).all()


def test_next_patches_are_those_behind_the_beginning_and_hidden_ones_their_own(shards: Shards) -> None:
    after = views_of(batches(shards, ImageObjective("next", 0.0, KINDS), rows=shards.rows)[0])
    hidden = views_of(batches(shards, ImageObjective("masked", 0.0, KINDS), rows=shards.rows)[0])
    starts = np.flatnonzero((after.grid == 0).all(1))
    lasts = np.append(starts[1:], len(after.places)) - 1
    assert after.ahead == 1
    assert hidden.ahead == 0
    assert not after.weights[lasts].any()  # the last predicts nothing
    assert all(
        (np.diff(part[:-1]) >= 0).all() for part in np.split(after.weights, starts[1:])
    )  # a beginning without, then all with
    assert np.array_equal(hidden.weights > 0, hidden.hidden)
    assert not after.hidden.any()
    assert 0.5 < hidden.hidden.mean() < 0.7


def test_labels_say_what_lies_where_and_nothing_where_nobody_looked(shards: Shards) -> None:
    views = views_of(batches(shards, rows=shards.rows)[0])
    starts = np.flatnonzero((views.grid == 0).all(1))
    seen = [set(part) for part in np.split(views.labels, starts[1:])]
    assert seen.count({-1}) == 1
    assert all(part == {0, 2} for part in seen if part != {-1})  # the second of KINDS, and background


def test_a_long_conversation_loses_whole_images_only(tmp_path: Path) -> None:
    shards = shards_of(tmp_path, [shown(1, images=4)])
    batch = batches(shards, rows=1)[0]
    codec = tokenizer()
    grid = EYES.look(shown(1).images[0])[0]
    counts = [codec.special(name) for name in ("<|vision_start|>", "<|vision_end|>")]
    assert [int((batch.ids == id).sum()) for id in counts] == [3, 3]
    assert int((batch.ids == codec.special("<|image_pad|>")).sum()) == 3 * grid.patches == len(views_of(batch).places)


def test_a_model_without_eyes_refuses_images(tmp_path: Path) -> None:
    documents = write_parquet(tmp_path / "d.parquet", [shown(1)])
    with pytest.raises(
        InputError, match=r"source 'shown': 1 has an image, and the model has no eyes; set model\.patch"
    ):
        write_shards(documents, tokenizer(), CONTEXT, tmp_path / "s", ignore)


def test_a_text_with_images_begins_with_them(tmp_path: Path) -> None:
    document = Document("shown", "1", "CC0-1.0", text="a caption", images=(picture(1),))
    batch = batches(shards_of(tmp_path, [document]), ImageObjective("next", 0.0, ()), rows=1)[0]
    grid = EYES.look(document.images[0])[0]
    ids = [*chat.image(tokenizer(), grid), *tokenizer().encode("a caption"), tokenizer().end]
    assert batch.ids[0, : len(ids)].tolist() == ids


@pytest.mark.parametrize(
    ("predict", "things", "mixes"), [("none", None, True), ("none", (), False), ("next", None, False)]
)
def test_only_where_answers_are_learnt_and_nothing_is_labelled_images_are_mixed(
    tmp_path: Path, predict: Any, things: tuple[Detection, ...] | None, mixes: bool
) -> None:
    one_colour = {colour: io.BytesIO() for colour in ("black", "white")}
    for colour, file in one_colour.items():
        Image.new("RGB", (20, 16), colour).save(file, "PNG")
    looked = None if things is None else (things,)
    documents = [
        Document("shown", colour, "CC0-1.0", text=colour, images=(file.getvalue(),), things=looked)
        for colour, file in one_colour.items()
    ]
    shards = shards_of(tmp_path, documents, context=48)
    views = [views_of(batches(shards, ImageObjective(predict, 1.0, ()), rows=1)[step]) for step in range(40)]
    medians = [
        float(np.median(view.patches)) for view in views
    ]  # alone black stays black and white rather white, but for a small erased part
    assert any(0 < value < 150 for value in medians) == mixes


# --- augmentation -----------------------------------------------------------------------------------------------------


def marked(box: tuple[int, int, int, int]) -> np.ndarray:
    """A black image of 64 x 64 with a white box."""
    pixels = np.zeros((64, 64, 3), np.uint8)
    left, top, right, bottom = box
    pixels[top:bottom, left:right] = 255
    return pixels


def things_of(box: tuple[int, int, int, int]) -> Any:
    return np.array([(0, tuple(value / 64 for value in box))], THING)


@pytest.mark.parametrize("seed", range(20))
def test_a_box_moves_with_its_pixels(seed: int) -> None:
    box = (20, 24, 36, 44)
    pixels, things = augment(marked(box), PatchGrid(8, 8), 8, things_of(box), 0.6, np.random.default_rng(seed))
    assert things is not None
    if not len(things):
        return
    rows, columns = np.nonzero(pixels[:, :, 0].astype(int) > pixels.max() // 2)
    found = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
    assert np.abs(things["box"][0] * 64 - found).max() <= 1.5


def test_full_strength_keeps_the_grid_and_changes_the_source_in_no_way() -> None:
    box = (4, 4, 12, 12)
    pixels, things = marked(box), things_of(box)
    kept = pixels.copy(), things.copy()
    for seed in range(20):
        assert augment(pixels, PatchGrid(8, 8), 8, things, 1.0, np.random.default_rng(seed))[0].shape == (64, 64, 3)
    assert np.array_equal(pixels, kept[0])
    assert np.array_equal(things, kept[1])


def test_a_thing_that_a_crop_hides_is_no_longer_said_to_be_there() -> None:
    box = (0, 0, 6, 6)  # in a corner, so that crops leave it out
    counts = {
        len(augment(marked(box), PatchGrid(8, 8), 8, things_of(box), 1.0, np.random.default_rng(seed))[1])
        for seed in range(40)
    }
    assert counts == {0, 1}


def test_of_two_mixed_images_the_first_has_the_larger_share() -> None:
    pixels, other = (image.decode(picture(seed, 32, 24)) for seed in (1, 2))
    found = [
        mixed(pixels, other, PatchGrid(3, 4), 8, 0.8, np.random.default_rng(seed)).astype(int) - pixels
        for seed in range(40)
    ]
    assert sum(not change.any() for change in found) > 20
    apart = np.abs(other.astype(int) - pixels)
    shares = [np.abs(change).sum() / apart.sum() for change in found]
    assert 0.2 < max(shares) <= 0.8 * MIXED
    assert all((np.abs(change) <= 0.8 * MIXED * apart + 1).all() for change in found)
