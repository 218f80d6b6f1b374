"""The recipe's preference loss: what fits together, and what is refused with its key."""

from pathlib import Path

import pytest

from groundup.config.load import load
from groundup.config.preference import PreferencePart
from groundup.core.errors import InputError

GOOD = """
name = "p"
[[source]]
name = "talks"
kind = "messages"
path = "t.jsonl"
[[source]]
name = "pairs"
kind = "preferences"
path = "p.jsonl"
[[stage]]
do = "instruct"
tokens = 1000
mix = { talks = 1.0 }
[[stage]]
do = "prefer"
tokens = 1000
mix = { pairs = 1.0 }
[stage.preference]
loss = "dpo"
"""


@pytest.mark.parametrize(
    ("before", "after", "says"),
    [
        ('loss = "dpo"', 'loss = "kto"', "stage.1.preference.loss: 'dpo', 'ipo' or 'simpo', found 'kto'"),
        ('loss = "dpo"', 'loss = "ipo"\nlabel_smoothing = 0.1', "label_smoothing: ipo has no label smoothing"),
        ('loss = "dpo"', "target_margin = 1.0", "target_margin: a target margin is simpo's alone, and loss is dpo"),
        ('loss = "dpo"', 'loss = "simpo"\nlength_normalised = true', "simpo is always normalised by length"),
        ('loss = "dpo"', "beta = 0", "stage.1.preference.beta: input should be greater than 0"),
        ("pairs = 1.0", "talks = 1.0", "prefer learns from pairs of answers, which source 'talks' does not hold"),
        ("{ talks = 1.0", "{ pairs = 1.0", "instruct cannot learn from pairs of answers, as source 'pairs' holds"),
        ('do = "prefer"', 'do = "prefer"\nblocks = 4', "prefer trains all parameters at once; take blocks out"),
        ('do = "prefer"', 'do = "instruct"\nname = "x"', "instruct cannot learn from pairs"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path: Path, before: str, after: str, says: str) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(GOOD.replace(before, after))
    with pytest.raises(InputError) as error:
        load(path)
    assert says in str(error.value).replace("input should be 'dpo'", "'dpo'")


def test_preferences_need_a_model_that_answers(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    first, prefer = GOOD.split("[[stage]]")[0], GOOD.split("[[stage]]")[2]
    path.write_text(f"{first}[[stage]]{prefer}")
    with pytest.raises(InputError, match="put a stage before it, or name one in model"):
        load(path)


def test_another_objective_has_no_preference_loss(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(GOOD.split('[[stage]]\ndo = "prefer"')[0] + '[stage.preference]\nloss = "dpo"\n')
    with pytest.raises(InputError, match="instruct has no preference loss"):
        load(path)


def test_beta_has_a_default_a_loss() -> None:
    assert [PreferencePart(loss=loss).scale for loss in ("dpo", "ipo", "simpo")] == [0.1, 0.1, 2.0]
    assert PreferencePart(beta=0.3).scale == 0.3
