"""Images in prompts: what is answered equals one forward as in training, in any company, and pages are shared only with
the same images.
"""

import numpy as np
import pytest
import torch

from groundup.codecs.patches import PatchGrid
from groundup.core.errors import InputError
from groundup.generate import scheduler as scheduler_module
from groundup.generate.image_inputs import ImageInput
from groundup.generate.request import Request
from groundup.kernels.kv_cache import BLOCK_SIZE
from groundup.model import cost
from groundup.model.attention import document_mask
from groundup.model.transformer import Transformer
from groundup.model.vision.encoder import ImageInputs
from tests.generate.generate_helpers import Ids, ask, engine
from tests.random_models import CONFIG, random_model

VISION = {"patch": 4, "patches": 20, "classes": ("a", "b"), "context": 128}
NEVER = Ids(im_end=-1, end=-2)
BOTH = pytest.mark.parametrize("native", [False, True], ids=["plain", "native"])
PAD = 7
POOL = cost.cache_bytes(CONFIG, 9 * BLOCK_SIZE, 1)  # nine pages, for numbers of one byte: little more than one context


def image_input(seed: int, rows: int = 4, columns: int = 5) -> ImageInput:
    return ImageInput.of(
        PatchGrid(rows, columns), np.random.default_rng(seed).integers(0, 256, (rows * columns, 48), dtype=np.uint8)
    )


def request(
    before: int, *images: ImageInput, seed: int = 0, after: int = 5, limit: int = 12, number: int = 0
) -> Request:
    """Random ids, then images with three ids after each, then more ids."""
    random = np.random.default_rng(seed)
    ids, placed = random.integers(0, CONFIG.vocab, before).tolist(), []
    for each in images:
        placed.append(each.at(len(ids)))
        ids += [PAD] * each.grid.patches + random.integers(0, CONFIG.vocab, 3).tolist()
    ids += random.integers(0, CONFIG.vocab, after).tolist()
    return Request(ids, limit, number=number, images=tuple(placed), logprobs=2)


@torch.no_grad()
def recompute(model: Transformer, asked: Request) -> tuple[list[int], list[float]]:
    """The greedy continuation and its log-probabilities, by one forward as in training for every id."""
    ids, scores = list(asked.prompt), []
    patches = torch.from_numpy(np.concatenate([image.patches for image in asked.images]))
    places = torch.cat([torch.arange(image.position, image.end) for image in asked.images])
    grid = torch.from_numpy(np.concatenate([image.grid.coordinates() for image in asked.images]))
    for _ in range(asked.limit):
        blocks = torch.zeros((1, len(ids)), dtype=torch.int64)
        for number, image in enumerate(asked.images, 1):
            blocks[0, image.position : image.end] = number
        mask = document_mask(torch.zeros_like(blocks), blocks)
        states = model(
            torch.tensor([ids]), torch.arange(len(ids))[None], mask, images=ImageInputs(patches, places, grid)
        )
        logs = model.logits(states[0, -1]).log_softmax(-1)
        ids.append(int(logs.argmax()))
        scores.append(float(logs.max()))
    return ids[len(asked.prompt) :], scores


def requests() -> list[Request]:
    return [
        request(1, image_input(1)),
        request(9, image_input(2, 3, 3), seed=1),
        request(30, image_input(3), image_input(4, 2, 7), seed=2),
        request(14, image_input(5, 1, 1), image_input(6, 4, 4), image_input(7), seed=3),
        request(40, image_input(8), seed=4, after=1),
    ]


@BOTH
def test_answers_equal_one_forward_as_in_training(native):
    for asked in requests():
        ids, scores = recompute(random_model(**VISION), asked)
        heard = ask(engine(native, NEVER, **VISION), asked)[0]
        assert heard.ids == ids
        assert [score.logprob for score in heard.logprobs] == pytest.approx(scores, abs=1e-3)


@BOTH
def test_an_image_matters_and_so_does_its_end_to_its_beginning(native):
    """Else none of these tests would show a thing."""
    one = image_input(1)
    changed = one.patches.copy()
    changed[-1] = 255 - changed[-1]
    first, other = (
        ask(engine(native, NEVER, **VISION), request(1, each))[0].logprobs
        for each in (one, ImageInput.of(one.grid, changed))
    )
    assert first[0].logprob != pytest.approx(other[0].logprob, abs=1e-4)


@BOTH
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_an_answer_has_the_same_bits_in_any_company(native, precision, monkeypatch):
    """Alone, together, in chunks that would end inside images, and out of a cache so small that answers are computed
    again.
    """
    if not native and precision is torch.bfloat16:
        pytest.skip("only the kernels promise it")
    asked = [
        *requests(),
        *(request(5 * number, image_input(number), limit=20, seed=number, number=number) for number in range(1, 12)),
    ]
    alone = [ask(engine(native, NEVER, precision=precision, **VISION), each)[0] for each in asked]
    together = ask(engine(native, NEVER, precision=precision, **VISION), *asked)
    monkeypatch.setattr(scheduler_module, "PREFILL_CHUNK", 11)
    small = engine(native, NEVER, POOL * precision.itemsize, precision, **VISION)
    crowded = ask(small, *asked)
    assert small.scheduler.stats.preemptions > 0
    for one, other, third in zip(alone, together, crowded, strict=True):
        assert one.ids == other.ids == third.ids
        if native:
            assert one.logprobs == other.logprobs == third.logprobs


@BOTH
@pytest.mark.parametrize("before", [1, BLOCK_SIZE - 1, BLOCK_SIZE, BLOCK_SIZE + 5])
def test_a_beginning_with_an_image_is_shared_and_changes_nothing(native, before):
    """The pages end inside the image, so that the rest of it is computed against patches in the cache."""
    first, second = (request(before, image_input(1), seed=1) for _ in range(2))
    second = Request([*second.prompt[:-1], 3], 12, images=second.images, logprobs=2)
    alone = ask(engine(native, NEVER, **VISION), second)[0]
    shared = engine(native, NEVER, **VISION)
    ask(shared, first)
    heard = ask(shared, second)[0]
    assert heard.pieces[0].cached_tokens == (len(second.prompt) - 1) // BLOCK_SIZE * BLOCK_SIZE > before
    assert heard.ids == alone.ids
    if native:
        assert heard.logprobs == alone.logprobs


@BOTH
def test_other_images_do_not_share(native):
    """Equal ids, and an image of which only the last patch differs, or only the grid: what is before it is shared."""
    shared, one = engine(native, NEVER, **VISION), image_input(1)
    changed = one.patches.copy()
    changed[-1, -1] ^= 1
    ask(shared, request(BLOCK_SIZE + 2, one))
    for other in (ImageInput.of(one.grid, changed), ImageInput.of(PatchGrid(5, 4), one.patches)):
        asked = request(BLOCK_SIZE + 2, other)
        heard = ask(shared, asked)[0]
        assert heard.pieces[0].cached_tokens == BLOCK_SIZE
        assert heard.ids == ask(engine(native, NEVER, **VISION), asked)[0].ids
    assert ask(shared, request(BLOCK_SIZE + 2, one))[0].pieces[0].cached_tokens > BLOCK_SIZE
    assert (
        ask(shared, Request(request(BLOCK_SIZE + 2, one).prompt, 4))[0].pieces[0].cached_tokens == BLOCK_SIZE
    )  # the ids alone


@BOTH
def test_the_largest_step_has_room_for_the_rest_of_an_image(native, monkeypatch):
    monkeypatch.setattr(scheduler_module, "PREFILL_CHUNK", 8)
    busy = engine(native, NEVER, **VISION)
    schedule, sizes = busy.scheduler.schedule, []

    def watched():
        chunks = schedule()
        sizes.append(sum(chunk.count for chunk in chunks))
        for chunk in chunks:
            end = chunk.start + chunk.count
            assert not any(image.position < end < image.end for image in chunk.sequence.request.images)
        return chunks

    monkeypatch.setattr(busy.scheduler, "schedule", watched)
    ask(busy, *[request(number, image_input(number), seed=number) for number in range(8)])
    assert 4 * 8 < max(sizes) <= 4 * 8 + VISION["patches"]


@BOTH
def test_complete_and_stream_take_images(native):
    asked = requests()[2]
    found = engine(native, NEVER, **VISION).complete([list(asked.prompt), [1, 2]], 12, images=[asked.images, ()])
    assert found[0] == recompute(random_model(**VISION), asked)[0]
    assert list(engine(native, NEVER, **VISION).stream(list(asked.prompt), 12, images=asked.images)) == found[0]


@BOTH
@torch.no_grad()
def test_an_echo_scores_a_prompt_with_an_image(native):
    asked = request(3, image_input(1))
    heard = ask(engine(native, NEVER, **VISION), Request(asked.prompt, 1, logprobs=0, echo=True, images=asked.images))[
        0
    ]
    assert [score.id for score in heard.pieces[0].prompt_logprobs] == list(asked.prompt)
    ids, scores = recompute(random_model(**VISION), Request(asked.prompt, 1, images=asked.images))
    assert heard.ids == ids
    assert heard.logprobs[0].logprob == pytest.approx(scores[0], abs=1e-3)


@BOTH
def test_an_embedding_is_the_mean_of_the_patches(native):
    asked, other = request(1, image_input(1), after=1), request(1, image_input(2), after=1)
    made = engine(native, NEVER, **VISION)
    found = torch.tensor(made.embed(list(asked.prompt), asked.images))
    assert found.norm() == pytest.approx(1, abs=1e-4)
    assert not torch.allclose(found, torch.tensor(made.embed(list(other.prompt), other.images)), atol=1e-3)
    assert not torch.allclose(found, torch.tensor(made.embed(list(asked.prompt))), atol=1e-3)
    plain = torch.tensor(engine(False, NEVER, **VISION).embed(list(asked.prompt), asked.images))
    assert torch.allclose(found, plain, atol=1e-4)


@pytest.mark.parametrize(
    ("placed", "changes", "said"),
    [
        ((image_input(1).at(1),), {"patch": 0, "patches": 0, "classes": ()}, "no vision encoder"),
        ((image_input(1, 3, 7).at(1),), {}, "at most 20"),
        ((ImageInput.of(PatchGrid(2, 2), np.zeros((4, 12), np.uint8)).at(1),), {}, "48 values"),
        ((image_input(1).at(10),), {}, "lie inside"),
        ((image_input(1, 2, 2).at(1), image_input(1, 2, 2).at(3)), {}, "apart from others"),
    ],
)
def test_images_that_cannot_be_seen_are_refused(placed, changes, said):
    with pytest.raises(InputError, match=said):
        engine(tokenizer=NEVER, **(VISION | changes)).check(Request([PAD] * 30, 4, images=placed))
    with pytest.raises(InputError, match=said):
        engine(tokenizer=NEVER, **(VISION | changes)).embed([PAD] * 30, placed)


def test_too_many_patches_for_the_context_are_refused():
    with pytest.raises(InputError, match="leaves no room"):
        engine(tokenizer=NEVER, **VISION).check(request(2, *[image_input(1)] * 6))
