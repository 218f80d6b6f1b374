"""Scenes: boxes against pixels, answers against the things drawn, and training scenes against held-out ones."""

import re
from collections import Counter
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from random import Random

import numpy as np
import pytest

from groundup.codecs import image, messages
from groundup.codecs.detections import from_text, to_text
from groundup.data.document import said
from groundup.data.filtered import Filtered
from groundup.data.scene_drawing import COLOURS, LABELS, SHAPES, Item, Scene, compose, render
from groundup.data.scene_questions import _ZH, FAMILIES
from groundup.data.sources.scenes import ScenesSource, scene

BACK = {chinese: english for english, chinese in _ZH.items()}
EMPTY = ("nothing", "什么也没有")


def source(**knobs):
    """Scenes in both languages, unless told otherwise."""
    return ScenesSource(**({"name": "scenes", "kind": "scenes", "count": 240, "languages": ("en", "zh")} | knobs))


@pytest.fixture(scope="module")
def made():
    return list(source().read(Path(), Filtered()))


def asked(document):
    """The questions with their answers."""
    texts = [said(message) for message in document.messages]
    return list(zip(texts[::2], texts[1::2], strict=True))


def of_family(question):
    """The family of a question, and what fills its wording."""
    for name, family in FAMILIES.items():
        for wordings in family.wordings.values():
            for wording in wordings:
                pattern = re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>.+)", re.escape(wording))
                if match := re.fullmatch(pattern, question):
                    return name, match.groupdict()
    raise AssertionError(question)


def english(words):
    """A kind or colour by its English name in the singular."""
    words = BACK.get(words, words)
    return next((kind for kind in SHAPES if words in (kind, f"{kind}s", f"{kind}es")), words)


def look(phrase):
    """Number, colour, and kind or label of a phrase of a caption, or of the thing a question names."""
    if match := re.fullmatch(r"([一两三四五六七八九十]*)个?(..)的(.+)", phrase):
        number, colour, what = match.groups()
        count = " 一两三四五六七八九十".index(number) if number else 1
    else:
        number, colour, what = phrase.split(" ")
        count = 1 if number in ("a", "an") else ["two", "three", "four"].index(number) + 2
    return count, english(colour), english(what.strip('"“”'))


def described(caption):
    """How often a caption names each colour and kind."""
    if caption in EMPTY:
        return Counter()
    phrases = [look(phrase) for phrase in re.split(r", | and |、|和", caption)]
    return Counter({(colour, what): number for number, colour, what in phrases})


def expected(question, found, things):
    """What the answer must mean, worked out from the things alone."""
    name, fields = of_family(question)
    looks = Counter((item.colour, item.label or item.kind) for item in found.items)
    match name:
        case "describe":
            return looks
        case "count":
            kind = english(fields["kinds"])
            return len(things) if kind == "things" else sum(thing.class_name == kind for thing in things)
        case "colour":
            [colour] = [item.colour for item in found.items if item.kind == english(fields["kind"])]
            return colour
        case "detect":
            return sorted(from_text(to_text(list(things))), key=repr)
        case "read":
            [label] = [item.label for item in found.items if item.label]
            return label
        case "exists":
            return look(fields["thing"])[1:] in looks


def meant(question, answer):
    """What an answer means."""
    match of_family(question)[0]:
        case "describe":
            return described(answer)
        case "count":
            return int(answer)
        case "colour":
            return english(answer)
        case "detect":
            return sorted(from_text(answer), key=repr)
        case "read":
            return answer
        case "exists":
            return {"yes": True, "有": True, "no": False, "没有": False}[answer]


def test_every_answer_agrees_with_the_things(made):
    numbers = Counter()
    for document in made:
        found, _ = scene(source(), numbers[document.heldout], document.heldout)
        numbers[document.heldout] += 1
        [things] = document.detections
        assert [thing.class_name for thing in things] == [item.kind for item in found.items]
        for question, answer in asked(document):
            assert meant(question, answer) == expected(question, found, things), (question, answer)


def test_captions_read_well():
    def caption(language, *looks):
        items = tuple(Item(kind, colour, label, 0, 0, 12, 0) for kind, colour, label in looks)
        return FAMILIES["describe"].ask(Random(0), language, Scene(64, 64, (0, 0, 0), items), ())[1]

    ring, cross, text = ("ring", "orange", ""), ("cross", "blue", ""), ("text", "red", "A")
    assert caption("en", ring) == "an orange ring"
    assert caption("en", text, ring, cross, cross) == 'two blue crosses, an orange ring and a red "A"'
    assert caption("zh", text, ring, cross, cross) == "两个蓝色的十字、一个橙色的圆环和一个红色的“A”"
    assert (caption("en"), caption("zh")) == EMPTY


@pytest.mark.parametrize("pixels", [16, 64, 200])
def test_boxes_are_tight_and_inside(pixels):
    rng = Random(pixels)
    for kind in (*SHAPES, "text"):
        for _ in range(8):
            item = alone(rng, pixels, kind)
            # far brighter than the background, noise included: what is bright is the thing
            whole = Scene(pixels, pixels, (0, 0, 0), (replace(item, colour="yellow"),))
            png, [thing] = render(whole, Random(0))
            bright = image.decode(png).max(2) > 40
            rows, columns = np.flatnonzero(bright.any(1)), np.flatnonzero(bright.any(0))
            drawn = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])
            box = np.array(thing.box) * pixels
            assert (box >= 0).all() and (box <= pixels).all()
            assert np.abs(box - drawn).max() <= 1.01, (item, box, drawn)


def alone(rng, pixels, kind):
    """A thing of a kind that was composed somewhere."""
    while True:
        for item in compose(rng, pixels, 4).items:
            if item.kind == kind and item.left + item.side <= pixels and item.top + item.side <= pixels:
                return item


def test_things_hardly_overlap_and_are_large_enough_to_tell_apart():
    rng = Random(3)
    for _ in range(300):
        found = compose(rng, 64, 12)
        _, things = render(found, rng)
        assert {found.width, found.height} <= {48, 64} and max(found.width, found.height) == 64
        assert len(things) <= 12 and all(item.side >= 12 for item in found.items)
        assert sum(thing.class_name == "text" for thing in things) <= 1
        assert all(overlap(one.box, other.box) < 0.05 for one, other in combinations(things, 2))


def overlap(one, other):
    across, down = (min(one[at + 2], other[at + 2]) - max(one[at], other[at]) for at in (0, 1))
    shared = max(across, 0) * max(down, 0)
    areas = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other))
    return shared / (areas - shared)


def test_training_and_heldout_scenes_never_meet():
    few = {"pixels": 16, "things": 1, "heldout_share": 0.3}  # a small space, in which they would meet by chance
    seen = {
        part: {scene(source(seed=seed, **few), number, part)[0].key for seed in range(3) for number in range(400)}
        for part in (False, True)
    }
    assert len(seen[False]) > 300 and len(seen[True]) > 100
    assert not seen[False] & seen[True]


def test_the_split_is_told_by_the_things_and_not_by_the_background():
    found = next(found for found in (compose(Random(seed), 64, 4) for seed in range(9)) if found.items)
    empty = replace(found, items=())
    assert replace(found, background=(1, 2, 3)).key == found.key
    assert replace(empty, background=(1, 2, 3)).key != empty.key


def test_heldout_scenes_are_the_same_for_every_seed_and_count():
    assert [document.digest for document in source().heldout(2)] == [
        document.digest for document in source(seed=5, count=9).heldout(2)
    ]
    parts = [
        [document.digest for document in source(seed=seed, count=5).read(Path(), Filtered()) if document.heldout]
        for seed in (0, 1)
    ]
    assert parts[0] == parts[1] and len(set(parts[0])) == 50


def test_equal_seed_equal_bytes_and_another_seed_other_bytes(made):
    one, again, other = (list(source(count=30, seed=seed).read(Path(), Filtered())) for seed in (0, 0, 1))
    assert one == again
    assert one[:30] == made[:30]  # whatever the count
    assert not {document.images for document in one[:30]} & {document.images for document in other[:30]}


def test_first_questions_are_of_every_family_and_language_evenly(made):
    training = [document for document in made if not document.heldout]
    assert len(training) == 240 and len(made) == 290
    firsts = Counter((document.labels["family"], document.labels["language"]) for document in training)
    assert firsts == {(family, language): 20 for family in FAMILIES for language in ("en", "zh")}
    for document in made:
        (question, _), *others = asked(document)
        names = [of_family(question)[0], *(of_family(more)[0] for more, _ in others)]
        assert names[0] == document.labels["family"] and "detect" not in names[1:] and len(names) in (3, 4, 5)
        assert ("en" if question.isascii() else "zh") == document.labels["language"]


def test_heldout_asks_one_question_of_each_family_and_language():
    examples = source(languages=("zh",)).heldout(3)
    assert [document.labels for document in examples] == [
        {"family": name, "language": "zh", "level": 1} for name in FAMILIES for _ in range(3)
    ]
    assert all(len(document.messages) == 2 and document.heldout for document in examples)


def test_yes_and_no_are_balanced_and_every_look_occurs(made):
    answers, looks, labels = Counter(), set(), set()
    rng = Random(1)
    for _ in range(1500):
        found = compose(rng, 64, 4)
        looks |= {(item.colour, item.kind) for item in found.items}
        labels |= {item.label for item in found.items}
        if found.shapes:
            answers[FAMILIES["exists"].ask(rng, "en", found, ())[1]] += 1
    assert abs(answers["yes"] - answers["no"]) < 4 * answers.total() ** 0.5
    assert looks == {(colour, kind) for colour in COLOURS for kind in (*SHAPES, "text")}
    assert labels == {"", *LABELS}


def test_documents_decode_and_are_conversations_of_the_usual_shape(made):
    for document in made:
        pixels = image.decode(document.images[0])
        assert pixels.shape in {(48, 64, 3), (64, 64, 3), (64, 48, 3)}
        assert [part["type"] for part in document.messages[0]["content"]] == ["image", "text"]
        assert document.licence == "CC0-1.0" and re.fullmatch(r"(held-out )?scene \d+", document.origin)
        messages.check(document.messages)


@pytest.mark.parametrize(("pixels", "things"), [(16, 1), (20, 12), (100, 2)])
def test_other_sizes_work(pixels, things):
    for document in source(pixels=pixels, things=things, count=24).read(Path(), Filtered()):
        assert max(image.decode(document.images[0]).shape) == pixels // 8 * 8


def test_prepare_leaves_the_split_alone(prepare):
    report = prepare(source(count=40))
    assert (report.documents, report.heldout, report.dropped) == (90, 50, {})
