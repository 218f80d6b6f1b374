"""Every family of weights generates with a cache what one forward over the whole text gives, on every backend."""

from typing import Any

import pytest
import torch

from groundup.generate.engine import Engine
from groundup.generate.packing import PackedRow, hidden_states
from groundup.generate.scoring import Scorer
from tests.generate.generate_helpers import Ids, engine, native_model, random_prompts, recompute
from tests.random_models import FAMILIES, random_model

EACH = pytest.mark.parametrize("kind", FAMILIES)
NEVER = Ids(im_end=-1, end=-2)


@EACH
@pytest.mark.parametrize("native", [False, True], ids=["plain", "native"])
def test_answers_equal_full_recomputation(kind: str, native: bool) -> None:
    changes: dict[str, Any] = {"depth": 4, **FAMILIES[kind]}
    model, prompts = random_model(**changes), random_prompts(8)
    expected = [recompute(model, prompt, 24) for prompt in prompts]
    assert engine(native, NEVER, **changes).complete(prompts, 24) == expected


@EACH
@pytest.mark.parametrize("weights", ["full", "int8", "int4"])
def test_a_packed_model_is_near_the_one_that_trained(kind: str, weights: Any) -> None:
    """Mean difference of log-probabilities; random weights are the worst case for integers."""
    changes: dict[str, Any] = {"depth": 4, **FAMILIES[kind]}
    model, _ = native_model(weights=weights, **changes)
    ids = torch.tensor([random_prompts(1, 60)[0]])
    with torch.no_grad():
        found, expected = (
            each.logits(each(ids, torch.arange(ids.shape[1])[None])).log_softmax(-1)
            for each in (model, random_model(**changes))
        )
    assert (found - expected).abs().mean() < {"full": 2e-5, "int8": 0.06, "int4": 0.9}[weights]


@EACH
def test_a_row_has_the_same_bits_in_any_company(kind: str) -> None:
    changes: dict[str, Any] = {"depth": 4, **FAMILIES[kind]}
    prompts = random_prompts(6)
    model, backend = native_model(torch.bfloat16, **changes)
    together = Engine(model, NEVER, backend).complete(prompts, 12)
    assert [Engine(model, NEVER, backend).complete([prompt], 12)[0] for prompt in prompts] == together


@EACH
def test_continuations_in_a_tree_have_the_log_probabilities_of_each_alone(kind: str) -> None:
    model = random_model(depth=4, **FAMILIES[kind])
    prompt, continuations = random_prompts(1, 40)[0], [[5, 9, 2], [7], [1, 2, 3, 4, 5, 6, 7, 8]]
    tree = Scorer(model).log_probabilities([PackedRow(prompt)], continuations)
    for place, ids in enumerate(continuations):
        with torch.inference_mode():
            logits = model.logits(hidden_states(model, [PackedRow(prompt + ids)]))[0, len(prompt) - 1 : -1]
        alone = logits.log_softmax(-1)[range(len(ids)), ids].sum()
        assert float(tree[0, place]) == pytest.approx(float(alone), abs=1e-3)
