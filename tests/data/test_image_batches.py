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

from groundup.codecs import chat
from groundup.codecs.detections import Detection
from groundup.codecs.image import decode
from groundup.codecs.patches import PatchGrid, to_patches
from groundup.codecs.text import VISION_TOKENS, Tokenizer
from groundup.core.errors import InputError
from groundup.data.augment import MIXED, affine, augment, mixup
from groundup.data.batches import HELDOUT_ROWS, Batch, Batches, heldout
from groundup.data.document import Document
from groundup.data.image_examples import ImageExample
from groundup.data.image_shards import ImageResolution, TrainingImage
from groundup.data.shards import Shards, write_shards
from groundup.train.patch_objective import PatchObjective
from tests.data.data_helpers import ignore, write_parquet

SIDE, BUDGET, CONTEXT = 4, 24, 96
RESOLUTION = ImageResolution(SIDE, BUDGET)
CLASSES = ("cup", "pen")
OBJECTIVE = PatchObjective("none", 0.0, CLASSES)


def tokenizer() -> Tokenizer:
    return Tokenizer.learn([""], 256 + len(VISION_TOKENS), VISION_TOKENS)


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
        detections=None if things is None else (things,) * images,
    )


def text(number: int) -> Document:
    return Document("shown", f"t{number}", "CC0-1.0", text=f"only words {number} " * 3)


def shards_of(folder: Path, documents: list[Document], context: int = CONTEXT) -> Shards:
    write_shards(write_parquet(folder / "d.parquet", documents), tokenizer(), context, folder / "s", ignore, RESOLUTION)
    return Shards.open(folder / "s" / "train")


@pytest.fixture
def shards(tmp_path: Path) -> Shards:
    return shards_of(
        tmp_path,
        [shown(number) if number % 3 else text(number) for number in range(12)]
        + [shown(50, images=2), shown(51, None)],
    )


def batches(shards: Shards, objective: PatchObjective = OBJECTIVE, rows: int = 4, seed: int = 1) -> Batches:
    return Batches({"shown": shards}, {"shown": 1.0}, rows, seed, objective.predict == "none", objective)


def examples(batch: Batch) -> list[ImageExample]:
    return [image for row in batch.images for image in row]


def positions(batch: Batch) -> np.ndarray:
    """Where patches are in the flattened rows."""
    of_row = ((row, image) for row, images in enumerate(batch.images) for image in images)
    return np.concatenate(
        [row * batch.ids.shape[1] + image.position + np.arange(len(image.patches)) for row, image in of_row]
    )


def patches(batch: Batch) -> np.ndarray:
    return np.concatenate([image.patches for image in examples(batch)])


def same(one: Batch, other: Batch) -> bool:
    return all(
        np.array_equal(getattr(first, field.name), getattr(second, field.name))
        for first, second in zip(examples(one), examples(other), strict=True)
        for field in fields(ImageExample)
    )


def test_every_image_comes_back_pixel_by_pixel_where_its_pads_are(shards: Shards, tmp_path: Path) -> None:
    pad = tokenizer().special("<|image_pad|>")
    wanted = {to_patches(RESOLUTION.decode(data)[1], SIDE).tobytes() for n in range(60) for data in shown(n).images} | {
        to_patches(RESOLUTION.decode(data)[1], SIDE).tobytes() for data in shown(50, images=2).images
    }
    batch = batches(shards, rows=shards.rows)[0]
    assert np.array_equal(np.flatnonzero(batch.ids.ravel() == pad), positions(batch))
    found = [image.patches.tobytes() for image in examples(batch)]
    assert len(found) == 8 + 2 + 1
    assert set(found) <= wanted


def test_patches_are_no_targets_and_look_at_each_other(shards: Shards) -> None:
    batch = batches(shards, rows=shards.rows)[0]
    pads = np.zeros(batch.ids.size, bool)
    pads[positions(batch)] = True
    pads = pads.reshape(batch.ids.shape)
    assert not batch.weights[:, :-1][pads[:, 1:]].any()
    assert ((batch.blocks > 0) == pads).all()
    for row in range(len(batch.ids)):
        for block in set(batch.blocks[row]) - {0}:
            inside = np.flatnonzero(batch.blocks[row] == block)
            assert np.array_equal(inside, np.arange(inside[0], inside[-1] + 1))
            assert len(set(batch.segments[row, inside])) == 1


@pytest.mark.parametrize(
    "objective",
    [
        OBJECTIVE,
        PatchObjective("next", 0.7, CLASSES),
        PatchObjective("masked", 0.0, CLASSES),
        PatchObjective("none", 1.0, CLASSES),
    ],
)
def test_a_batch_with_images_is_a_pure_function_of_seed_and_step(shards: Shards, objective: PatchObjective) -> None:
    stepped = batches(shards, objective)
    stepped[0], stepped[1]
    assert same(stepped[2], batches(shards, objective)[2])
    others = examples(batches(shards, objective, seed=2)[2])
    assert [each.patches.tobytes() for each in examples(stepped[2])] != [each.patches.tobytes() for each in others]


def test_the_next_epoch_shows_an_image_in_another_way(shards: Shards) -> None:
    objective = PatchObjective("none", 0.8, CLASSES)
    first, second = (patches(batches(shards, objective, rows=shards.rows)[step]) for step in (0, 1))
    assert not set(map(bytes, first)) & set(map(bytes, second))


def test_the_held_out_loss_is_that_of_images_as_they_are(tmp_path: Path) -> None:
    shards = shards_of(tmp_path, [shown(number) for number in range(70)])
    pieces = heldout("shown", shards, True, PatchObjective("none", 1.0, CLASSES))
    found = {bytes(patch) for piece in pieces for patch in patches(piece)}
    assert sum(len(piece.ids) for piece in pieces) == min(HELDOUT_ROWS, shards.rows)
    assert found <= {bytes(patch) for patch in patches(batches(shards, rows=shards.rows)[0])}


def test_parts_and_pieces_join_to_the_batch(shards: Shards) -> None:
    batch = batches(shards, PatchObjective("next", 0.5, CLASSES), rows=6)[0]
    for parts in (batch.micro(1), batch.micro(4), [batch.part(rank, 3) for rank in range(3)]):
        assert np.array_equal(np.concatenate([patches(part) for part in parts]), patches(batch))
        assert sum(part.count for part in parts) == batch.count
        for part in parts:
            assert (part.ids.ravel()[positions(part)] == tokenizer().special("<|image_pad|>")).all()


def test_next_patches_are_those_after_the_prefix_and_masked_ones_their_own(shards: Shards) -> None:
    after, masked = (
        examples(batches(shards, PatchObjective(predict, 0.0, CLASSES), rows=shards.rows)[0])
        for predict in ("next", "masked")
    )
    for image in after:
        assert image.ahead == 1
        assert not image.weights[-1]  # the last predicts nothing
        assert (np.diff(image.weights[:-1]) >= 0).all()  # a prefix without, then all with
        assert not image.hidden.any()
    for image in masked:
        assert image.ahead == 0
        assert np.array_equal(image.weights > 0, image.hidden)
    assert 0.5 < np.concatenate([image.hidden for image in masked]).mean() < 0.7


def test_patches_of_annotated_images_have_classes_and_others_none(shards: Shards) -> None:
    seen = [set(image.classes) for image in examples(batches(shards, rows=shards.rows)[0])]
    assert seen.count({-1}) == 1
    assert all(part == {0, 2} for part in seen if part != {-1})  # the second of CLASSES, and background


def test_a_long_conversation_loses_whole_images_only(tmp_path: Path) -> None:
    shards = shards_of(tmp_path, [shown(1, images=4)])
    batch = batches(shards, rows=1)[0]
    codec = tokenizer()
    grid = RESOLUTION.decode(shown(1).images[0])[0]
    counts = [codec.special(name) for name in ("<|vision_start|>", "<|vision_end|>")]
    assert [int((batch.ids == id).sum()) for id in counts] == [3, 3]
    assert int((batch.ids == codec.special("<|image_pad|>")).sum()) == 3 * grid.patches == len(positions(batch))


def test_a_model_without_a_vision_encoder_refuses_images(tmp_path: Path) -> None:
    documents = write_parquet(tmp_path / "d.parquet", [shown(1)])
    with pytest.raises(
        InputError, match=r"source 'shown': 1 has an image, but the model has no vision encoder; set model\.patch"
    ):
        write_shards(documents, tokenizer(), CONTEXT, tmp_path / "s", ignore)


def test_a_text_with_images_begins_with_them(tmp_path: Path) -> None:
    document = Document("shown", "1", "CC0-1.0", text="a caption", images=(picture(1),))
    batch = batches(shards_of(tmp_path, [document]), PatchObjective("next", 0.0, ()), rows=1)[0]
    grid = RESOLUTION.decode(document.images[0])[0]
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
        Document("shown", colour, "CC0-1.0", text=colour, images=(file.getvalue(),), detections=looked)
        for colour, file in one_colour.items()
    ]
    shards = shards_of(tmp_path, documents, context=48)
    found = [batches(shards, PatchObjective(predict, 1.0, ()), rows=1)[step] for step in range(40)]
    medians = [
        float(np.median(patches(batch))) for batch in found
    ]  # alone black stays black and white rather white, but for a small erased part
    assert any(0 < value < 150 for value in medians) == mixes


# --- augmentation -----------------------------------------------------------------------------------------------------


def marked(box: tuple[int, int, int, int]) -> np.ndarray:
    """A black image of 64 x 64 with a white box."""
    pixels = np.zeros((64, 64, 3), np.uint8)
    left, top, right, bottom = box
    pixels[top:bottom, left:right] = 255
    return pixels


def annotated(box: tuple[int, int, int, int]) -> TrainingImage:
    left, top, right, bottom = (value / 64 for value in box)
    return TrainingImage(1, PatchGrid(8, 8), marked(box), (Detection("cup", (left, top, right, bottom)),))


@pytest.mark.parametrize("seed", range(20))
def test_a_box_moves_with_its_pixels(seed: int) -> None:
    box = (20, 24, 36, 44)
    image = augment(annotated(box), 0.6, np.random.default_rng(seed), mirror=True)
    if not image.detections:
        return
    rows, columns = np.nonzero(image.pixels[:, :, 0].astype(int) > image.pixels.max() // 2)
    found = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
    assert np.abs(np.array(image.detections[0].box) * 64 - found).max() <= 1.5


def test_full_strength_keeps_the_grid_and_changes_the_source_in_no_way() -> None:
    box = (4, 4, 12, 12)
    image, kept = annotated(box), annotated(box)
    for seed in range(20):
        assert augment(image, 1.0, np.random.default_rng(seed), mirror=True).pixels.shape == (64, 64, 3)
    assert np.array_equal(image.pixels, kept.pixels)
    assert image.detections == kept.detections


def test_a_thing_that_a_crop_hides_is_no_longer_said_to_be_there() -> None:
    box = (0, 0, 6, 6)  # in a corner, so that crops leave it out
    counts = {
        len(augment(annotated(box), 1.0, np.random.default_rng(seed), mirror=True).detections or ())
        for seed in range(40)
    }
    assert counts == {0, 1}


@pytest.mark.parametrize("strength", [0.0, 0.6])
def test_images_are_mirrored_only_where_that_is_chosen(strength: float) -> None:
    """The left half is white: a crop keeps it on the left."""
    image = annotated((0, 0, 32, 64))

    def sides(mirror: bool) -> set[bool]:
        found = [augment(image, strength, np.random.default_rng(seed), mirror).pixels for seed in range(20)]
        return {bool(pixels[:, :8].mean() > pixels[:, -8:].mean()) for pixels in found}

    assert sides(mirror=False) == {True}
    assert sides(mirror=True) == {True, False}


def test_mirroring_is_a_choice_without_other_augmentation(shards: Shards) -> None:
    plain, mirrored = (batches(shards, PatchObjective("none", 0.0, CLASSES, mirror)) for mirror in (False, True))
    assert not same(plain[0], mirrored[0])
    assert plain.fingerprint != mirrored.fingerprint
    assert PatchObjective("none", 0.5, CLASSES, True).without_augmentation() == OBJECTIVE


def unannotated(box: tuple[int, int, int, int]) -> TrainingImage:
    return annotated(box)._replace(detections=None)


def test_affine_maps_turn_shift_and_scale_within_their_strength() -> None:
    """The middle of a square moves by at most a fifth of a side in each direction, and its area by (4/3)² at most."""
    moved = [affine(unannotated((24, 24, 40, 40)), 1.0, np.random.default_rng(seed)).pixels for seed in range(60)]
    places = np.array([np.mean(np.nonzero(pixels[:, :, 0] > 127), 1) + 0.5 for pixels in moved]) - 32
    areas = np.array([(pixels[:, :, 0] / 255.0).sum() for pixels in moved]) / 256
    assert 0.14 < np.abs(places).max() / 64 <= 0.31  # a shift of a fifth, scaled and turned
    assert 1 / 1.9 < areas.min() < 0.75
    assert 1.3 < areas.max() < 1.9
    turned = [pixels[:, :, 0] for pixels in moved if len(np.unique(np.nonzero(pixels[:, :, 0] > 127)[0])) > 20]
    assert turned  # a square on its corner is taller than one that lies


def test_affine_maps_without_strength_change_nothing_and_uncover_the_colour_of_the_border() -> None:
    image = unannotated((24, 24, 40, 40))
    assert np.array_equal(affine(image, 0.0, np.random.default_rng(0)).pixels, image.pixels)
    white = image._replace(pixels=255 - image.pixels)
    assert all((affine(white, 1.0, np.random.default_rng(seed)).pixels[0] == 255).all() for seed in range(10))


def test_annotated_images_have_no_affine_maps() -> None:
    image = annotated((20, 24, 36, 44))
    assert affine(image, 1.0, np.random.default_rng(0)) is image


def test_affine_maps_are_a_choice_without_other_augmentation(shards: Shards) -> None:
    plain, moved = (batches(shards, PatchObjective("none", 0.0, CLASSES, affine=value)) for value in (0.0, 0.3))
    assert plain.fingerprint != moved.fingerprint
    assert PatchObjective("none", 0.5, CLASSES, affine=0.3).without_augmentation() == OBJECTIVE


def test_of_two_mixed_images_the_first_has_the_larger_share() -> None:
    pixels, other = (decode(picture(seed, 32, 24)) for seed in (1, 2))
    first = TrainingImage(1, PatchGrid(3, 4), pixels, None)
    found = [mixup(first, other, 0.8, np.random.default_rng(seed)).pixels.astype(int) - pixels for seed in range(40)]
    assert sum(not change.any() for change in found) > 20
    apart = np.abs(other.astype(int) - pixels)
    shares = [np.abs(change).sum() / apart.sum() for change in found]
    assert 0.2 < max(shares) <= 0.8 * MIXED
    assert all((np.abs(change) <= 0.8 * MIXED * apart + 1).all() for change in found)
